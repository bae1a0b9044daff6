package flow

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/quality"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
)

// way is one direction of a call with the packets it carries.
type way struct {
	name   string
	p      *pair
	packet func(seq uint16) []byte
}

// ways are the directions worth measuring. Each packet closure reuses one buffer.
func ways(t testing.TB) []way {
	t.Helper()
	key := func(s secure.Suite) secure.Key {
		k, err := secure.NewKey(s)
		require.NoError(t, err)
		return k
	}
	plain := func() func(uint16) []byte {
		buf := rtpPacket(1, 0)
		whole := buf[:cap(buf)]
		return func(seq uint16) []byte {
			buf = whole[:172]
			binary.BigEndian.PutUint16(buf[2:], seq)
			return buf
		}
	}
	protected := func(k secure.Key) func(uint16) []byte {
		out, err := secure.NewOutbound(k)
		require.NoError(t, err)
		next := plain()
		return func(seq uint16) []byte {
			b := next(seq)
			b[0] = 0x80
			p, err := out.ProtectRTP(b[:0], b)
			if err != nil {
				panic(err)
			}
			return p
		}
	}
	route := func(in, out *secure.Key) Route {
		r := Route{Endpoint: sipPhone, Muxed: true, Payloads: telephony(), Quality: quality.NewTable(quality.CQ), Observer: &witness{}}
		if in != nil {
			ctx, err := secure.NewInbound(*in)
			require.NoError(t, err)
			r.Encrypted, r.Inbound = true, ctx
		}
		o := newStream(t)
		o.SetRoute(&Route{Endpoint: sink})
		output := Output{Stream: o}
		if out != nil {
			ctx, err := secure.NewOutbound(*out)
			require.NoError(t, err)
			output.Encrypted, output.Outbound = true, ctx
		}
		r.Media, r.ControlOut = []Output{output}, []Output{output}
		return r
	}
	cm, gcm := key(secure.AESCM12880), key(secure.AEADAES128GCM)
	return []way{
		{"RTP to RTP", newPair(t, route(nil, nil)), plain()},
		{"RTP to SRTP CM", newPair(t, route(nil, &cm)), plain()},
		{"RTP to SRTP GCM", newPair(t, route(nil, &gcm)), plain()},
		{"SRTP CM to RTP", newPair(t, route(&cm, nil)), protected(cm)},
		{"SRTP GCM to SRTP CM", newPair(t, route(&gcm, &cm)), protected(gcm)},
	}
}

// TestNoAllocation: a forwarded packet makes no garbage.
func TestNoAllocation(t *testing.T) {
	for _, w := range ways(t) {
		t.Run(w.name, func(t *testing.T) {
			seq := uint16(0)
			later := start.Add(learningTime) // as in all but the beginning of a call
			forward := func() {
				seq++
				w.p.batch.Reset()
				w.p.in.Handle(w.packet(seq), sipPhone, later, w.p.batch)
				if len(w.p.batch.Datagrams()) != 1 {
					panic("not forwarded")
				}
			}
			forward() // learns the address and makes the sources
			allocs := testing.AllocsPerRun(1000, forward)
			if !raceEnabled { // the race detector makes sync.Pool forget at random
				require.Zero(t, allocs)
			}
		})
	}
}

func BenchmarkHandle(b *testing.B) {
	for _, w := range ways(b) {
		b.Run(w.name, func(b *testing.B) {
			b.ReportAllocs()
			seq := uint16(0)
			later := start.Add(learningTime)
			for b.Loop() {
				seq++
				w.p.batch.Reset()
				w.p.in.Handle(w.packet(seq), sipPhone, later, w.p.batch)
			}
			if w.p.in.Statistics().ErrorsIn != 0 {
				b.Fatal("packets were refused")
			}
		})
	}
}

// FuzzHandle throws datagrams at streams of all kinds: nothing may panic, and what is sent on never exceeds what came in by more than
// protection adds.
func FuzzHandle(f *testing.F) {
	f.Add([]byte{0x80, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, uint8(0))
	f.Add([]byte{0x80, 201, 0, 1, 0, 0, 0, 1}, uint8(1))
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, uint8(2))
	f.Add([]byte{22, 0xfe, 0xfd}, uint8(3))
	ws := ways(f)
	f.Fuzz(func(t *testing.T, data []byte, which uint8) {
		w := ws[int(which)%len(ws)]
		pkt := append(make([]byte, 0, len(data)+secure.Overhead), data...)
		for _, d := range w.p.handle(pkt, sipPhone, 0) {
			if len(d.Packet) > len(data)+secure.Overhead {
				t.Fatalf("%d bytes in, %d out", len(data), len(d.Packet))
			}
		}
	})
}
