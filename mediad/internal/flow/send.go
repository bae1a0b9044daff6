package flow

import (
	"net/netip"

	"github.com/tandem-sbc/tandem/mediad/internal/secure"
)

// Sizes of a Batch.
const (
	batchSize = 64
	// MaxOutputs is the number of outputs of a route that are served; further ones are ignored.
	MaxOutputs = 8
	// PacketSize is the largest packet that can be copied for a second output, including protection.
	PacketSize = 4096
)

// Datagram is one packet to be sent.
type Datagram struct {
	Stream *Stream // whose port sends
	Packet []byte
	To     netip.AddrPort
}

// Batch collects what is to be sent. The engine empties it while its packets are still untouched.
type Batch struct {
	items  []Datagram
	copies []byte // room for packets that go to several outputs
	copied int
}

// NewBatch makes an empty batch.
func NewBatch() *Batch {
	return &Batch{items: make([]Datagram, 0, batchSize), copies: make([]byte, batchSize*PacketSize)}
}

// maxAppended is what one packet may append: itself for each output, a report of our own to each of the receivers and one to its sender.
const maxAppended = 2*MaxOutputs + 1

// Room reports whether another packet may be handled before the batch is sent.
func (b *Batch) Room() bool { return len(b.items)+maxAppended <= cap(b.items) }

// Datagrams to be sent, in order.
func (b *Batch) Datagrams() []Datagram { return b.items }

// Reset empties the batch.
func (b *Batch) Reset() {
	clear(b.items)
	b.items = b.items[:0]
	b.copied = 0
}

func (b *Batch) add(s *Stream, pkt []byte, to netip.AddrPort) {
	if len(b.items) < cap(b.items) {
		b.items = append(b.items, Datagram{s, pkt, to})
	}
}

// duplicate copies a packet into the batch, with room to be protected; nil if it is too large.
func (b *Batch) duplicate(pkt []byte) []byte {
	if len(pkt)+secure.Overhead > PacketSize || b.copied == batchSize {
		return nil
	}
	start := b.copied * PacketSize
	b.copied++
	c := b.copies[start : start+len(pkt) : start+PacketSize]
	copy(c, pkt)
	return c
}

// blank takes room for a packet of our own out of the batch; nil if there is none.
func (b *Batch) blank() []byte {
	if b.copied == batchSize {
		return nil
	}
	start := b.copied * PacketSize
	b.copied++
	return b.copies[start : start : start+PacketSize]
}

// sendMedia protects an RTP packet for one receiver and appends it. The last output may use the packet itself, others work on a copy.
func (o *Output) sendMedia(pkt []byte, last bool, out *Batch) {
	player := o.player()
	if player == nil && o.Filter != nil && o.Filter.drops(pkt) {
		return
	}
	via, to, ok := o.ready()
	if !ok {
		return
	}
	if !last {
		if pkt = out.duplicate(pkt); pkt == nil {
			o.Stream.counters.errorsOut.Add(1)
			return
		}
	}
	played := false
	if player != nil {
		pkt, played = player.play(pkt)
	}
	if o.Filter != nil && !played {
		if player != nil && o.Filter.drops(pkt) {
			return
		}
		o.Filter.change(pkt)
	}
	if o.Encrypted {
		var err error
		if pkt, err = o.Outbound.ProtectRTP(pkt[:0], pkt); err != nil {
			o.Stream.counters.errorsOut.Add(1)
			return
		}
	}
	out.add(via, pkt, to)
}

// player plays events to the receiver, nil if none does.
func (o *Output) player() *Player {
	if o.Filter == nil {
		return nil
	}
	return o.Filter.Player
}

// sendControl does the same for RTCP.
func (o *Output) sendControl(pkt []byte, last bool, out *Batch) {
	via, to, ok := o.ready()
	if !ok {
		return
	}
	if !last {
		if pkt = out.duplicate(pkt); pkt == nil {
			o.Stream.counters.errorsOut.Add(1)
			return
		}
	}
	if o.Encrypted {
		var err error
		if pkt, err = o.Outbound.ProtectRTCP(pkt[:0], pkt); err != nil {
			o.Stream.counters.errorsOut.Add(1)
			return
		}
	}
	out.add(via, pkt, to)
}

// sendOpaque appends a packet as it is.
func (o *Output) sendOpaque(pkt []byte, last bool, out *Batch) {
	if o.Filter != nil && (o.Filter.DropMedia || o.Filter.Silence) {
		return
	}
	via, to, ok := o.ready()
	if !ok {
		return
	}
	if !last {
		if pkt = out.duplicate(pkt); pkt == nil {
			o.Stream.counters.errorsOut.Add(1)
			return
		}
	}
	out.add(via, pkt, to)
}

// ready reports whether the receiver can be sent to, and by which stream: its address is known and its keys are there.
func (o *Output) ready() (via *Stream, to netip.AddrPort, ok bool) {
	if o.Wait != nil && o.Wait.counters.packetsIn.Load() == 0 {
		return nil, netip.AddrPort{}, false
	}
	via = o.Stream.Outlet()
	to = via.Destination()
	if !to.IsValid() || to.Port() == 0 || via.closed.Load() || (o.Encrypted && o.Outbound == nil) {
		o.Stream.counters.errorsOut.Add(1)
		return nil, netip.AddrPort{}, false
	}
	return via, to, true
}

// CountSent takes note of what became of datagrams of a batch. The engine calls it. Negative numbers take back what was counted before.
func (s *Stream) CountSent(packets, bytes, lost int) {
	s.counters.packetsOut.Add(uint64(packets))
	s.counters.bytesOut.Add(uint64(bytes))
	if lost > 0 {
		s.counters.errorsOut.Add(uint64(lost))
	}
}
