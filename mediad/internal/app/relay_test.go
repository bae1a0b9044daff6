package app

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// connectPhones exchanges offer and answer of two phones. change may add to
// the offer.
func connectPhones(d *daemon, a, b *phone, change func(*ng.Request)) (toB, toA string) {
	d.t.Helper()
	offer := &ng.Request{CallID: "call", FromTag: "a", SDP: a.sdp(1), ICE: ng.ICERemove, TransportProtocol: ng.ProtocolRTPAVP}
	if b.suite != "" {
		offer.TransportProtocol = ng.ProtocolRTPSAVP
		offer.DTLS = ng.DTLSOff
	}
	if change != nil {
		change(offer)
	}
	toB = d.offer(offer)
	tag := b.told(toB)
	toA = d.answer(&ng.Request{CallID: offer.CallID, FromTag: "a", ToTag: "b", SDP: b.sdp(tag), ICE: ng.ICERemove})
	a.told(toA)
	return toB, toA
}

func TestPlainCall(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	connectPhones(d, a, b, nil)
	talk(t, a, b)
	reports(t, a, b)
	require.Equal(t, []string{"call"}, d.list())

	state := d.query("call")
	require.Len(t, state.Tags, 2)
	require.NotZero(t, state.RTP.Packets)
	require.NotZero(t, state.RTCP.Packets)
	stream := state.Tags["a"].Medias[0].Streams[0]
	require.Equal(t, a.ssrc, stream.SSRC)
	require.Equal(t, port(a.rtp), stream.Endpoint.Port)
	require.Equal(t, []uint32{a.ssrc}, stream.IngressSSRCs)
	require.Equal(t, []uint32{b.ssrc}, state.Tags["a"].Medias[0].EgressSSRCs)
	require.Equal(t, state.Tags["b"].Medias[0].Streams[0].Stats.Packets, stream.StatsOut.Packets)
	require.Equal(t, state.Created, state.CreatedTS/1e6)
	require.Equal(t, stream.Stats.Packets, state.SSRC[a.ssrc].Packets)

	reply := d.delete(&ng.Request{CallID: "call", FromTag: "a"})
	require.Empty(t, reply.Warning)
	require.Equal(t, stream.Stats, reply.Call.Tags["a"].Medias[0].Streams[0].Stats)
	require.Equal(t, string(ng.ReasonNoMatchingTags), d.delete(&ng.Request{CallID: "call"}).Warning)
}

func TestSSRCReporting(t *testing.T) {
	for word, want := range map[string]struct{ table, lists int }{"full": {2, 1}, "global": {2, 0}, "inline": {0, 1}, "none": {0, 0}} {
		t.Run(word, func(t *testing.T) {
			d := startDaemon(t, func(s *settings.Settings) { s.Media.SSRCReporting = word })
			a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
			connectPhones(d, a, b, nil)
			talk(t, a, b)
			state := d.query("call")
			media := state.Tags["b"].Medias[0]
			require.Len(t, state.SSRC, want.table)
			require.Len(t, media.IngressSSRCs, want.lists)
			require.Len(t, media.Streams[0].EgressSSRCs, want.lists)
			require.Equal(t, b.ssrc, media.Streams[0].SSRC)
			d.delete(&ng.Request{CallID: "call"})
		})
	}
}

func TestSDESInAllCombinations(t *testing.T) {
	const cm, cm32, gcm = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_256_GCM"
	for _, c := range []struct{ a, b string }{{"", cm}, {cm, ""}, {cm, gcm}, {gcm, cm32}, {cm, cm}, {gcm, ""}} {
		t.Run(c.a+" to "+c.b, func(t *testing.T) {
			d := startDaemon(t, nil)
			a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
			if c.a != "" {
				a.withSDES(c.a)
			}
			if c.b != "" {
				b.withSDES(c.b)
			}
			connectPhones(d, a, b, nil)
			talk(t, a, b)
			reports(t, a, b)
			for tag, suite := range map[string]string{"a": c.a, "b": c.b} {
				require.Equal(t, suite, d.query("call").Tags[tag].Medias[0].Streams[0].CryptoSuite)
			}
			d.delete(&ng.Request{CallID: "call"})
		})
	}
}

