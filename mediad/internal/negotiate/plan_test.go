package negotiate

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

const plainOffer = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"

// plan makes the plan of a request with a body of one audio media.
func planOf(t *testing.T, req ng.Request, attributes string, from, to Party) *Plan {
	t.Helper()
	if req.Command == "" {
		req.Command = ng.CommandOffer
	}
	req.SDP = plainOffer + attributes
	if strings.Contains(attributes, "fingerprint") {
		req.SDP = strings.Replace(req.SDP, "RTP/AVP", "UDP/TLS/RTP/SAVPF", 1)
	} else if strings.Contains(attributes, "crypto") {
		req.SDP = strings.Replace(req.SDP, "RTP/AVP", "RTP/SAVP", 1)
	}
	p, err := NewPlan(&req, from, to, testOptions())
	require.NoError(t, err)
	return p
}

const (
	digest32  = "00:11:22:33:44:55:66:77:88:99:00:BB:DD:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:00:BB:DD:DD:EE:" // but for the last byte
	dtlsLines = "a=setup:actpass\r\na=fingerprint:sha-256 " + digest32 + "AA\r\n"
	iceLines  = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n"
)

func TestSourceIsReceivedFrom(t *testing.T) {
	from := netip.MustParseAddr("2001:db8::7")
	attributes := "a=rtcp:5000 IN IP4 192.0.2.9\r\n"
	side := func(req ng.Request, opts Options) Side {
		req.Command, req.SDP, req.ReceivedFrom = ng.CommandOffer, plainOffer+attributes, from
		p, err := NewPlan(&req, Party{}, Party{}, opts)
		require.NoError(t, err)
		return p.From.Sides[0]
	}
	opts := testOptions()
	opts.Interfaces = []Interface{{"dual", true, true}}

	s := side(ng.Request{}, opts)
	require.Equal(t, netip.MustParseAddrPort("192.0.2.1:4000"), s.Remote.RTP)
	require.Equal(t, netip.MustParseAddrPort("192.0.2.9:5000"), s.Remote.RTCP)
	require.Equal(t, ng.FamilyIP4, s.Local.Family)

	for _, s := range []Side{
		side(ng.Request{Flags: ng.FlagsOf(ng.FlagSIPSourceAddress)}, opts),
		side(ng.Request{}, Options{Interfaces: opts.Interfaces, SIPSource: true}),
	} {
		require.Equal(t, netip.AddrPortFrom(from, 4000), s.Remote.RTP)
		require.Equal(t, netip.AddrPortFrom(from, 5000), s.Remote.RTCP)
		require.Equal(t, ng.FamilyIP6, s.Local.Family, "packets come from there")
	}
	s = side(ng.Request{Flags: ng.FlagsOf(ng.FlagTrustAddress)}, Options{Interfaces: opts.Interfaces, SIPSource: true})
	require.Equal(t, netip.MustParseAddrPort("192.0.2.1:4000"), s.Remote.RTP)
}

func TestICERestartIsOfOneLeg(t *testing.T) {
	p := planOf(t, ng.Request{ICE: ng.ICEForce}, iceLines, Party{}, Party{})
	a, b := p.From, p.To
	require.Equal(t, 1, a.Sides[0].Local.ICE.Generation)
	require.False(t, a.Sides[0].Local.ICE.Controlling)
	require.Equal(t, 1, b.Sides[0].Local.ICE.Generation)
	require.True(t, b.Sides[0].Local.ICE.Controlling)

	p = planOf(t, ng.Request{}, iceLines, a, b)
	require.Equal(t, 1, p.From.Sides[0].Local.ICE.Generation)
	p = planOf(t, ng.Request{}, strings.Replace(iceLines, "abcd\r", "efgh\r", 1), p.From, p.To)
	require.Equal(t, 2, p.From.Sides[0].Local.ICE.Generation)
	require.Equal(t, 1, p.To.Sides[0].Local.ICE.Generation)
	p = planOf(t, ng.Request{}, "", p.From, p.To)
	require.Equal(t, ICENone, p.From.Sides[0].Local.ICE.Mode)
	p = planOf(t, ng.Request{}, iceLines, p.From, p.To)
	require.Equal(t, 3, p.From.Sides[0].Local.ICE.Generation, "ICE that comes back is new")
}

