package exam

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
)

// plainCall relays RTP and RTCP both ways between two phones, over IPv4, IPv6 and from one to the other.
func plainCall(t *testing.T, open Open) {
	for _, tc := range []struct{ name, localA, localB, phoneA, phoneB string }{
		{"IPv4", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"},
		{"IPv6", "::1", "::1", "::1", "::1"},
		{"IPv4 to IPv6", "127.0.0.1", "::1", "127.0.0.2", "::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := start(t, open, 2)
			ra, rb := newRegistry(t, e, tc.localA), newRegistry(t, e, tc.localB)
			a, b := newLeg(t, e, ra, 3), newLeg(t, e, rb, 3)
			pa, pb := newRTPPorts(t, tc.phoneA), newRTPPorts(t, tc.phoneB)
			connectPlain(a, b, pa.rtp.addr(), pb.rtp.addr())
			for i := range uint16(10) {
				pkt := rtpPacket(t, 1, i, "a to b")
				pa.rtp.send(t, pkt, a.rtp.LocalAddr())
				require.Equal(t, b.rtp.LocalAddr(), pb.rtp.expect(t, pkt), "symmetric: sent from the port that receives")
				pkt = rtpPacket(t, 2, i, "b to a")
				pb.rtp.send(t, pkt, b.rtp.LocalAddr())
				require.Equal(t, a.rtp.LocalAddr(), pa.rtp.expect(t, pkt))
			}
			pa.rtcp.send(t, report(1), a.rtcp.LocalAddr())
			require.Equal(t, b.rtcp.LocalAddr(), pb.rtcp.expect(t, report(1)))
			pb.rtcp.send(t, report(2), b.rtcp.LocalAddr())
			pa.rtcp.expect(t, report(2))
			st := a.rtp.Statistics()
			require.Equal(t, uint64(10), st.PacketsIn)
			require.Equal(t, uint64(10), st.PacketsOut)
			require.Equal(t, st.BytesIn, st.BytesOut)
			require.Zero(t, st.ErrorsIn+st.ErrorsOut)
			require.Equal(t, pa.rtp.addr(), a.rtp.Learned())
		})
	}
}

// manyCalls runs a hundred calls, that is 200 port pairs, at 50 packets a second each way; every packet arrives, once.
func manyCalls(t *testing.T, open Open) {
	const calls, packets = 100, 50
	e := start(t, open, 2)
	r := newRegistry(t, e, "127.0.0.1")
	type side struct {
		local netip.AddrPort
		conn  *net.UDPConn
		seen  [packets]int
	}
	sides := make([]*side, 0, 2*calls)
	for i := range calls {
		a, b := newLeg(t, e, r, uint64(i)), newLeg(t, e, r, uint64(i))
		pa, pb := newPhone(t, "127.0.0.2"), newPhone(t, "127.0.0.3")
		connectPlain(a, b, pa.addr(), pb.addr())
		sides = append(sides, &side{local: a.rtp.LocalAddr(), conn: pa.conn}, &side{local: b.rtp.LocalAddr(), conn: pb.conn})
	}
	var receivers sync.WaitGroup
	for _, s := range sides {
		receivers.Add(1)
		go func() {
			defer receivers.Done()
			buf := make([]byte, 2000)
			for range packets {
				_ = s.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
				n, _, err := s.conn.ReadFromUDPAddrPort(buf)
				if err != nil || n < 12 {
					return
				}
				if seq := binary.BigEndian.Uint16(buf[2:]); int(seq) < packets {
					s.seen[seq]++
				}
			}
		}()
	}
	for seq := range uint16(packets) {
		begin := time.Now()
		for i, s := range sides {
			_, err := s.conn.WriteToUDPAddrPort(rtpPacket(t, uint32(i), seq, "twenty milliseconds of sound"), s.local)
			require.NoError(t, err)
		}
		time.Sleep(time.Until(begin.Add(20 * time.Millisecond)))
	}
	receivers.Wait()
	for i, s := range sides {
		for seq, n := range s.seen {
			require.Equal(t, 1, n, "side %d, packet %d", i, seq)
		}
	}
}

// detachUnderLoad takes streams away while packets pour in, closes their sockets and opens others that get the same descriptors.
func detachUnderLoad(t *testing.T, open Open) {
	e := start(t, open, 2)
	r := newRegistry(t, e, "127.0.0.1")
	sender := newPhone(t, "127.0.0.2")
	target := newPhone(t, "127.0.0.3")
	stop, ended := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var locals []netip.AddrPort
	go func() {
		defer close(ended)
		pkt := rtpPacket(t, 1, 1, "load")
		for {
			select {
			case <-stop:
				return
			default:
			}
			mu.Lock()
			for _, l := range locals {
				_, _ = sender.conn.WriteToUDPAddrPort(pkt, l)
			}
			mu.Unlock()
		}
	}()
	for range 60 {
		var streams []*flow.Stream
		var pairs []*ports.Pair
		for range 2 {
			p, err := r.Allocate("", ports.AnyFamily)
			require.NoError(t, err)
			pairs = append(pairs, p)
			streams = append(streams, flow.NewStream(p.RTP, 5, time.Now()), flow.NewStream(p.RTCP, 5, time.Now()))
		}
		for i, s := range streams {
			s.SetRoute(&flow.Route{Endpoint: target.addr(), Media: []flow.Output{{Stream: streams[(i+1)%4]}}})
			require.NoError(t, e.Attach(s))
		}
		mu.Lock()
		locals = locals[:0]
		for _, s := range streams {
			locals = append(locals, s.LocalAddr())
		}
		mu.Unlock()
		time.Sleep(time.Millisecond)
		for _, s := range streams {
			e.Detach(s)
			e.Detach(s)
			require.ErrorIs(t, s.Send([]byte("x"), target.addr()), flow.ErrClosed)
		}
		for _, p := range pairs {
			p.Release()
		}
	}
	close(stop)
	<-ended
}