func TestReofferKeepsPortsAndKeys(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1").withSDES("AES_CM_128_HMAC_SHA1_80")
	toB, toA := connectPhones(d, a, b, nil)
	talk(t, a, b)

	// The same again, as a session refresh of the callee: tags the other way.
	toA2 := d.offer(&ng.Request{
		CallID: "call", FromTag: "b", ToTag: "a", SDP: b.sdp(1), ICE: ng.ICERemove, TransportProtocol: ng.ProtocolRTPAVP,
	})
	require.Equal(t, line(toA, "m="), line(toA2, "m="))
	talk(t, a, b) // before the answer
	toB2 := d.answer(&ng.Request{CallID: "call", FromTag: "b", ToTag: "a", SDP: a.sdp(0), ICE: ng.ICERemove})
	require.Equal(t, strings.Fields(line(toB, "m="))[1], strings.Fields(line(toB2, "m="))[1])
	talk(t, a, b)
	reports(t, a, b)
	d.delete(&ng.Request{CallID: "call"})
}

func TestRefusedReofferChangesNothing(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1").withSDES("AES_CM_128_HMAC_SHA1_80")
	connectPhones(d, a, b, nil)
	talk(t, a, b)
	// Offers to drop audio, to go elsewhere and to lose encryption; none is
	// answered.
	for _, body := range []string{
		strings.Replace(a.sdp(0), line(a.sdp(0), "m="), "m=audio 0 RTP/AVP 0 101", 1),
		strings.Replace(a.sdp(0), "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1),
		a.sdp(0),
	} {
		d.offer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: body, ICE: ng.ICERemove, TransportProtocol: ng.ProtocolRTPAVP})
		talk(t, a, b)
	}
	d.delete(&ng.Request{CallID: "call"})
}

func TestHoldAndResume(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	connectPhones(d, a, b, nil)
	talk(t, a, b)
	again := func(aDirection, bDirection string) {
		a.direction, b.direction = aDirection, bDirection
		toB := d.offer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: a.sdp(0), ICE: ng.ICERemove})
		require.Contains(t, toB, "a="+aDirection)
		toA := d.answer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: b.sdp(0), ICE: ng.ICERemove})
		require.Contains(t, toA, "a="+bDirection)
		b.told(toB)
	}
	again("sendonly", "recvonly")
	oneWay(t, a, b) // music on hold
	require.Equal(t, []string{"initialized", "recv"}, d.query("call").Tags["a"].Medias[0].Flags)
	again("sendrecv", "sendrecv")
	talk(t, a, b)

	a.connect = "0.0.0.0" // hold as RFC 2543 had it
	again("sendonly", "recvonly")
	silent(t, b, a)
	a.connect = ""
	again("sendrecv", "sendrecv")
	talk(t, a, b)
	d.delete(&ng.Request{CallID: "call"})
}

func TestRTCPMuxBothWays(t *testing.T) {
	for name, c := range map[string]struct {
		mux  [2]bool
		word ng.RTCPMux
	}{
		"demux":        {[2]bool{true, false}, ng.RTCPMuxDemux},
		"offer":        {[2]bool{false, true}, ng.RTCPMuxOffer},
		"require":      {[2]bool{false, true}, ng.RTCPMuxRequire},
		"pass through": {[2]bool{true, true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, nil)
			a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
			a.mux, b.mux = c.mux[0], c.mux[1]
			connectPhones(d, a, b, func(req *ng.Request) { req.RTCPMux = c.word })
			talk(t, a, b)
			reports(t, a, b)
			d.delete(&ng.Request{CallID: "call"})
		})
	}
}

