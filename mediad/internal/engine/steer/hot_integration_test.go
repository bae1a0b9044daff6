//go:build integration

package steer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
)

// still makes an engine whose loop does not run, so that a test can be the loop.
func still(t testing.TB) *Engine {
	t.Helper()
	e := &Engine{capacity: 4}
	e.addresses.Store(new([]*address))
	require.NoError(t, e.open(1, func(v any, _ []byte) { t.Error(v) }))
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// TestNoAllocation: nothing is allocated for packets that are relayed.
func TestNoAllocation(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		ip := netip.MustParseAddr(addr)
		e := still(t)
		phone := listen(t, netip.AddrPortFrom(ip, 0).String())
		w, to := e.workers[0], []netip.AddrPort{}
		var outs []*flow.Stream
		for i := range uint16(8) {
			s, out := streams(t, e, ip, 30000+2*i, local(phone))
			to, outs = append(to, s.LocalAddr()), append(outs, out)
		}
		pkt := packet(t, 1, 172)
		allocs := testing.AllocsPerRun(200, func() {
			for _, a := range to {
				_, _ = phone.WriteToUDPAddrPort(pkt, a)
			}
			w.read(family(ip))
		})
		require.Zero(t, allocs)
		for _, s := range outs {
			require.Equal(t, uint64(201), s.Statistics().PacketsOut)
			require.Zero(t, s.Statistics().ErrorsOut)
		}
		dropped, _ := e.Dropped()
		require.Zero(t, dropped)
	}
}

// BenchmarkRelay is one turn of the loop: a batch of packets of many streams read, routed and sent. The senders' time is not counted.
func BenchmarkRelay(b *testing.B) {
	for _, calls := range []int{16, 4000} {
		b.Run(fmt.Sprint(calls), func(b *testing.B) { relayTurns(b, calls) })
	}
}

func relayTurns(b *testing.B, calls int) {
	const batch = 16
	ip := netip.MustParseAddr("127.0.0.1")
	e := still(b)
	phone := listen(b, "127.0.0.1:0")
	to := make([]netip.AddrPort, calls)
	for i, place := range rand.Perm(calls) {
		s, _ := streams(b, e, ip, uint16(30000+4*i), local(phone))
		to[place] = s.LocalAddr()
	}
	pkt, w := packet(b, 1, 172), e.workers[0]
	var spent time.Duration
	for at := 0; b.Loop(); at = (at + batch) % calls {
		for _, a := range to[at:][:batch] {
			send(b, phone, pkt, a)
		}
		begin := time.Now()
		w.read(0)
		spent += time.Since(begin)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N)/batch, "ns/packet")
}
