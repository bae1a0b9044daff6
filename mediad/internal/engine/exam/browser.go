package exam

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/connect"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
)

// browser is pion/webrtc with one PCMU track, standing for a browser.
type browser struct {
	pc       *webrtc.PeerConnection
	track    *webrtc.TrackLocalStaticRTP
	received chan []byte
	reports  chan uint32 // SSRC of the receiver reports about the track
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	var media webrtc.MediaEngine
	require.NoError(t, media.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypePCMU, ClockRate: 8000}, PayloadType: 0,
	}, webrtc.RTPCodecTypeAudio))
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	settings.SetHandleUndeclaredSSRCWithoutAnswer(true) // our answers name no SSRC, which browsers take without being told
	settings.SetICETimeouts(2*time.Second, 4*time.Second, 500*time.Millisecond)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&media), webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	require.NoError(t, err)
	b := &browser{pc: pc, received: make(chan []byte, 1000), reports: make(chan uint32, 100)}
	t.Cleanup(func() { require.NoError(t, pc.GracefulClose()) })
	b.track, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypePCMU, ClockRate: 8000}, "audio", "browser")
	require.NoError(t, err)
	sender, err := pc.AddTrack(b.track)
	require.NoError(t, err)
	go func() { // ends with the connection
		for {
			packets, _, err := sender.ReadRTCP()
			if err != nil {
				return
			}
			for _, p := range packets {
				if rr, ok := p.(*rtcp.ReceiverReport); ok {
					b.reports <- rr.SSRC
				}
			}
		}
	}()
	pc.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			p, _, err := remote.ReadRTP()
			if err != nil {
				return
			}
			select {
			case b.received <- p.Payload:
			default:
			}
		}
	})
	return b
}

// ssrc of the browser's track.
func (b *browser) ssrc() uint32 {
	return uint32(b.pc.GetSenders()[0].GetParameters().Encodings[0].SSRC)
}

// local sets and returns the browser's description with all its candidates.
func (b *browser) local(t *testing.T, d webrtc.SessionDescription) string {
	t.Helper()
	gathered := webrtc.GatheringCompletePromise(b.pc)
	require.NoError(t, b.pc.SetLocalDescription(d))
	<-gathered
	return b.pc.LocalDescription().SDP
}

func (b *browser) offer(t *testing.T) string {
	t.Helper()
	o, err := b.pc.CreateOffer(nil)
	require.NoError(t, err)
	return b.local(t, o)
}

func (b *browser) answer(t *testing.T, offer string) string {
	t.Helper()
	require.NoError(t, b.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}))
	a, err := b.pc.CreateAnswer(nil)
	require.NoError(t, err)
	return b.local(t, a)
}

// attribute returns the values of an SDP attribute.
func attribute(sdp, name string) []string {
	var out []string
	for line := range strings.Lines(sdp) {
		if v, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "a="+name+":"); ok {
			out = append(out, v)
		}
	}
	return out
}

// webrtcLeg is a leg that faces a browser: ICE, DTLS and rtcp-mux on its RTP port.
type webrtcLeg struct {
	*leg
	ice       *connect.Agent
	dtls      *secure.Endpoint
	cert      *secure.Certificate
	keys      chan secure.Keys
	connected chan netip.AddrPort
	failed    chan error
	role      secure.Role
	peer      []secure.Fingerprint
}

func newWebRTCLeg(t *testing.T, l *leg, lite bool) *webrtcLeg {
	t.Helper()
	w := &webrtcLeg{leg: l, keys: make(chan secure.Keys, 1), connected: make(chan netip.AddrPort, 8), failed: make(chan error, 1)}
	var err error
	w.cert, err = secure.NewCertificate()
	require.NoError(t, err)
	w.dtls = secure.NewEndpoint(secure.EndpointConfig{
		Certificate: w.cert, Sender: l.rtp, Remote: l.rtp.Destination, Verified: true,
		OnKeys:   func(k secure.Keys) { w.keys <- k },
		OnFailed: func(err error) { w.failed <- err },
	})
	t.Cleanup(w.dtls.Close)
	w.ice, err = connect.NewAgent(connect.Config{
		Local: l.rtp.LocalAddr(), Component: 1, Credentials: connect.NewCredentials(), Lite: lite, Sender: l.rtp,
		OnSelected: func(_ int, remote netip.AddrPort) {
			l.rtp.Select(remote)
			_ = w.dtls.Start(w.role, w.peer) // a second selection finds it started
			w.connected <- remote
		},
	})
	require.NoError(t, err)
	t.Cleanup(w.ice.Close)
	return w
}