func twoInterfaces(s *settings.Settings) {
	s.Network.Interfaces = nil
	for _, i := range [][2]string{{"priv", "127.0.0.1"}, {"pub", "127.0.0.2"}, {"pub", "::1"}} {
		addr := netip.MustParseAddr(i[1])
		s.Network.Interfaces = append(s.Network.Interfaces, settings.Interface{Name: i[0], Address: addr, Advertised: addr})
	}
}

func TestTwoInterfacesWithDirection(t *testing.T) {
	d := startDaemon(t, twoInterfaces)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.2")
	toB, toA := connectPhones(d, a, b, func(req *ng.Request) { req.Direction = [2]string{"priv", "pub"} })
	require.Equal(t, "c=IN IP4 127.0.0.2", line(toB, "c="))
	require.Equal(t, "c=IN IP4 127.0.0.1", line(toA, "c="))
	talk(t, a, b)
	reports(t, a, b)
	// The direction is remembered; a re-offer of the other side turns it round.
	toA = d.offer(&ng.Request{CallID: "call", FromTag: "b", ToTag: "a", SDP: b.sdp(0), ICE: ng.ICERemove})
	require.Equal(t, "c=IN IP4 127.0.0.1", line(toA, "c="))
	d.delete(&ng.Request{CallID: "call"})
}

func TestIPv4AndIPv6(t *testing.T) {
	d := startDaemon(t, twoInterfaces)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "::1")
	toB, toA := connectPhones(d, a, b, func(req *ng.Request) {
		req.Direction, req.AddressFamily = [2]string{"priv", "pub"}, ng.FamilyIP6
	})
	require.Equal(t, "c=IN IP6 ::1", line(toB, "c="))
	require.Equal(t, "c=IN IP4 127.0.0.1", line(toA, "c="))
	talk(t, a, b)
	reports(t, a, b)
	d.delete(&ng.Request{CallID: "call"})
}

func TestAdvertisedAddress(t *testing.T) {
	d := startDaemon(t, func(s *settings.Settings) {
		s.Network.Interfaces[0].Advertised = netip.MustParseAddr("198.51.100.7")
	})
	a := newPhone(t, "127.0.0.1")
	toB := d.offer(&ng.Request{CallID: "call", FromTag: "a", SDP: a.sdp(0), ICE: ng.ICEForce, Replace: ng.ReplaceOrigin})
	require.Equal(t, "c=IN IP4 198.51.100.7", line(toB, "c="))
	require.Contains(t, line(toB, "o="), "198.51.100.7")
	require.Contains(t, line(toB, "a=candidate:"), "198.51.100.7")
	require.NotContains(t, toB, "IN IP4 127.0.0.1")
	d.delete(&ng.Request{CallID: "call"})
}

func TestPhoneBehindNATIsLearned(t *testing.T) {
	for name, change := range map[string]func(*ng.Request){
		"wrong address in SDP": nil,
		"SIP source address": func(r *ng.Request) {
			r.Flags.Set(ng.FlagSIPSourceAddress)
			r.ReceivedFrom = netip.MustParseAddr("127.0.0.1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, nil)
			a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
			a.connect = "192.0.2.99"
			connectPhones(d, a, b, change)
			if change != nil {
				oneWay(t, b, a) // the address is known without a packet
			}
			talk(t, a, b)
			d.delete(&ng.Request{CallID: "call"})
		})
	}
}

func TestStrangerDoesNotTakeOverACall(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	connectPhones(d, a, b, func(r *ng.Request) { r.EndpointLearning = ng.LearningImmediate; r.Flags.Set(ng.FlagStrictSource) })
	talk(t, a, b)
	thief := newPhone(t, "127.0.0.1")
	thief.toRTP = a.toRTP
	silent(t, thief, b)
	talk(t, a, b)
	select {
	case word := <-thief.payloads:
		t.Fatalf("the thief heard %q", word)
	default:
	}
	d.delete(&ng.Request{CallID: "call"})
}

