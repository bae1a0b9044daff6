package ng

import "testing"

func BenchmarkDecodeOffer(b *testing.B) {
	_, body, err := SplitCookie(read(b, "testdata/requests/kamailio-offer-webrtc.ng"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := DecodeRequest(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeSDPReply(b *testing.B) {
	_, body, err := SplitCookie(read(b, "testdata/requests/kamailio-offer-webrtc.ng"))
	if err != nil {
		b.Fatal(err)
	}
	req, _, err := DecodeRequest(body)
	if err != nil {
		b.Fatal(err)
	}
	reply := &SDPReply{SDP: req.SDP}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := EncodeReply(reply, FormatBencode); err != nil {
			b.Fatal(err)
		}
	}
}
