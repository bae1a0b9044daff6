package app

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// browser is a WebRTC peer with one audio track: full ICE, DTLS-SRTP, rtcp-mux,
// BUNDLE.
type browser struct {
	t        *testing.T
	pc       *webrtc.PeerConnection
	track    *webrtc.TrackLocalStaticRTP
	seq      uint16
	payloads chan string
	state    atomic.Int32 // of the whole connection
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	return newBrowserWith(t, func(*webrtc.SettingEngine) {})
}

// newIPv6Browser makes a browser whose machine has IPv6 only.
func newIPv6Browser(t *testing.T) *browser {
	t.Helper()
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	require.NoError(t, err)
	mux := webrtc.NewICEUDPMux(nil, conn)
	t.Cleanup(func() { _ = mux.Close(); _ = conn.Close() })
	return newBrowserWith(t, func(s *webrtc.SettingEngine) {
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP6})
		s.SetICEUDPMux(mux) // by itself pion leaves ::1 out
	})
}

func newBrowserWith(t *testing.T, change func(*webrtc.SettingEngine)) *browser {
	t.Helper()
	var media webrtc.MediaEngine
	pcmu := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypePCMU, ClockRate: 8000}
	require.NoError(t, media.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: pcmu, PayloadType: 0}, webrtc.RTPCodecTypeAudio))
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	s.SetHandleUndeclaredSSRCWithoutAnswer(true) // as browsers do
	change(&s)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&media), webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	require.NoError(t, err)
	b := &browser{t: t, pc: pc, payloads: make(chan string, 1000)}
	t.Cleanup(b.close)
	b.track, err = webrtc.NewTrackLocalStaticRTP(pcmu, "audio", "browser")
	require.NoError(t, err)
	_, err = pc.AddTrack(b.track)
	require.NoError(t, err)
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) { b.state.Store(int32(s)) })
	pc.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			p, _, err := remote.ReadRTP()
			if err != nil {
				return
			}
			b.payloads <- string(p.Payload)
		}
	})
	return b
}

func (b *browser) close() { _ = b.pc.GracefulClose() }

func (b *browser) heard() <-chan string { return b.payloads }

func (b *browser) sendRTP(payload string) {
	b.seq++
	_ = b.track.WriteRTP(&rtp.Packet{
		Header:  rtp.Header{Version: 2, SequenceNumber: b.seq, Timestamp: uint32(b.seq) * 160},
		Payload: []byte(payload),
	})
}

// describe sets and returns the local description with all candidates.
func (b *browser) describe(d webrtc.SessionDescription, err error) string {
	b.t.Helper()
	require.NoError(b.t, err)
	gathered := webrtc.GatheringCompletePromise(b.pc)
	require.NoError(b.t, b.pc.SetLocalDescription(d))
	<-gathered
	// Browsers say that they trickle; else an address of 0.0.0.0 would put the other end on hold.
	return strings.Replace(b.pc.LocalDescription().SDP, "a=rtcp-mux\r\n", "a=rtcp-mux\r\na=ice-options:trickle\r\n", -1)
}

func (b *browser) offer(o *webrtc.OfferOptions) string {
	b.t.Helper()
	return b.describe(b.pc.CreateOffer(o))
}

func (b *browser) told(kind webrtc.SDPType, sdp string) {
	b.t.Helper()
	for _, needed := range []string{"UDP/TLS/RTP/SAVPF", "a=fingerprint:sha-256 ", "a=setup:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:", "a=rtcp-mux"} {
		require.Contains(b.t, sdp, needed)
	}
	require.NoError(b.t, b.pc.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: sdp}), sdp)
}

// plain are the flags towards a phone, web those towards a browser, as a proxy
// sets them.
func plain(r ng.Request) *ng.Request {
	r.TransportProtocol, r.ICE, r.DTLS, r.RTCPMux = ng.ProtocolRTPAVP, ng.ICERemove, ng.DTLSOff, ng.RTCPMuxDemux
	r.SDES.Off, r.Replace = true, ng.ReplaceOrigin
	return &r
}

