package flow

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// step is a packet from somewhere, and where packets to the peer go afterwards.
type step struct {
	at      time.Duration
	from    string
	to      string
	refused bool
	reopen  bool   // Reopen before the packet
	sdp     string // a new endpoint in SDP before the packet
}

const (
	exact     = "192.0.2.10:4000" // = sipPhone
	samePort  = "203.0.113.1:4000"
	sameAddr  = "192.0.2.10:5000"
	other     = "203.0.113.2:7000"
	another   = "203.0.113.3:8000"
	otherPort = "203.0.113.2:7100"
	late      = 3*time.Second + time.Millisecond
)

// TestLearning has the modes as rtpengine 10.5 was seen to behave, but for two cases where it is easier to lead astray: a packet after
// three seconds does not displace an equally good source, and a re-offer with the same endpoint does not let a stranger displace the peer.
func TestLearning(t *testing.T) {
	for _, tc := range []struct {
		name  string
		route Route
		steps []step
	}{
		{"off keeps SDP", Route{Learning: Off}, []step{
			{at: 0, from: other, to: exact}, {at: late, from: other, to: exact},
		}},
		{"off and strict takes SDP's endpoint only", Route{Learning: Off, Strict: true}, []step{
			{at: 0, from: other, to: exact, refused: true}, {at: 0, from: exact, to: exact},
		}},
		{"asymmetric keeps SDP", Route{Asymmetric: true}, []step{
			{at: 0, from: other, to: exact}, {at: late, from: other, to: exact},
		}},
		{"immediate keeps the first", Route{Learning: Immediate}, []step{
			{at: 0, from: other, to: other}, {at: time.Second, from: exact, to: other}, {at: late, from: exact, to: other},
		}},
		{"immediate and strict drops others at once", Route{Learning: Immediate, Strict: true}, []step{
			{at: 0, from: other, to: other}, {at: time.Second, from: exact, to: other, refused: true}, {at: late, from: other, to: other},
		}},
		{"delayed follows for three seconds", Route{Learning: Delayed}, []step{
			{at: 0, from: other, to: other}, {at: time.Second, from: exact, to: exact}, {at: 2 * time.Second, from: another, to: another},
			{at: late, from: other, to: other}, {at: late, from: exact, to: other},
		}},
		{"delayed and strict", Route{Learning: Delayed, Strict: true}, []step{
			{at: 0, from: other, to: other}, {at: late, from: other, to: other}, {at: late, from: exact, to: other, refused: true},
		}},
		{"heuristic prefers SDP's endpoint", Route{}, []step{
			{at: 0, from: other, to: other}, {at: 1 * time.Second, from: samePort, to: samePort}, {at: 1 * time.Second, from: other, to: samePort},
			{at: 2 * time.Second, from: sameAddr, to: sameAddr}, {at: 2 * time.Second, from: samePort, to: sameAddr},
			{at: 2 * time.Second, from: exact, to: exact}, {at: 2 * time.Second, from: sameAddr, to: exact},
			{at: late, from: other, to: exact}, {at: 2 * late, from: sameAddr, to: exact},
		}},
		{"heuristic takes the latest of equals", Route{}, []step{
			{at: 0, from: other, to: other}, {at: time.Second, from: another, to: another}, {at: 2 * time.Second, from: other, to: other},
			{at: late, from: another, to: other}, {at: 2 * late, from: another, to: other},
		}},
		{"heuristic takes a late first packet", Route{}, []step{
			{at: 10 * time.Second, from: other, to: other}, {at: 11 * time.Second, from: exact, to: other},
		}},
		{"heuristic and strict", Route{Strict: true}, []step{
			{at: 0, from: other, to: other}, {at: 0, from: exact, to: exact}, {at: 0, from: other, to: exact},
			{at: late, from: exact, to: exact}, {at: late, from: other, to: exact, refused: true},
		}},
		{"media handover follows", Route{Handover: true}, []step{
			{at: 0, from: exact, to: exact}, {at: late, from: exact, to: exact}, {at: late, from: other, to: other}, {at: late, from: another, to: another},
		}},
		{"media handover follows even with learning off", Route{Handover: true, Learning: Off}, []step{
			{at: 0, from: exact, to: exact}, {at: 0, from: other, to: other}, {at: late, from: exact, to: exact},
		}},
		{"handover beats strict", Route{Handover: true, Strict: true, Learning: Immediate}, []step{
			{at: 0, from: exact, to: exact}, {at: late, from: other, to: other},
		}},
		{"reopen with a new endpoint learns anew", Route{}, []step{
			{at: 0, from: other, to: other}, {at: late, from: other, to: other},
			{at: 10 * time.Second, reopen: true, sdp: "192.0.2.77:5000", from: another, to: another},
			{at: 11 * time.Second, from: "192.0.2.77:5000", to: "192.0.2.77:5000"},
		}},
		{"reopen with the same endpoint gives strangers no chance", Route{}, []step{
			{at: 0, from: other, to: other}, {at: late, from: other, to: other},
			{at: 10 * time.Second, reopen: true, from: another, to: other},
			{at: 11 * time.Second, from: other, to: other},
			{at: 12 * time.Second, from: another, to: other},
			{at: 13 * time.Second, from: another, to: other},
			{at: 14 * time.Second, from: another, to: other},
		}},
		{"reopen with the same endpoint follows a NAT to another port", Route{}, []step{
			{at: 0, from: other, to: other}, {at: late, from: other, to: other},
			{at: 10 * time.Second, reopen: true, from: otherPort, to: otherPort},
			{at: 11 * time.Second, from: exact, to: exact},
		}},
		{"reopen without a packet changes nothing", Route{Learning: Immediate}, []step{
			{at: 0, from: other, to: other}, {at: time.Second, reopen: true, to: other}, {at: 2 * time.Second, from: another, to: another},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.route.Endpoint = sipPhone
			p := newPair(t, tc.route)
			for i, s := range tc.steps {
				if s.sdp != "" {
					r := *p.in.Route()
					r.Endpoint = addr(s.sdp)
					p.in.SetRoute(&r)
				}
				if s.reopen {
					p.in.Reopen(start.Add(s.at))
				}
				if s.from != "" {
					got := p.handle(rtpPacket(1, uint16(i)), addr(s.from), s.at)
					require.Equal(t, s.refused, len(got) == 0, "step %d", i)
				}
				require.Equal(t, addr(s.to), p.in.Destination(), "step %d", i)
			}
		})
	}
}