func TestICELiteRoles(t *testing.T) {
	p := planOf(t, ng.Request{ICE: ng.ICEForce, ICELite: ng.ICELiteForward}, "a=ice-lite\r\n"+iceLines, Party{}, Party{})
	require.Equal(t, ICEFull, p.From.Sides[0].Local.ICE.Mode)
	require.True(t, p.From.Sides[0].Local.ICE.Controlling, "the peer is lite")
	require.Equal(t, ICELite, p.To.Sides[0].Local.ICE.Mode)
	p = planOf(t, ng.Request{Command: ng.CommandAnswer}, iceLines, p.To, p.From)
	require.False(t, p.From.Sides[0].Local.ICE.Controlling, "we are lite, the peer is not")
}

// TestShortICECredentials: as in rtpengine, whoever names a user fragment is
// told ours; the agent will not start with bad credentials.
func TestShortICECredentials(t *testing.T) {
	for lines, want := range map[string]ICEMode{
		"a=ice-ufrag:abc\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n":                              ICEFull,
		"a=ice-ufrag:abcd\r\na=ice-pwd:short\r\n":                                              ICEFull,
		"a=ice-ufrag:abcd\r\n":                                                                 ICEFull,
		"a=ice-pwd:abcdefghijklmnopqrstuv\r\n":                                                 ICENone,
		"a=ice-ufrag:" + strings.Repeat("x", 257) + "\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n": ICENone,
	} {
		p := planOf(t, ng.Request{}, lines, Party{}, Party{})
		require.Equal(t, want, p.From.Sides[0].Local.ICE.Mode, lines)
	}
}

func TestDTLSAssociation(t *testing.T) {
	p := planOf(t, ng.Request{}, dtlsLines, Party{}, Party{})
	require.Equal(t, LocalDTLS{Role: DTLSUndecided, Hash: "sha-256", Generation: 1}, p.From.Sides[0].Local.DTLS)
	p = planOf(t, ng.Request{Command: ng.CommandAnswer}, strings.Replace(dtlsLines, "actpass", "active", 1), p.To, p.From)
	require.Equal(t, DTLSPassive, p.From.Sides[0].Local.DTLS.Role)
	require.Equal(t, DTLSActive, p.To.Sides[0].Local.DTLS.Role)
	b, a := p.From, p.To

	for name, c := range map[string]struct {
		lines      string
		generation int
		role       DTLSRole
	}{
		"same":              {dtlsLines, 1, DTLSActive},
		"passive as before": {strings.Replace(dtlsLines, "actpass", "passive", 1), 1, DTLSActive},
		"wants our role":    {strings.Replace(dtlsLines, "actpass", "active", 1), 2, DTLSUndecided},
		"other certificate": {strings.Replace(dtlsLines, "AA", "CC", 1), 2, DTLSUndecided},
		"one more":          {dtlsLines + "a=fingerprint:sha-512 " + digest32 + digest32 + "AA:AA\r\n", 1, DTLSActive},
		"held":              {strings.Replace(dtlsLines, "actpass", "holdconn", 1), 1, DTLSActive},
	} {
		p := planOf(t, ng.Request{}, c.lines, a, b)
		require.Equal(t, c.generation, p.From.Sides[0].Local.DTLS.Generation, name)
		require.Equal(t, c.role, p.From.Sides[0].Local.DTLS.Role, name)
		require.Equal(t, 1, p.To.Sides[0].Local.DTLS.Generation, name)
	}
	// tls-id (RFC 8842 §4): a new one means a new association.
	p = planOf(t, ng.Request{}, dtlsLines+"a=tls-id:one\r\n", a, b)
	require.Equal(t, 1, p.From.Sides[0].Local.DTLS.Generation)
	p = planOf(t, ng.Request{}, dtlsLines+"a=tls-id:two\r\n", p.From, p.To)
	require.Equal(t, 2, p.From.Sides[0].Local.DTLS.Generation)
}