func web(r ng.Request) *ng.Request {
	r.TransportProtocol, r.ICE, r.DTLS = ng.ProtocolTLSSAVPF, ng.ICEForce, ng.DTLSPassive
	r.RTCPMux, r.SDES.Off, r.Replace = ng.RTCPMuxOffer|ng.RTCPMuxRequire, true, ng.ReplaceOrigin
	r.Bundle = ng.BundleOffer // pion refuses media outside a group
	r.Flags.Set(ng.FlagGenerateMID)
	return &r
}

// phoneSDP makes the phone's description one that the browser can take over.
func phoneSDP(p *phone) string {
	return strings.ReplaceAll(p.sdp(0), "a=x-unknown:kept as it is\r\n", "")
}

// hearing lets the phone take over a description without looking for the
// unknown line.
func hearing(p *phone, sdp string) { p.told(sdp + "a=x-unknown:kept as it is\r\n") }

// callPhone lets the browser call the phone.
func callPhone(d *daemon, b *browser, p *phone, change func(offer, answer *ng.Request)) (toPhone, toBrowser string) {
	d.t.Helper()
	offer := plain(ng.Request{CallID: "call", FromTag: "b", SDP: b.offer(nil)})
	answer := web(ng.Request{CallID: "call", FromTag: "b", ToTag: "p"})
	if change != nil {
		change(offer, answer)
	}
	toPhone = d.offer(offer)
	hearing(p, toPhone)
	answer.SDP = phoneSDP(p)
	toBrowser = d.answer(answer)
	b.told(webrtc.SDPTypeAnswer, toBrowser)
	return toPhone, toBrowser
}

// callBrowser lets the phone call the browser.
func callBrowser(d *daemon, b *browser, p *phone) {
	d.t.Helper()
	b.told(webrtc.SDPTypeOffer, d.offer(web(ng.Request{CallID: "call", FromTag: "p", SDP: phoneSDP(p)})))
	answer := b.describe(b.pc.CreateAnswer(nil))
	hearing(p, d.answer(plain(ng.Request{CallID: "call", FromTag: "p", ToTag: "b", SDP: answer})))
}

func TestBrowserCallsPhone(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1")
	callPhone(d, b, p, nil)
	talk(t, b, p)
	state := d.query("call").Tags["b"].Medias[0]
	require.Contains(t, state.Flags, "DTLS-SRTP")
	require.Contains(t, state.Flags, "ICE")
	require.Contains(t, state.Flags, "rtcp-mux")
	require.Contains(t, state.Streams[0].Flags, "DTLS fingerprint verified")
	require.NotEmpty(t, state.Streams[0].CryptoSuite)
	select { // the browser's reports reach the phone's second port
	case <-p.reports:
	case <-time.After(10 * time.Second):
		t.Fatal("no RTCP of the browser at the phone")
	}
	d.delete(&ng.Request{CallID: "call"})
}

func TestPhoneCallsBrowser(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1")
	callBrowser(d, b, p)
	talk(t, b, p)
	d.delete(&ng.Request{CallID: "call"})
}

func TestBrowserCallsPhoneWithSRTP(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1").withSDES("AES_CM_128_HMAC_SHA1_80")
	offer := plain(ng.Request{CallID: "call", FromTag: "b", SDP: b.offer(nil)})
	offer.TransportProtocol, offer.SDES.Off = ng.ProtocolRTPSAVP, false
	tag := p.told(d.offer(offer) + "a=x-unknown:kept as it is\r\n")
	body := strings.ReplaceAll(p.sdp(tag), "a=x-unknown:kept as it is\r\n", "")
	b.told(webrtc.SDPTypeAnswer, d.answer(web(ng.Request{CallID: "call", FromTag: "b", ToTag: "p", SDP: body})))
	talk(t, b, p)
	d.delete(&ng.Request{CallID: "call"})
}

func TestICELite(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1")
	_, toBrowser := callPhone(d, b, p, func(offer, answer *ng.Request) {
		offer.ICELite = ng.ICELiteBackward
		answer.ICELite = ng.ICELiteForward
	})
	require.Contains(t, toBrowser, "a=ice-lite")
	talk(t, b, p)
	require.Contains(t, d.query("call").Tags["b"].Medias[0].Flags, "ICE-lite self")
	d.delete(&ng.Request{CallID: "call"})
}