// TestLateOffer is an INVITE without SDP: the callee offers in its 200, the
// caller answers in its ACK.
func TestLateOffer(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	a.told(d.offer(&ng.Request{CallID: "call", FromTag: "b", ToTag: "a", SDP: b.sdp(0), ICE: ng.ICERemove}))
	b.told(d.answer(&ng.Request{CallID: "call", FromTag: "b", ToTag: "a", SDP: a.sdp(0), ICE: ng.ICERemove}))
	talk(t, a, b)
	require.Len(t, d.query("call").Tags, 2)
	d.delete(&ng.Request{CallID: "call"})
}

func TestResetStartsOver(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	first, _ := connectPhones(d, a, b, nil)
	talk(t, a, b)
	b = newPhone(t, "127.0.0.1") // the call has been transferred
	second, _ := connectPhones(d, a, b, func(r *ng.Request) { r.ToTag = "b"; r.Flags.Set(ng.FlagReset) })
	require.Equal(t, line(first, "m="), line(second, "m="), "the ports stay")
	talk(t, a, b)
	reports(t, a, b)
	d.delete(&ng.Request{CallID: "call"})
}

func TestLoopProtectReturnsTheBodyAsItCame(t *testing.T) {
	d := startDaemon(t, nil)
	a := newPhone(t, "127.0.0.1")
	protect := ng.FlagsOf(ng.FlagLoopProtect)
	once := d.offer(&ng.Request{CallID: "call", FromTag: "a", SDP: a.sdp(0), Flags: protect})
	require.NotEqual(t, a.sdp(0), once)
	require.Equal(t, once, d.offer(&ng.Request{CallID: "call", FromTag: "a", SDP: once, Flags: protect}))
	require.Equal(t, once, d.offer(&ng.Request{CallID: "looped", FromTag: "a", SDP: once, Flags: protect}))
	require.Equal(t, []string{"call"}, d.list())
	d.delete(&ng.Request{CallID: "call"})
}

// move gives the phone another port, as a NAT does that forgets.
func (p *phone) move() {
	p.rtp = p.listen()
	go p.hear(p.rtp)
}

func TestPhoneThatMovesInMidCall(t *testing.T) {
	for name, c := range map[string]struct {
		learning ng.EndpointLearning
		flags    []ng.Flag
		followed bool // b's packets reach the new port
		heard    bool // b hears packets from the new port
	}{
		"learned once":      {ng.LearningImmediate, nil, false, true},
		"strict source":     {ng.LearningImmediate, []ng.Flag{ng.FlagStrictSource}, false, false},
		"media handover":    {ng.LearningImmediate, []ng.Flag{ng.FlagMediaHandover}, true, true},
		"no learning":       {ng.LearningOff, nil, false, true},
		"asymmetric":        {ng.LearningImmediate, []ng.Flag{ng.FlagAsymmetric}, false, true},
		"delayed, in time":  {ng.LearningDelayed, nil, true, true},
		"heuristic, better": {ng.LearningHeuristic, nil, false, true}, // the port in SDP is the better one
	} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, nil)
			a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
			set := func(r *ng.Request) {
				r.EndpointLearning, r.Flags = c.learning, ng.FlagsOf(c.flags...)
			}
			connectPhones(d, a, b, set)
			talk(t, a, b)
			old := a.rtp
			a.move()
			if c.heard {
				oneWay(t, a, b)
			} else {
				silent(t, a, b)
			}
			old.Close()
			if c.followed {
				oneWay(t, b, a)
			} else {
				silent(t, b, a)
			}
			// Signalling opens learning again, for the new address in SDP.
			offer := &ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: a.sdp(0), ICE: ng.ICERemove}
			set(offer)
			b.told(d.offer(offer)) // with another port, since a is somewhere else
			a.told(d.answer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: b.sdp(0), ICE: ng.ICERemove}))
			talk(t, a, b)
			d.delete(&ng.Request{CallID: "call"})
		})
	}
}
