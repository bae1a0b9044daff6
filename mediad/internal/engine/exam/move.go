package exam

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
)

// moveLosesNothing moves a call between the workers many times while it talks, then connects it with a call of another worker.
func moveLosesNothing(t *testing.T, open Open) {
	const packets = 2000
	e := start(t, open, 3)
	r := newRegistry(t, e, "127.0.0.1")
	a, b := newLeg(t, e, r, 3), newLeg(t, e, r, 3)
	pa, pb := newPhone(t, "127.0.0.2"), newPhone(t, "127.0.0.3")
	connectPlain(a, b, pa.addr(), pb.addr())

	var seen [packets]int
	var received atomic.Int32
	var receiver sync.WaitGroup
	receiver.Go(func() {
		buf := make([]byte, 2000)
		for range packets {
			_ = pb.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			if n, _, err := pb.conn.ReadFromUDPAddrPort(buf); err != nil || n < 12 {
				return
			}
			if seq := binary.BigEndian.Uint16(buf[2:]); int(seq) < packets {
				seen[seq]++
			}
			received.Add(1)
		}
	})
	for seq := range uint16(packets) {
		for end := time.Now().Add(5 * time.Second); int32(seq)-received.Load() > 100 && time.Now().Before(end); { // a phone's buffer is small
			time.Sleep(100 * time.Microsecond)
		}
		pa.send(t, rtpPacket(t, 1, seq, "speech"), a.rtp.LocalAddr())
		if seq%20 == 0 {
			require.NoError(t, e.Move(uint64(seq/20), a.rtp, a.rtcp, b.rtp, b.rtcp))
			require.Equal(t, uint64(seq/20), a.rtp.Shard())
		}
	}
	receiver.Wait()
	for seq, n := range seen {
		require.Equal(t, 1, n, "packet %d", seq)
	}

	c := newLeg(t, e, r, 1)
	pc := newPhone(t, "127.0.0.2")
	require.NoError(t, e.Move(1, a.rtp, a.rtcp, b.rtp, b.rtcp))
	connectPlain(a, c, pa.addr(), pc.addr())
	pkt := rtpPacket(t, 1, 1, "to another call")
	pa.send(t, pkt, a.rtp.LocalAddr())
	pc.expect(t, pkt)
}

// moveAndDetach: a stream that is detached does not come back, whoever is first.
func moveAndDetach(t *testing.T, open Open) {
	e := open(t, 2, nil)
	r := newRegistry(t, e, "127.0.0.1")
	for range 50 {
		a := newLeg(t, e, r, 0)
		var both sync.WaitGroup
		both.Go(func() { _ = e.Move(1, a.rtp, a.rtcp) })
		both.Go(func() { e.Detach(a.rtp, a.rtcp) })
		both.Wait()
		a.pair.Release()
		require.NoError(t, e.Move(0, a.rtp, a.rtcp))
	}
	a := newLeg(t, e, r, 0)
	require.NoError(t, e.Close())
	require.ErrorIs(t, e.Move(1, a.rtp, a.rtcp), engine.ErrClosed)
	require.NoError(t, e.Move(0, a.rtp), "nothing to move")
}