// sdp is the description of the leg for its browser.
func (w *webrtcLeg) sdp(t *testing.T, setup string, lite bool, mid string) string {
	t.Helper()
	fp, err := w.cert.Fingerprint("sha-256")
	require.NoError(t, err)
	c := w.ice.Credentials()
	l := ""
	if lite {
		l = "a=ice-lite\r\n"
	}
	a := w.rtp.LocalAddr()
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nt=0 0\r\n%sm=audio %d UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 %s\r\na=mid:%s\r\na=rtpmap:0 PCMU/8000\r\n"+
		"a=sendrecv\r\na=rtcp-mux\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s %s\r\na=setup:%s\r\na=candidate:%s\r\na=end-of-candidates\r\n",
		a.Addr(), l, a.Port(), a.Addr(), mid, c.Ufrag, c.Password, fp.Hash, fp.Value, setup, w.ice.Candidate())
}

// start tells ICE and DTLS what the browser's description says.
func (w *webrtcLeg) start(t *testing.T, sdp string, role secure.Role, controlling bool) {
	t.Helper()
	fp := strings.Fields(attribute(sdp, "fingerprint")[0])
	w.role, w.peer = role, []secure.Fingerprint{{Hash: fp[0], Value: fp[1]}}
	require.NoError(t, w.ice.Start(connect.Remote{
		Credentials: connect.Credentials{Ufrag: attribute(sdp, "ice-ufrag")[0], Password: attribute(sdp, "ice-pwd")[0]},
		Candidates:  attribute(sdp, "candidate"), Controlling: controlling,
	}))
}

// bridge routes a browser leg and a phone leg to each other.
func bridge(t *testing.T, w *webrtcLeg, p *leg, ph netip.AddrPort, in *secure.Inbound, out *secure.Outbound) {
	t.Helper()
	w.rtp.SetRoute(&flow.Route{
		ICE: w.ice, DTLS: w.dtls, Encrypted: true, Inbound: in, Muxed: true,
		Media: []flow.Output{{Stream: p.rtp}}, ControlOut: []flow.Output{{Stream: p.rtcp}},
	})
	toBrowser := []flow.Output{{Stream: w.rtp, Encrypted: true, Outbound: out}}
	p.rtp.SetRoute(&flow.Route{Endpoint: ph, Media: toBrowser})
	p.rtcp.SetRoute(&flow.Route{Endpoint: netip.AddrPortFrom(ph.Addr(), ph.Port()+1), Control: true, ControlOut: toBrowser})
}

// browserToPhone is the product in small: a WebRTC peer and a plain RTP phone, audio both ways.
func browserToPhone(t *testing.T, open Open) {
	for _, tc := range []struct {
		name    string
		lite    bool
		offerer string // who offered: browser or mediad
		setup   string // ours
	}{
		{"browser calls, full ICE, we are passive", false, "browser", "passive"},
		{"browser calls, full ICE, we are active", false, "browser", "active"},
		{"browser calls, lite ICE", true, "browser", "passive"},
		{"browser is called, full ICE", false, "mediad", "actpass"},
		{"browser is called, lite ICE", true, "mediad", "actpass"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := start(t, open, 2)
			r := newRegistry(t, e, "127.0.0.1")
			both := newRTPPorts(t, "127.0.0.2")
			ph := both.rtp
			plain := newLeg(t, e, r, 7)
			w := newWebRTCLeg(t, newLeg(t, e, r, 7), tc.lite)
			bridge(t, w, plain, ph.addr(), nil, nil)
			b := newBrowser(t)

			begin := time.Now()
			role := secure.Passive
			if tc.setup == "active" {
				role = secure.Active
			}
			if tc.offerer == "browser" {
				offer := b.offer(t)
				w.start(t, offer, role, false)
				require.NoError(t, b.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: w.sdp(t, tc.setup, tc.lite, "0")}))
			} else {
				answer := b.answer(t, w.sdp(t, tc.setup, tc.lite, "0"))
				if attribute(answer, "setup")[0] == "passive" { // pion's choice when the offerer is lite
					role = secure.Active
				}
				w.start(t, answer, role, !tc.lite)
			}
			var keys secure.Keys
			select {
			case keys = <-w.keys:
			case err := <-w.failed:
				t.Fatal(err)
			case <-time.After(10 * time.Second):
				t.Fatal("no DTLS keys; ICE state ", w.ice.State())
			}
			t.Logf("ICE and DTLS took %s", time.Since(begin))
			in, err := secure.NewInbound(keys.In)
			require.NoError(t, err)
			out, err := secure.NewOutbound(keys.Out)
			require.NoError(t, err)
			bridge(t, w, plain, ph.addr(), in, out)
			exchange(t, b, ph, plain.rtp.LocalAddr())
			exchangeReports(t, b, both.rtcp, plain.rtcp.LocalAddr())
			require.Zero(t, w.rtp.Statistics().ErrorsOut, "nothing was to be sent before there were keys")
		})
	}
}

