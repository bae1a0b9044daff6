package sockets

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/pkg/udp"
	"github.com/tandem-sbc/tandem/pkg/uring"
)

// sends are the sends under way, a fixed number at most.
type sends struct {
	slots  []sending
	free   []uint32
	copies []byte // a packet's room for each slot: for those that do not lie in a buffer of the ring
	era    uint32
	marked int // sends under way from before the present era
}

// sending is one send and what the kernel reads for it.
type sending struct {
	msg    unix.Msghdr
	vec    unix.Iovec
	name   udp.Sockaddr
	stream *flow.Stream
	buffer uint16 // that the packet lies in
	held   bool   // if it does
	era    uint32
}

func newSends(count int) (*sends, error) {
	copies, err := unix.Mmap(-1, 0, count*flow.PacketSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("memory for sends: %w", err)
	}
	s := &sends{slots: make([]sending, count), free: make([]uint32, count), copies: copies}
	for i := range s.slots {
		s.free[i] = uint32(count - 1 - i)
		slot := &s.slots[i]
		slot.msg.Name = (*byte)(unsafe.Pointer(&slot.name))
		slot.msg.Iov = &slot.vec
		slot.msg.SetIovlen(1)
	}
	return s, nil
}

func (s *sends) full() bool { return len(s.free) == 0 }

// underWay is the number of sends that have not completed.
func (s *sends) underWay() int { return len(s.slots) - len(s.free) }

// add fills a slot; the caller sees to it that there is one. A packet that no buffer holds is copied. The send counts at once, not when it
// has completed, which is seen late when nothing else comes.
func (s *sends) add(d flow.Datagram, buffer uint16, held bool) (n uint32, msg *unix.Msghdr) {
	n = s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	slot := &s.slots[n]
	pkt := d.Packet
	if !held {
		room := s.copies[int(n)*flow.PacketSize:][:flow.PacketSize]
		pkt = room[:copy(room, pkt)]
	}
	slot.vec.Base = unsafe.SliceData(pkt)
	slot.vec.SetLen(len(pkt))
	slot.msg.Namelen = slot.name.Set(d.To)
	slot.stream, slot.buffer, slot.held, slot.era = d.Stream, buffer, held, s.era
	d.Stream.CountSent(1, len(pkt), 0)
	return n, &slot.msg
}

// done frees the slot of a send that has completed, and tells the buffer it leaves, if any.
func (s *sends) done(n uint32, c uring.Completion) (buffer uint16, held bool) {
	slot := &s.slots[n]
	if c.Err() != nil {
		slot.stream.CountSent(-1, -int(slot.vec.Len), 1)
	}
	if slot.era != s.era {
		s.marked--
	}
	slot.stream = nil
	s.free = append(s.free, n)
	return slot.buffer, slot.held
}

// mark begins a new era: marked is 0 when all sends from before have completed.
func (s *sends) mark() {
	s.era++
	s.marked = s.underWay()
}

func (s *sends) release() error { return unix.Munmap(s.copies) }