func TestPassivePreference(t *testing.T) {
	answer := func(offerReq, answerReq ng.Request, passive bool) DTLSRole {
		offerReq.TransportProtocol = ng.ProtocolRTPAVP
		p := planOf(t, offerReq, dtlsLines, Party{}, Party{})
		answerReq.Command, answerReq.SDP = ng.CommandAnswer, plainOffer
		opts := testOptions()
		opts.DTLSPassive = passive
		p, err := NewPlan(&answerReq, p.To, p.From, opts)
		require.NoError(t, err)
		return p.To.Sides[0].Local.DTLS.Role
	}
	require.Equal(t, DTLSActive, answer(ng.Request{}, ng.Request{}, false))
	require.Equal(t, DTLSPassive, answer(ng.Request{}, ng.Request{}, true))
	require.Equal(t, DTLSPassive, answer(ng.Request{}, ng.Request{DTLS: ng.DTLSPassive}, false))
	require.Equal(t, DTLSPassive, answer(ng.Request{DTLSReverse: ng.DTLSPassive}, ng.Request{}, false))
	require.Equal(t, DTLSActive, answer(ng.Request{DTLS: ng.DTLSPassive}, ng.Request{}, false))
	require.Equal(t, DTLSActive, answer(ng.Request{}, ng.Request{DTLS: ng.DTLSActive}, true))
}

func TestUnusableCryptoLines(t *testing.T) {
	const key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
	for _, c := range []struct {
		value string
		ok    bool
		mki   []byte
	}{
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key, true, nil},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key + "|2^20|1:4", true, []byte{0, 0, 0, 1}},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key + "|1:1", true, []byte{1}},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key + "|258:1", true, []byte{2}},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key + "|1:256", false, nil},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key + "|forever", false, nil},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key + "|x:4", false, nil},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key + "|1:4;inline:" + key + "|2:4", true, []byte{0, 0, 0, 1}},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key + " UNAUTHENTICATED_SRTP", true, nil},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key + " WSH=64 KDR=1 -x", true, nil},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + key[:36], false, nil},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:%%%", false, nil},
		{"1 F8_128_HMAC_SHA1_80 inline:" + key, true, nil},
		{"1 F8_256_HMAC_SHA1_80 inline:" + key, false, nil},
		{"1 AEAD_AES_128_GCM inline:AgICAgICAgICAgICAgICAgICAgICAgICAgICAg==", true, nil},
	} {
		got, ok := readCrypto(c.value)
		require.Equal(t, c.ok, ok, c.value)
		if ok {
			require.Equal(t, c.mki, got.MKI, c.value)
			require.Len(t, got.Key, KeyLength(got.Suite))
		}
	}
	p := planOf(t, ng.Request{}, "a=crypto:1 F8_256_HMAC_SHA1_80 inline:"+key+"\r\n", Party{}, Party{})
	require.Equal(t, SecurityMissing, p.From.Sides[0].Security())
}

func TestOffererPreference(t *testing.T) {
	lines := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n" +
		"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"
	p := planOf(t, ng.Request{SDES: ng.SDES{OffererPref: []string{"AES_CM_128_HMAC_SHA1_32"}}}, lines, Party{}, Party{})
	require.Equal(t, 2, p.From.Sides[0].Local.SDES.Chosen)
	crypto, ok := p.From.Sides[0].InboundCrypto()
	require.True(t, ok)
	require.Equal(t, 2, crypto.Tag)
	// Without the preference the next offer keeps what is in use.
	p = planOf(t, ng.Request{}, lines, p.From, p.To)
	require.Equal(t, 2, p.From.Sides[0].Local.SDES.Chosen)
}

func TestFragments(t *testing.T) {
	p := planOf(t, ng.Request{}, iceLines+"a=mid:x\r\n", Party{}, Party{})
	fragment := func(body string) (*Plan, error) {
		req := &ng.Request{Command: ng.CommandOffer, SDP: body, Flags: ng.FlagsOf(ng.FlagFragment)}
		return NewPlan(req, p.From, p.To, testOptions())
	}
	candidate := "a=candidate:1 1 udp 1 192.0.2.1 9000 typ host\r\n"
	for body, want := range map[string]int{
		candidate: 1,
		"a=ice-ufrag:abcd\r\nm=audio 9 RTP/AVP 0\r\na=mid:x\r\n" + candidate:                                      1,
		"a=ice-ufrag:old1\r\nm=audio 9 RTP/AVP 0\r\na=mid:x\r\n" + candidate:                                      0,
		"m=audio 9 RTP/AVP 0\r\na=mid:y\r\n" + candidate:                                                          0,
		"m=audio 9 RTP/AVP 0\r\n" + strings.Repeat(candidate, 100):                                                maxCandidates,
		"m=audio 9 RTP/AVP 0\r\nm=video 9 RTP/AVP 0\r\n" + candidate:                                              0,
		"m=audio 9 RTP/AVP 0\r\na=ice-ufrag:abcd\r\na=mid:x\r\n" + candidate + "a=end-of-candidates\r\na=foo\r\n": 1,
	} {
		f, err := fragment(body)
		require.NoError(t, err)
		require.True(t, f.Fragment)
		require.Len(t, f.From.Sides[0].Remote.ICE.Candidates, want, body)
		require.Equal(t, strings.Contains(body, "end-of"), f.From.Sides[0].Remote.ICE.EndOfCandidates)
		require.Empty(t, p.From.Sides[0].Remote.ICE.Candidates, "the snapshot is as it was")
		out, err := f.Rewrite(nil)
		require.NoError(t, err)
		require.Empty(t, out)
	}
	p.From.Sides = nil
	_, err := fragment(candidate)
	require.ErrorIs(t, err, ng.ReasonSDPIncomplete)
}