func TestTwoBrowsers(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newBrowser(t), newBrowser(t)
	b.told(webrtc.SDPTypeOffer, d.offer(web(ng.Request{CallID: "call", FromTag: "a", SDP: a.offer(nil)})))
	a.told(webrtc.SDPTypeAnswer, d.answer(web(ng.Request{
		CallID: "call", FromTag: "a", ToTag: "b", SDP: b.describe(b.pc.CreateAnswer(nil)),
	})))
	talk(t, a, b)
	d.delete(&ng.Request{CallID: "call"})
}

func TestReinviteOfThePhoneKeepsICEAndDTLS(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1")
	_, first := callPhone(d, b, p, nil)
	talk(t, b, p)
	for _, direction := range []string{"sendonly", "sendrecv"} {
		p.direction = direction
		toBrowser := d.offer(web(ng.Request{CallID: "call", FromTag: "p", ToTag: "b", SDP: phoneSDP(p)}))
		require.Equal(t, strings.Fields(line(first, "m=audio"))[1], strings.Fields(line(toBrowser, "m=audio"))[1])
		for _, same := range []string{"a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:"} {
			require.Equal(t, line(first, same), line(toBrowser, same))
		}
		b.told(webrtc.SDPTypeOffer, toBrowser)
		oneWay(t, p, b) // goes on while the offer is open
		answer := b.describe(b.pc.CreateAnswer(nil))
		hearing(p, d.answer(plain(ng.Request{CallID: "call", FromTag: "p", ToTag: "b", SDP: answer})))
		oneWay(t, p, b)
	}
	talk(t, b, p)
	require.Equal(t, int32(webrtc.PeerConnectionStateConnected), b.state.Load())
	d.delete(&ng.Request{CallID: "call"})
}

func TestICERestartKeepsDTLS(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1")
	_, first := callPhone(d, b, p, nil)
	talk(t, b, p)
	restart := plain(ng.Request{CallID: "call", FromTag: "b", ToTag: "p", SDP: b.offer(&webrtc.OfferOptions{ICERestart: true})})
	hearing(p, d.offer(restart))
	second := d.answer(web(ng.Request{CallID: "call", FromTag: "b", ToTag: "p", SDP: phoneSDP(p)}))
	require.NotEqual(t, line(first, "a=ice-ufrag:"), line(second, "a=ice-ufrag:"))
	require.NotEqual(t, line(first, "a=ice-pwd:"), line(second, "a=ice-pwd:"))
	require.Equal(t, line(first, "a=fingerprint:"), line(second, "a=fingerprint:"))
	require.Equal(t, line(first, "m=audio"), line(second, "m=audio"))
	b.told(webrtc.SDPTypeAnswer, second)
	talk(t, b, p)
	require.Equal(t, int32(webrtc.PeerConnectionStateConnected), b.state.Load())
	d.delete(&ng.Request{CallID: "call"})
}

// TestRefusedOffersOfABrowserChangeNothing sends re-offers that nobody answers,
// as after a 488: an ICE restart, another certificate, no DTLS at all.
func TestRefusedOffersOfABrowserChangeNothing(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1")
	_, first := callPhone(d, b, p, nil)
	talk(t, b, p)
	body := b.pc.LocalDescription().SDP
	other := newBrowser(t).offer(nil)
	refused := func(body string) {
		d.offer(plain(ng.Request{CallID: "call", FromTag: "b", ToTag: "p", SDP: body}))
		talk(t, b, p)
	}
	refused(strings.NewReplacer(line(body, "a=ice-ufrag:"), "a=ice-ufrag:another", line(body, "a=ice-pwd:"), "a=ice-pwd:anotherpasswordoftwentytwo").Replace(body))
	refused(strings.ReplaceAll(body, line(body, "a=fingerprint:"), line(other, "a=fingerprint:")))
	refused(phoneSDP(newPhone(t, "127.0.0.1")))
	// And towards the browser, from the phone's side.
	d.offer(web(ng.Request{CallID: "call", FromTag: "p", ToTag: "b", SDP: phoneSDP(newPhone(t, "127.0.0.1"))}))
	talk(t, b, p)

	hearing(p, d.offer(plain(ng.Request{CallID: "call", FromTag: "b", ToTag: "p", SDP: b.offer(nil)})))
	again := d.answer(web(ng.Request{CallID: "call", FromTag: "b", ToTag: "p", SDP: phoneSDP(p)}))
	for _, same := range []string{"a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "m=audio"} {
		require.Equal(t, line(first, same), line(again, same))
	}
	b.told(webrtc.SDPTypeAnswer, again)
	talk(t, b, p)
	d.delete(&ng.Request{CallID: "call"})
}

