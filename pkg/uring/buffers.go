package uring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

// bufferGroup is the number of the only group of buffers of a ring.
const bufferGroup = 0

// maxBuffers is the kernel's bound of a ring of buffers.
const maxBuffers = 1 << 15

// head is what stands before the payload in a buffer.
const head = int(unsafe.Sizeof(received{})) + unix.SizeofSockaddrInet6

// Buffers are provided to the kernel, which takes one for each datagram that comes and hands it over with the completion. Give returns
// it.
type Buffers struct {
	ring    []byte
	entries []bufferEntry
	tail    uint16
	first   uint16 // the id in entries[0], which shares a word with the tail
	memory  []byte
	size    int // of a datagram
	stride  int
	layout  unix.Msghdr // tells the kernel to leave room for the name
	zones   udp.Zones
}

// Message is a datagram in a buffer.
type Message struct {
	// Buffer is to be given back when nobody needs the packet any more.
	Buffer uint16
	// Packet has room for the slack behind it.
	Packet    []byte
	Source    netip.AddrPort
	Truncated bool
}

// Provide gives the ring count buffers, a power of two up to 32768, for datagrams of at most size bytes, each with slack bytes of room
// behind. To be called once. The error wraps ErrUnsupported if the kernel does not know it.
func (r *Ring) Provide(count, size, slack int) (*Buffers, error) {
	if count <= 0 || count > maxBuffers || count&(count-1) != 0 || size <= 0 || slack < 0 || r.buffers != nil {
		return nil, fmt.Errorf("uring: %d buffers of %d+%d bytes", count, size, slack)
	}
	b := &Buffers{size: size, stride: (head + size + slack + 63) &^ 63}
	b.layout.Namelen = unix.SizeofSockaddrInet6
	var err error
	if b.ring, err = anonymous(count * int(unsafe.Sizeof(bufferEntry{}))); err != nil {
		return nil, err
	}
	if b.memory, err = anonymous(count * b.stride); err != nil {
		return nil, errors.Join(err, b.release())
	}
	b.entries = unsafe.Slice((*bufferEntry)(unsafe.Pointer(&b.ring[0])), count)
	reg := bufferRegistration{ring: address(unsafe.Pointer(&b.ring[0])), entries: uint32(count), group: bufferGroup}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerBufferRing, uintptr(unsafe.Pointer(&reg)), 1, 0, 0)
	if errno != 0 {
		err = fmt.Errorf("uring: register buffers: %w", errno)
		if errno == unix.EINVAL || errno == unix.ENOMEM { // no such thing before 5.19; RLIMIT_MEMLOCK
			err = fmt.Errorf("%w: register buffers: %w", ErrUnsupported, errno)
		}
		return nil, errors.Join(err, b.release())
	}
	for i := range count {
		b.Give(uint16(i))
	}
	r.buffers = b
	return b, nil
}

// anonymous is zeroed memory that starts at a page and takes none until it is used.
func anonymous(size int) ([]byte, error) {
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("uring: memory: %w", err)
	}
	return m, nil
}

// Count is the number of buffers.
func (b *Buffers) Count() int { return len(b.entries) }

// Give returns a buffer to the kernel, at the next Enter.
func (b *Buffers) Give(id uint16) {
	at := int(b.tail) & (len(b.entries) - 1)
	e := &b.entries[at]
	e.addr, e.length = address(unsafe.Pointer(&b.memory[int(id)*b.stride])), uint32(head+b.size)
	if at == 0 {
		b.first = id // written with the tail
	} else {
		e.id = id
	}
	b.tail++
}

// publish makes what was given visible. The kernel reads the tail, which is the upper half of a word that Go can store atomically; the
// lower half is the first entry's id, which the kernel has read before it may change.
func (b *Buffers) publish() {
	var word [4]byte
	binary.NativeEndian.PutUint16(word[:2], b.first)
	binary.NativeEndian.PutUint16(word[2:], b.tail)
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&b.entries[0].id)), binary.NativeEndian.Uint32(word[:]))
}

// Of tells the buffer that a completion of Receive has brought, if any; also one with an error may.
func (b *Buffers) Of(c Completion) (id uint16, ok bool) {
	id = uint16(c.flags >> cqeBufferShift)
	return id, c.flags&cqeBuffer != 0 && int(id) < len(b.entries)
}

// Message reads the datagram of a completion of Receive; false if there is none.
func (b *Buffers) Message(c Completion) (Message, bool) {
	id, ok := b.Of(c)
	if !ok || int(c.Result) < head || int(c.Result) > head+b.size {
		return Message{}, false
	}
	start := int(id) * b.stride
	buf := b.memory[start : start+b.stride : start+b.stride]
	out := (*received)(unsafe.Pointer(&buf[0]))
	name := (*udp.Sockaddr)(unsafe.Pointer(&buf[unsafe.Sizeof(*out)]))
	m := Message{Buffer: id, Packet: buf[head:int(c.Result)], Truncated: out.flags&unix.MSG_TRUNC != 0}
	if out.nameLength >= unix.SizeofSockaddrInet4 {
		m.Source = b.zones.AddrPort(name)
	}
	return m, true
}

// Holding tells the buffer that a packet lies in, if it is in one.
func (b *Buffers) Holding(pkt []byte) (id uint16, ok bool) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(pkt))) - uintptr(unsafe.Pointer(&b.memory[0]))
	if at >= uintptr(len(b.memory)) {
		return 0, false
	}
	return uint16(int(at) / b.stride), true
}

func (b *Buffers) release() error {
	var err error
	for _, m := range [][]byte{b.ring, b.memory} {
		if m != nil {
			err = errors.Join(err, unix.Munmap(m))
		}
	}
	b.ring, b.memory, b.entries = nil, nil, nil
	return err
}