func TestRewriteRefusesHalfALocalSide(t *testing.T) {
	good := LocalMedia{
		Address: netip.MustParseAddr("203.0.113.1"), RTPPort: 30000, RTCPPort: 30001,
		ICEUfrag: "abcd", ICEPwd: "abcdefghijklmnopqrstuv", Fingerprint: sdp.Fingerprint{Hash: "sha-256", Value: "AA"},
	}
	for _, suite := range DefaultSuites() {
		good.Keys = append(good.Keys, make([]byte, KeyLength(suite)))
	}
	rewrite := func(change func(*LocalMedia)) error {
		local := good
		local.Keys = append([][]byte(nil), good.Keys...)
		change(&local)
		p := planOf(t, ng.Request{ICE: ng.ICEForce, TransportProtocol: ng.ProtocolRTPSAVPF}, "", Party{}, Party{})
		_, err := p.Rewrite([]LocalMedia{local})
		return err
	}
	require.NoError(t, rewrite(func(*LocalMedia) {}))
	for name, change := range map[string]func(*LocalMedia){
		"address":     func(l *LocalMedia) { l.Address = netip.Addr{} },
		"port":        func(l *LocalMedia) { l.RTPPort = 0 },
		"RTCP port":   func(l *LocalMedia) { l.RTCPPort = 0 },
		"ufrag":       func(l *LocalMedia) { l.ICEUfrag = "" },
		"password":    func(l *LocalMedia) { l.ICEPwd = "" },
		"fingerprint": func(l *LocalMedia) { l.Fingerprint = sdp.Fingerprint{} },
		"keys":        func(l *LocalMedia) { l.Keys = l.Keys[:2] },
		"short key":   func(l *LocalMedia) { l.Keys[3] = []byte{1} },
	} {
		require.ErrorIs(t, rewrite(change), ng.ReasonSDPRewrite, name)
	}
	p := planOf(t, ng.Request{}, "", Party{}, Party{})
	_, err := p.Rewrite(nil)
	require.ErrorIs(t, err, ng.ReasonSDPRewrite)
}

func TestBounds(t *testing.T) {
	_, err := NewPlan(&ng.Request{Command: ng.CommandOffer}, Party{}, Party{}, testOptions())
	require.ErrorIs(t, err, ng.ReasonNoSDP)
	body := plainOffer + strings.Repeat("m=audio 1 RTP/AVP 0\r\n", maxMedias)
	_, err = NewPlan(&ng.Request{Command: ng.CommandOffer, SDP: body}, Party{}, Party{}, testOptions())
	require.ErrorIs(t, err, ng.ReasonSDPParse)

	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "a=candidate:1 1 udp 1 192.0.2.1 %d typ host\r\na=fingerprint:sha-256 %s%02X\r\na=crypto:%d AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n", i+1, digest32, i, i+1)
	}
	p := planOf(t, ng.Request{}, iceLines+many.String(), Party{}, Party{})
	remote := &p.From.Sides[0].Remote
	require.Len(t, remote.ICE.Candidates, maxCandidates)
	require.Len(t, remote.Fingerprints, maxFingerprints)
	require.Len(t, remote.Crypto, maxCrypto)
}