func TestWrongFingerprintGetsNoMedia(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1")
	callPhone(d, b, p, func(offer, _ *ng.Request) {
		f := line(offer.SDP, "a=fingerprint:")
		flipped := f[:len(f)-1] + map[bool]string{true: "1", false: "0"}[f[len(f)-1] == '0']
		offer.SDP = strings.ReplaceAll(offer.SDP, f, flipped)
	})
	eventually(t, 10*time.Second, "the browser's connection fails", func() bool {
		s := webrtc.PeerConnectionState(b.state.Load())
		return s == webrtc.PeerConnectionStateFailed || s == webrtc.PeerConnectionStateClosed
	})
	silent(t, p, b)
	silent(t, b, p)
	d.delete(&ng.Request{CallID: "call"})
}

func TestBrowserGone(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1")
	callPhone(d, b, p, nil)
	talk(t, b, p)
	b.close()
	d.delete(&ng.Request{CallID: "call"})
}

// TestHandshakeUnderWayEndsWithTheCall deletes a call at moments when ICE and
// DTLS are busy.
func TestHandshakeUnderWayEndsWithTheCall(t *testing.T) {
	d := startDaemon(t, nil)
	for i := range 8 {
		b, p := newBrowser(t), newPhone(t, "127.0.0.1")
		callPhone(d, b, p, nil)
		time.Sleep(time.Duration(i) * 15 * time.Millisecond)
		d.delete(&ng.Request{CallID: "call"})
		require.Empty(t, d.list())
	}
}

// TestTrickledCandidates gives mediad the browser's candidates after its
// offer, in a fragment (RFC 8840).
func TestTrickledCandidates(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1")
	var candidates string
	callPhone(d, b, p, func(offer, answer *ng.Request) {
		for l := range strings.Lines(offer.SDP) {
			if strings.HasPrefix(l, "a=candidate:") {
				candidates += l
			}
		}
		offer.SDP = strings.ReplaceAll(offer.SDP, "a=end-of-candidates\r\n", "")
		offer.SDP = strings.ReplaceAll(offer.SDP, candidates, "")
		require.NotContains(t, offer.SDP, "candidate")
		answer.Flags.Set(ng.FlagTrickleICE)
	})
	body := b.pc.LocalDescription().SDP
	fragment := line(body, "a=ice-ufrag:") + "\r\n" + line(body, "a=ice-pwd:") + "\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" +
		line(body, "a=mid:") + "\r\n" + candidates + "a=end-of-candidates\r\n"
	require.Empty(t, d.offer(&ng.Request{
		CallID: "call", FromTag: "b", ToTag: "p", SDP: fragment, Flags: ng.FlagsOf(ng.FlagFragment),
	}))
	talk(t, b, p)
	d.delete(&ng.Request{CallID: "call"})
}

// TestBrowserIsFasterThanItsAnswer lets checks and ClientHello of the called
// browser come in before mediad has its answer.
func TestBrowserIsFasterThanItsAnswer(t *testing.T) {
	d := startDaemon(t, nil)
	b, p := newBrowser(t), newPhone(t, "127.0.0.1")
	b.told(webrtc.SDPTypeOffer, d.offer(web(ng.Request{CallID: "call", FromTag: "p", SDP: phoneSDP(p)})))
	body := b.describe(b.pc.CreateAnswer(nil))
	time.Sleep(700 * time.Millisecond)
	hearing(p, d.answer(plain(ng.Request{CallID: "call", FromTag: "p", ToTag: "b", SDP: body})))
	start := time.Now()
	talk(t, b, p)
	require.Less(t, time.Since(start), time.Second)
	d.delete(&ng.Request{CallID: "call"})
}
