package udp

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2): a message header and the length of what was moved.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// Reader takes up to a fixed number of datagrams from a socket by one system call, into buffers it owns. It may serve many sockets in
// turn; the packets are valid until the next Read. Not safe for concurrent use.
type Reader struct {
	headers []mmsghdr
	iovecs  []unix.Iovec
	names   []Sockaddr
	buffer  []byte
	stride  int
	room    int // for one packet, up to stride
	used    int // headers the kernel has written to since they were set up
	zones   Zones
}

// NewReader makes a reader of count datagrams of at most size bytes. Each buffer has room for slack more bytes behind the datagram, so
// that a packet can grow in place.
func NewReader(count, size, slack int) *Reader {
	stride := spread(size + slack)
	r := &Reader{
		headers: make([]mmsghdr, count),
		iovecs:  make([]unix.Iovec, count),
		names:   make([]Sockaddr, count),
		buffer:  make([]byte, count*stride),
		stride:  stride,
		room:    size + slack,
		used:    count,
	}
	for i := range r.headers {
		r.iovecs[i].Base = &r.buffer[i*r.stride]
		r.iovecs[i].SetLen(size)
		h := &r.headers[i].hdr
		h.Iov = &r.iovecs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	}
	return r
}

// spread rounds a distance between buffers up to an odd number of cache lines. At a power of two, the beginnings of all packets would share
// a few places of the processor's cache.
func spread(size int) int {
	const line = 64
	return ((size+line-1)/line | 1) * line
}

// Len is the number of datagrams one Read may return.
func (r *Reader) Len() int { return len(r.headers) }

// Read takes the datagrams that are waiting, without blocking. It returns ErrWouldBlock when there is none.
func (r *Reader) Read(c *Conn) (int, error) {
	for i := range r.used {
		r.headers[i].hdr.Namelen = unix.SizeofSockaddrInet6
		r.headers[i].hdr.Flags = 0
	}
	r.used = 0
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&r.headers[0])),
			uintptr(len(r.headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.used = int(n)
			return int(n), nil
		case unix.EINTR:
			continue
		default:
			return 0, errno
		}
	}
}

// Packet is the i-th datagram of the last Read. Its capacity includes the slack.
func (r *Reader) Packet(i int) []byte {
	start := i * r.stride
	return r.buffer[start : start+int(r.headers[i].n) : start+r.room]
}

// Truncated reports whether the i-th datagram was longer than the buffer.
func (r *Reader) Truncated(i int) bool { return r.headers[i].hdr.Flags&unix.MSG_TRUNC != 0 }

// Source is where the i-th datagram came from.
func (r *Reader) Source(i int) netip.AddrPort { return r.zones.AddrPort(&r.names[i]) }

// Writer collects datagrams for one socket after another and sends those of one socket by one system call. It keeps references to the
// packets until Flush. Not safe for concurrent use.
type Writer struct {
	headers []mmsghdr
	iovecs  []unix.Iovec
	names   []Sockaddr
	count   int
}

// NewWriter makes a writer of at most count datagrams.
func NewWriter(count int) *Writer {
	w := &Writer{
		headers: make([]mmsghdr, count),
		iovecs:  make([]unix.Iovec, count),
		names:   make([]Sockaddr, count),
	}
	for i := range w.headers {
		h := &w.headers[i].hdr
		h.Iov = &w.iovecs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&w.names[i]))
	}
	return w
}

// Full reports whether Add has no room.
func (w *Writer) Full() bool { return w.count == len(w.headers) }

// Add appends a datagram; the caller sees to it that the writer is not full and that the packet is not empty.
func (w *Writer) Add(pkt []byte, dst netip.AddrPort) {
	i := w.count
	w.iovecs[i].Base = unsafe.SliceData(pkt)
	w.iovecs[i].SetLen(len(pkt))
	w.headers[i].hdr.Namelen = w.names[i].Set(dst)
	w.count++
}

// Flush sends what was added through one socket and empties the writer. It never blocks. sent is how many datagrams the kernel took;
// the others are lost, as UDP may. err is the error of the first lost one.
func (w *Writer) Flush(c *Conn) (sent int, err error) {
	for done := 0; done < w.count; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&w.headers[done])),
			uintptr(w.count-done), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == 0:
			done += int(n)
			sent += int(n)
		case errno == unix.EINTR:
		default:
			// The kernel stops at the first failing datagram: pass over it. An error may also be an ICMP answer to an
			// earlier packet, in which case this one was not tried; it is lost all the same.
			if err == nil {
				err = errno
			}
			done++
		}
	}
	for i := range w.count {
		w.iovecs[i].Base = nil
	}
	w.count = 0
	return sent, err
}

// WriteTo sends one datagram without blocking.
func (c *Conn) WriteTo(pkt []byte, dst netip.AddrPort) error {
	var name Sockaddr
	size := name.Set(dst)
	for {
		_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(pkt))), uintptr(len(pkt)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&name)), uintptr(size))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		default:
			return fmt.Errorf("udp: send to %s: %w", dst, errno)
		}
	}
}