func TestReset(t *testing.T) {
	p := planOf(t, ng.Request{ICE: ng.ICEForce, Direction: [2]string{"priv", "priv"}}, dtlsLines+iceLines, Party{}, Party{})
	p = planOf(t, ng.Request{Flags: ng.FlagsOf(ng.FlagReset)}, "", p.From, p.To)
	for _, s := range []Side{p.From.Sides[0], p.To.Sides[0]} {
		require.Equal(t, "pub", s.Local.Interface)
		require.Equal(t, ICENone, s.Local.ICE.Mode)
		require.Equal(t, SecurityNone, s.Security())
	}
}

func TestAttributeOperations(t *testing.T) {
	req := ng.Request{SDPAttr: []ng.SDPAttr{
		{Section: "audio", Action: "remove", Value: "ptime:20"},
		{Section: "audio", Action: "substitute", Value: "foo", With: "bar:1"},
		{Section: "audio", Action: "add", Value: "new\r\na=smuggled"},
		{Section: "video", Action: "add", Value: "not-here"},
		{Section: "global", Action: "add", Value: "session"},
		{Section: "none", Action: "add", Value: "session"},
		{Section: "audio", Action: "remove", Value: "ssrc:"},
	}}
	p := planOf(t, req, "a=ptime:20\r\na=ssrc:1 a\r\na=foo:1\r\na=ssrc:1 b\r\n", Party{}, Party{})
	out, err := p.Rewrite([]LocalMedia{{Address: netip.MustParseAddr("203.0.113.1"), RTPPort: 30000, RTCPPort: 30001}})
	require.NoError(t, err)
	require.Equal(t, "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\na=session\r\n"+
		"m=audio 30000 RTP/AVP 8\r\na=bar:1\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\na=rtcp:30001\r\na=new\r\n", out)
}

// TestMediaRemove: what "sdp-media-remove" keeps from the answerer is refused
// towards the offerer.
func TestMediaRemove(t *testing.T) {
	const video = "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
	call := newPorts()
	offer := ng.Request{Command: ng.CommandOffer, SDP: strings.Replace(plainOffer, "m=audio", video+"m=audio", 1), SDPMediaRemove: []string{"video"}}
	out, _, err := call.step(&offer, "A", "B")
	require.NoError(t, err)
	require.NotContains(t, out, "m=video")
	require.NotContains(t, out, "H264")
	for range 2 { // also a repeated answer, and then a re-offer
		out, _, err = call.step(&ng.Request{Command: ng.CommandAnswer, SDP: plainOffer}, "B", "A")
		require.NoError(t, err)
		require.Contains(t, out, "m=video 0 RTP/AVP 96\r\nm=audio 30010 ")
	}
	out, _, err = call.step(&ng.Request{Command: ng.CommandOffer, SDP: plainOffer}, "B", "A")
	require.NoError(t, err)
	require.Contains(t, out, "m=video 0 RTP/AVP 96\r\nm=audio 30010 ")
	out, _, err = call.step(&ng.Request{Command: ng.CommandAnswer, SDP: strings.Replace(offer.SDP, "4002", "0", 1)}, "A", "B")
	require.NoError(t, err)
	require.NotContains(t, out, "m=video")

	offer.SDPMediaRemove = nil
	out, _, err = call.step(&offer, "A", "B")
	require.NoError(t, err)
	require.Contains(t, out, "m=video 40000 RTP/AVP 96\r\n")
}

// BenchmarkExchange is what offer and answer of a browser's call cost here.
func BenchmarkExchange(b *testing.B) {
	offer := strings.Replace(plainOffer, "RTP/AVP", "UDP/TLS/RTP/SAVPF", 1) + dtlsLines + iceLines +
		strings.Repeat("a=candidate:1 1 udp 1 192.0.2.1 9000 typ host\r\n", 8) + "a=rtcp-mux\r\na=mid:0\r\n"
	toPhone := ng.Request{Command: ng.CommandOffer, SDP: offer, TransportProtocol: ng.ProtocolRTPAVP, ICE: ng.ICERemove, RTCPMux: ng.RTCPMuxDemux}
	toBrowser := ng.Request{Command: ng.CommandAnswer, SDP: plainOffer}
	b.ReportAllocs()
	for b.Loop() {
		call := newPorts()
		if _, _, err := call.step(&toPhone, "A", "B"); err != nil {
			b.Fatal(err)
		}
		if _, _, err := call.step(&toBrowser, "B", "A"); err != nil {
			b.Fatal(err)
		}
	}
}