// browserRestartsICE: after an ICE restart media goes on under the same keys.
func browserRestartsICE(t *testing.T, open Open) {
	for _, lite := range []bool{false, true} {
		t.Run(fmt.Sprintf("lite %t", lite), func(t *testing.T) {
			e := start(t, open, 2)
			r := newRegistry(t, e, "127.0.0.1")
			ph := newPhone(t, "127.0.0.2")
			plain := newLeg(t, e, r, 7)
			w := newWebRTCLeg(t, newLeg(t, e, r, 7), lite)
			bridge(t, w, plain, ph.addr(), nil, nil)
			b := newBrowser(t)
			answer := func() {
				d := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: w.sdp(t, "passive", lite, "0")}
				require.NoError(t, b.pc.SetRemoteDescription(d))
			}
			w.start(t, b.offer(t), secure.Passive, false)
			answer()
			var keys secure.Keys
			select {
			case keys = <-w.keys:
			case <-time.After(10 * time.Second):
				t.Fatal("no DTLS keys")
			}
			in, err := secure.NewInbound(keys.In)
			require.NoError(t, err)
			out, err := secure.NewOutbound(keys.Out)
			require.NoError(t, err)
			bridge(t, w, plain, ph.addr(), in, out)
			exchange(t, b, ph, plain.rtp.LocalAddr())

			again, err := b.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: true})
			require.NoError(t, err)
			offer := b.local(t, again)
			require.NoError(t, w.ice.Restart(connect.NewCredentials()))
			w.start(t, offer, secure.Passive, false)
			answer()
			exchange(t, b, ph, plain.rtp.LocalAddr())
			require.Eventually(t, func() bool { return w.ice.State() == connect.Connected }, 5*time.Second, 10*time.Millisecond)
			exchange(t, b, ph, plain.rtp.LocalAddr())
		})
	}
}

// exchangeReports bridges RTCP: muxed with RTP on the browser's side, on a port of its own on the phone's.
func exchangeReports(t *testing.T, b *browser, ph *phone, toBrowser netip.AddrPort) {
	t.Helper()
	require.NoError(t, b.pc.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 99}}))
	want, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 99}})
	require.NoError(t, err)
	ph.expect(t, want)
	theirs, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 77, Reports: []rtcp.ReceptionReport{{SSRC: b.ssrc()}}}})
	require.NoError(t, err)
	ph.send(t, theirs, toBrowser)
	select {
	case ssrc := <-b.reports:
		require.Equal(t, uint32(77), ssrc)
	case <-time.After(3 * time.Second):
		t.Fatal("the phone's report does not reach the browser")
	}
}

// exchange sends numbered packets both ways until each side has had twenty of the other's.
func exchange(t *testing.T, b *browser, ph *phone, toBrowser netip.AddrPort) {
	t.Helper()
	stop := make(chan struct{})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := uint16(0); ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			_ = b.track.WriteRTP(&pionrtp.Packet{Header: pionrtp.Header{Version: 2, SequenceNumber: i, SSRC: 1}, Payload: []byte("from the browser")}) // pion rewrites the SSRC
			_, _ = ph.conn.WriteToUDPAddrPort(rtpPacket(t, 0xabcd, i, "from the phone"), toBrowser)
		}
	}()
	defer func() { close(stop); <-sent }()
	buf := make([]byte, 2000)
	for range 20 {
		require.NoError(t, ph.conn.SetReadDeadline(time.Now().Add(5*time.Second)))
		n, _, err := ph.conn.ReadFromUDPAddrPort(buf)
		require.NoError(t, err, "phone hears nothing")
		require.Equal(t, "from the browser", string(buf[12:n]))
	}
	for range 20 {
		select {
		case p := <-b.received:
			require.Equal(t, "from the phone", string(p))
		case <-time.After(5 * time.Second):
			t.Fatal("browser hears nothing")
		}
	}
}