// TestNoEndpoint: without an address in SDP the heuristic has nothing to prefer, and works all the same.
func TestNoEndpoint(t *testing.T) {
	p := newPair(t, Route{})
	p.in.SetRoute(&Route{Media: []Output{{Stream: p.out}}})
	require.Equal(t, netip.AddrPort{}, p.in.Destination())
	p.handle(rtpPacket(1, 1), addr(other), 0)
	require.Equal(t, addr(other), p.in.Destination())
}

// TestReopenAndRouteInAnyOrder: a packet between Reopen and the route with the new endpoint must not tie the stream to the old peer.
func TestReopenAndRouteInAnyOrder(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone})
	p.handle(rtpPacket(1, 1), addr(other), 0)
	p.handle(rtpPacket(1, 2), addr(other), late)
	p.in.Reopen(start.Add(10 * time.Second))
	p.handle(rtpPacket(1, 3), addr(other), 10*time.Second)
	r := *p.in.Route()
	r.Endpoint = addr("192.0.2.77:5000")
	p.in.SetRoute(&r)
	p.handle(rtpPacket(2, 1), addr(another), 11*time.Second)
	require.Equal(t, addr(another), p.in.Destination())
}

// TestSDPFollowsRoute: what a re-offer says about the endpoint counts at once.
func TestSDPFollowsRoute(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone, Learning: Immediate})
	p.handle(rtpPacket(1, 1), addr(other), 0)
	r := *p.in.Route()
	p.in.SetRoute(&r)
	require.Equal(t, addr(other), p.in.Destination(), "same endpoint: what was learned stays")
	moved := *p.in.Route()
	moved.Endpoint = addr(another)
	p.in.SetRoute(&moved)
	require.Equal(t, addr(another), p.in.Destination())
	hold := *p.in.Route()
	hold.Asymmetric = true
	p.in.SetRoute(&hold)
	p.handle(rtpPacket(1, 2), addr(exact), 0)
	require.Equal(t, addr(another), p.in.Destination())
}
