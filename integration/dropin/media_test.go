//go:build integration

package dropin

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
)

// elsewhere is a port of party A that its SDP does not name, as behind a NAT.
func (t *talk) elsewhere() *socket { return t.socket("A behind a NAT", second4, 4000) }

// swap makes both send once, and records where packets come out.
func swap(from *socket, to netip.AddrPort, at *socket, back netip.AddrPort, n int, others ...*socket) {
	from.send(to, audio(0, n, 0x1234).bytes())
	at.short()
	at.send(back, audio(0, n, 0x5678).bytes())
	for _, s := range append([]*socket{from}, others...) {
		s.short()
	}
}

// mediaFlows are about packets: where they go, and what passes.
var mediaFlows = []conversation{
	{"learn-nat", func(t *talk) {
		a, b := t.phones()
		nat := t.elsewhere()
		towardsB, towardsA := t.offer(bare4), t.answer(bareAnswer4)
		swap(nat, towardsA.rtp(0), b, towardsB.rtp(0), 0, a)
		swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 1, nat)
		swap(nat, towardsA.rtp(0), b, towardsB.rtp(0), 2, a)
	}},
	{"learn-nat-of-both", func(t *talk) {
		a := t.elsewhere()
		b := t.socket("B behind a NAT", second6, 4000)
		towardsB, towardsA := t.offer(offer4, keys{"address-family": "IP6"}), t.answer(answer6, keys{"address-family": "IP4"})
		a.send(towardsA.rtp(0), audio(8, 0, 0x1234).bytes())
		time.Sleep(settle) // goes to where B's SDP says, and is heard by nobody
		b.send(towardsB.rtp(0), audio(8, 0, 0x5678).bytes())
		a.short()
		a.send(towardsA.rtp(0), audio(8, 1, 0x1234).bytes())
		b.short()
	}},
	{"learn-asymmetric", func(t *talk) {
		a, b := t.phones()
		nat := t.elsewhere()
		towardsB, towardsA := t.offer(bare4, flags("asymmetric")), t.answer(bareAnswer4, flags("asymmetric"))
		swap(nat, towardsA.rtp(0), b, towardsB.rtp(0), 0, a)
	}},
	{"learn-from-sip-source", func(t *talk) {
		a, b := t.phones()
		b2 := t.socket("B at its SIP address", party4, 2002)
		k := keys{"flags": []string{"SIP-source-address"}, "received-from": []string{"IP4", party4}}
		towardsB, towardsA := t.offer(bare4, k), t.answer(bareAnswer4, k)
		a.send(towardsA.rtp(0), audio(0, 0, 1).bytes())
		b.short()
		b2.short()
		b2.send(towardsB.rtp(0), audio(0, 0, 2).bytes())
		a.short()
	}},
	{"learn-after-three-seconds", func(t *talk) {
		a, b := t.phones()
		nat := t.elsewhere()
		for _, words := range [][]string{nil, {"media-handover"}} {
			towardsB, towardsA := t.offer(bare4, flags(words...)), t.answer(bareAnswer4, flags(words...))
			swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 0, nat)
			time.Sleep(3300 * time.Millisecond)
			swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 1, nat)
			swap(nat, towardsA.rtp(0), b, towardsB.rtp(0), 2, a)
			t.again()
		}
	}},
	{"learn-modes", func(t *talk) {
		a, b := t.phones()
		nat := t.elsewhere()
		for _, mode := range []string{"off", "immediate", "delayed", "heuristic"} {
			k := flags("endpoint-learning-" + mode)
			towardsB, towardsA := t.offer(bare4, k), t.answer(bareAnswer4, k)
			swap(nat, towardsA.rtp(0), b, towardsB.rtp(0), 0, a)
			swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 1, nat)
			t.again()
		}
	}},
	{"port-latching", func(t *talk) {
		t.phones()
		moved := t.socket("A elsewhere", party4, 2100)
		t.offer(bare4, flags("port-latching"))
		t.answer(bareAnswer4, flags("port-latching"))
		towardsB := t.offer(movedOffer, flags("port-latching"), keys{"to-tag": t.to})
		t.answer(bareAnswer4, flags("port-latching"))
		b := t.sockets[1]
		b.send(towardsB.rtp(0), audio(0, 1, 0x5678).bytes())
		moved.expect()
	}},
	{"before-the-answer", func(t *talk) {
		a, b := t.phones()
		towardsB := t.offer(bare4)
		b.send(towardsB.rtp(0), audio(0, 0, 2).bytes())
		a.short()
		towardsA := t.answer(bareAnswer4, keys{"sip-code": 183})
		swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 1)
		towardsA = t.answer(bareAnswer4, keys{"sip-code": 200})
		swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 2)
	}},
	{"odd-packets", func(t *talk) {
		a, b := t.phones()
		towardsB, towardsA := t.offer(offer4), t.answer(answer4)
		talkBothWays(a, b, towardsB, towardsA)
		for _, p := range []rtp{
			{payload: 96, sequence: 5, timestamp: 6, ssrc: 7, body: "not negotiated"},
			{payload: 101, marker: true, sequence: 6, timestamp: 6, ssrc: 7, body: "\x05\x0a\x00\xa0"},
			{payload: 8, sequence: 60000, timestamp: 7, ssrc: 7, body: "a jump"},
			{payload: 8, sequence: 1, timestamp: 8, ssrc: 0xfffffff0, body: "another source"},
			{payload: 8, sequence: 2, timestamp: 9, ssrc: 7, body: ""},
			{payload: 8, sequence: 3, timestamp: 9, ssrc: 7, body: string(bytes.Repeat([]byte{0x55}, 1400))},
			{payload: 8, sequence: 3, timestamp: 9, ssrc: 7, body: "sent twice"},
			{payload: 8, sequence: 3, timestamp: 9, ssrc: 7, body: "sent twice"},
		} {
			a.send(towardsA.rtp(0), p.bytes())
			b.short()
		}
		a.send(towardsA.rtp(0), append([]byte{0xb1, 8, 0, 9, 0, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0, 8, 0xbe, 0xde, 0, 1, 0x10, 1, 0, 0}, "extended\x00\x00\x03"...))
		b.short()
	}},
	{"t38", func(t *talk) {
		a, b := t.phones()
		fax := func(host string, port string) string {
			return "\nv=0\no=- 1 1 IN IP4 " + host + "\ns=-\nc=IN IP4 " + host + "\nt=0 0\nm=image " + port + " udptl t38\na=T38FaxVersion:0\na=T38MaxBitRate:14400\na=T38FaxUdpEC:t38UDPRedundancy\n"
		}
		towardsB, towardsA := t.offer(fax(party4, "2000")), t.answer(fax(other4, "2002"))
		a.send(towardsA.rtp(0), []byte("\x00\x01\x02fax"))
		b.short()
		b.send(towardsB.rtp(0), []byte("\x00\x01\x02more"))
		a.short()
		// From voice to fax and back.
		t.again()
		t.offer(bare4)
		t.answer(bareAnswer4)
		towardsB = t.offer(fax(party4, "2000"), keys{"to-tag": t.to})
		t.answer(fax(other4, "2002"))
		b.send(towardsB.rtp(0), []byte("\x00\x01\x02more"))
		a.short()
		t.offer(bare4, keys{"to-tag": t.to})
		t.answer(bareAnswer4)
	}},
	{"video-and-audio", func(t *talk) {
		a, b := t.phones()
		av, bv := t.socket("A's video", party4, 2010), t.socket("B's video", other4, 2012)
		towardsB := t.offer(bare4 + "m=video 2010 RTP/AVP 99\nc=IN IP4 198.51.100.1\na=rtpmap:99 VP8/90000\na=rtcp-fb:99 nack pli\n")
		towardsA := t.answer(bareAnswer4 + "m=video 2012 RTP/AVP 99\nc=IN IP4 198.51.100.3\na=rtpmap:99 VP8/90000\n")
		stream(a, towardsA.rtp(0), b, 0, 0, 1, 1)
		stream(av, towardsA.rtp(1), bv, 99, 0, 2, 2)
		stream(bv, towardsB.rtp(1), av, 99, 0, 2, 3)
	}},
	{"direction-and-packets", func(t *talk) {
		a, b := t.phones()
		for _, pair := range [][2]string{{"sendonly", "recvonly"}, {"recvonly", "sendonly"}, {"inactive", "inactive"}, {"sendrecv", "inactive"}, {"sendrecv", "recvonly"}} {
			towardsB, towardsA := t.offer(bare4+"a="+pair[0]+"\n"), t.answer(bareAnswer4+"a="+pair[1]+"\n")
			swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 0)
			t.again()
		}
	}},
	{"refused", func(t *talk) {
		a, b := t.phones()
		towardsB := t.offer(bare4)
		t.answer("\nv=0\no=- 1 1 IN IP4 198.51.100.3\ns=-\nc=IN IP4 198.51.100.3\nt=0 0\nm=audio 0 RTP/AVP 0\n")
		b.send(towardsB.rtp(0), audio(0, 0, 1).bytes())
		a.short()
	}},
	{"deleted", func(t *talk) {
		a, b := t.phones()
		towardsB, towardsA := t.offer(bare4), t.answer(bareAnswer4)
		swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 0)
		t.ask("delete", keys{"from-tag": t.from, "flags": []string{"fast"}})
		swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 1) // for delete-delay
	}},
	{"silence-media", func(t *talk) {
		a, b := t.phones()
		towardsB, towardsA := t.offer(bare4), t.answer(bareAnswer4)
		swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 0)
		for _, command := range []string{"silence media", "unsilence media"} {
			t.ask(command, keys{"from-tag": t.from})
			swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 1)
		}
	}},
	{"srtcp", func(t *talk) {
		a, b := t.phones()
		aRTCP, bRTCP := t.socket("A's RTCP", party4, 2001), t.socket("B's RTCP", other4, 2003)
		towardsB := t.offer(srtp4(party4, 2000, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+keyA), keys{"transport-protocol": "RTP/AVP"})
		towardsA := t.answer(bareAnswer4)
		sealA, openA := t.context(keyA), t.context(towardsA.crypto(0))
		a.send(towardsA.rtp(0), seal(sealA)(audio(0, 0, 0x1234).bytes()))
		b.expect()
		report, err := sealA.EncryptRTCP(nil, senderReport(0x1234), nil)
		if err != nil {
			t.stop("%v", err)
		}
		aRTCP.send(towardsA.rtcp(0), report)
		bRTCP.expect()
		bRTCP.send(towardsB.rtcp(0), receiverReport(0x5678))
		aRTCP.expect(func(b []byte) ([]byte, error) { return openA.DecryptRTCP(nil, b, nil) })
		aRTCP.send(towardsA.rtcp(0), senderReport(0x1234)) // not encrypted
		bRTCP.short()
	}},
	{"feedback-to-plain", func(t *talk) {
		a, b := t.phones()
		aRTCP, bRTCP := t.socket("A's RTCP", party4, 2001), t.socket("B's RTCP", other4, 2003)
		towardsB := t.offer("\nv=0\no=- 1 1 IN IP4 198.51.100.1\ns=-\nc=IN IP4 198.51.100.1\nt=0 0\nm=audio 2000 RTP/AVPF 0\na=rtcp-fb:* nack\n", keys{"transport-protocol": "RTP/AVP"})
		towardsA := t.answer(bareAnswer4)
		swap(a, towardsA.rtp(0), b, towardsB.rtp(0), 0)
		nack := binary.BigEndian.AppendUint32([]byte{0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2}, 0x00010000)
		aRTCP.send(towardsA.rtcp(0), append(receiverReport(0x1234), nack...))
		bRTCP.short()
		bRTCP.send(towardsB.rtcp(0), receiverReport(0x5678))
		aRTCP.short()
	}},
}

const movedOffer = `
v=0
o=- 1545997027 2 IN IP4 198.51.100.1
s=tester
t=0 0
m=audio 2100 RTP/AVP 0
c=IN IP4 198.51.100.1
`