// closing: a closed engine takes nothing more, forgets its streams and leaves no descriptor open.
func closing(t *testing.T, open Open) {
	before := openDescriptors(t)
	e := open(t, 3, nil)
	pair, err := newRegistry(t, e, "127.0.0.1").Allocate("", ports.AnyFamily)
	require.NoError(t, err)
	s := flow.NewStream(pair.RTP, 1, time.Now())
	require.NoError(t, e.Attach(s))
	require.NoError(t, e.Attach(s))
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
	require.ErrorIs(t, e.Attach(s), engine.ErrClosed)
	require.ErrorIs(t, s.Send([]byte("x"), pair.RTP.LocalAddr()), flow.ErrClosed)
	e.Detach(s)
	pair.Release()
	require.Equal(t, before, openDescriptors(t))
}

// oversizedDatagrams are counted and dropped, and do not disturb what follows.
func oversizedDatagrams(t *testing.T, open Open) {
	e := start(t, open, 2)
	r := newRegistry(t, e, "127.0.0.1")
	a, b := newLeg(t, e, r, 1), newLeg(t, e, r, 1)
	pa, pb := newPhone(t, "127.0.0.2"), newPhone(t, "127.0.0.3")
	connectPlain(a, b, pa.addr(), pb.addr())
	huge := make([]byte, 20000)
	copy(huge, rtpPacket(t, 1, 1, ""))
	pa.send(t, huge, a.rtp.LocalAddr())
	pkt := rtpPacket(t, 1, 2, "after it")
	pa.send(t, pkt, a.rtp.LocalAddr())
	pb.expect(t, pkt)
	require.Equal(t, uint64(1), a.rtp.Statistics().ErrorsIn)
}

// unreachablePeer: ICMP errors of a peer that is gone must not end the relay.
func unreachablePeer(t *testing.T, open Open) {
	e := start(t, open, 2)
	r := newRegistry(t, e, "127.0.0.1")
	a, b := newLeg(t, e, r, 1), newLeg(t, e, r, 1)
	pa, pb := newPhone(t, "127.0.0.2"), newPhone(t, "127.0.0.3")
	gone := newPhone(t, "127.0.0.4")
	require.NoError(t, gone.conn.Close())
	connectPlain(a, b, pa.addr(), gone.addr())
	for i := range uint16(20) {
		pa.send(t, rtpPacket(t, 1, i, "nobody hears"), a.rtp.LocalAddr())
		time.Sleep(time.Millisecond)
	}
	require.Eventually(t, func() bool { return a.rtp.Statistics().PacketsIn == 20 }, 3*time.Second, time.Millisecond)
	connectPlain(a, b, pa.addr(), pb.addr())
	pkt := rtpPacket(t, 1, 100, "somebody hears")
	pa.send(t, pkt, a.rtp.LocalAddr())
	pb.expect(t, pkt)
}

// bomb is a handler with a fault.
type bomb struct{}

func (bomb) HandlePacket([]byte, netip.AddrPort) { panic("a fault that DTLS packets reach") }

// panicIsContained: one call's packet of death does not end the others.
func panicIsContained(t *testing.T, open Open) {
	said := make(chan string, 10)
	e := open(t, 1, func(v any, stack []byte) { said <- fmt.Sprint(v, string(stack)) })
	defer func() { require.NoError(t, e.Close()) }()
	r := newRegistry(t, e, "127.0.0.1")
	a, b, evil := newLeg(t, e, r, 1), newLeg(t, e, r, 1), newLeg(t, e, r, 1)
	pa, pb := newPhone(t, "127.0.0.2"), newPhone(t, "127.0.0.3")
	connectPlain(a, b, pa.addr(), pb.addr())
	evil.rtp.SetRoute(&flow.Route{DTLS: bomb{}})
	hello := make([]byte, 40)
	hello[0] = 22
	for i := range uint16(5) {
		pa.send(t, hello, evil.rtp.LocalAddr())
		require.Regexp(t, `^a fault that DTLS packets reach(?s:.*)bomb\.HandlePacket`, <-said)
		pkt := rtpPacket(t, 1, i, "undisturbed")
		pa.send(t, pkt, a.rtp.LocalAddr())
		pb.expect(t, pkt)
	}
}
