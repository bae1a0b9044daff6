package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// TestTwoDaemonsInARow puts two daemons between two plain phones. What they
// speak to each other is then all of their own making: whatever one offers the
// other has to understand.
func TestTwoDaemonsInARow(t *testing.T) {
	dtls := func(r *ng.Request) {
		r.TransportProtocol, r.SDES.Off, r.DTLS = ng.ProtocolTLSSAVPF, true, ng.DTLSPassive
	}
	for name, between := range map[string]func(*ng.Request){
		"RTP":  func(r *ng.Request) { r.TransportProtocol, r.ICE = ng.ProtocolRTPAVP, ng.ICERemove },
		"AVPF": func(r *ng.Request) { r.TransportProtocol, r.ICE = ng.ProtocolRTPAVPF, ng.ICERemove },
		"SDES": func(r *ng.Request) {
			r.TransportProtocol, r.ICE, r.DTLS = ng.ProtocolRTPSAVPF, ng.ICERemove, ng.DTLSOff
		},
		"RTP, ICE":           func(r *ng.Request) { r.TransportProtocol, r.ICE = ng.ProtocolRTPAVP, ng.ICEForce },
		"RTP, ICE, mux":      func(r *ng.Request) { r.ICE, r.RTCPMux = ng.ICEForce, ng.RTCPMuxOffer|ng.RTCPMuxAccept },
		"DTLS":               func(r *ng.Request) { dtls(r); r.ICE = ng.ICERemove },
		"DTLS, active":       func(r *ng.Request) { dtls(r); r.ICE, r.DTLS = ng.ICERemove, ng.DTLSActive },
		"DTLS, ICE":          func(r *ng.Request) { dtls(r); r.ICE = ng.ICEForce },
		"DTLS, ICE, mux":     func(r *ng.Request) { dtls(r); r.ICE, r.RTCPMux = ng.ICEForce, ng.RTCPMuxRequire|ng.RTCPMuxAccept },
		"DTLS, lite to full": func(r *ng.Request) { dtls(r); r.ICE, r.ICELite = ng.ICEForce, ng.ICELiteForward },
		"WebRTC": func(r *ng.Request) {
			dtls(r)
			r.ICE, r.RTCPMux, r.Bundle = ng.ICEForce, ng.RTCPMuxOffer|ng.RTCPMuxAccept, ng.BundleOffer
		},
		"opportunistic (any)": func(r *ng.Request) { r.TransportProtocol = ng.ProtocolTLSSAVPF },
	} {
		t.Run(name, func(t *testing.T) {
			first, second := startDaemon(t, nil), startDaemon(t, nil)
			a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
			toPhone := ng.Request{CallID: "call", FromTag: "a", TransportProtocol: ng.ProtocolRTPAVP, ICE: ng.ICERemove, RTCPMux: ng.RTCPMuxDemux}

			offer := ng.Request{CallID: "call", FromTag: "a", SDP: a.sdp(0)}
			between(&offer)
			toB := toPhone
			toB.SDP = first.offer(&offer)
			b.told(second.offer(&toB))

			answer := ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: b.sdp(0)}
			between(&answer)
			answer.ICELite = ng.ICELiteAbsent
			toA := toPhone
			toA.ToTag, toA.SDP = "b", second.answer(&answer)
			a.told(first.answer(&toA))
			talk(t, a, b)
			reports(t, a, b)
			t.Log(first.query("call").Tags["b"].Medias[0].Flags)

			// A session refresh by the callee goes the same way back.
			refresh := ng.Request{CallID: "call", FromTag: "b", ToTag: "a", SDP: b.sdp(0)}
			between(&refresh)
			refresh.ICELite = ng.ICELiteAbsent
			toA2 := toPhone
			toA2.FromTag, toA2.ToTag, toA2.SDP = "b", "a", second.offer(&refresh)
			a.told(first.offer(&toA2))
			talk(t, a, b)
			back := ng.Request{CallID: "call", FromTag: "b", ToTag: "a", SDP: a.sdp(0)}
			between(&back)
			back.ICELite = ng.ICELiteAbsent
			toB2 := toPhone
			toB2.FromTag, toB2.ToTag, toB2.SDP = "b", "a", first.answer(&back)
			b.told(second.answer(&toB2))
			talk(t, a, b)
			reports(t, a, b)
			for _, d := range []*daemon{first, second} {
				require.Empty(t, d.delete(&ng.Request{CallID: "call"}).Warning)
			}
		})
	}
}
