package udp

import (
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawMessage is what the kernel needs to know of one datagram beside its payload.
type rawMessage struct {
	name    Sockaddr
	nameLen uint32
	headers [v6Header + udpHeader]byte
	length  int // of headers
	// info tells the source address once more (IP_PKTINFO, IPV6_PKTINFO): the route is looked up by it, as for a bound socket.
	info    [5]uint64
	infoLen int
}

// set fills m in; false says that the datagram cannot be sent: the addresses are not of the family, or it is too long.
func (m *rawMessage) set(pkt []byte, src, dst netip.AddrPort, tos uint8, v6 bool) bool {
	to := dst.Addr()
	if to.Is4In6() {
		to = to.Unmap()
	}
	if src.Addr().Is6() != v6 || to.Is6() != v6 || !to.IsValid() || !src.IsValid() || len(pkt) > maxPayload {
		return false
	}
	dst = netip.AddrPortFrom(to, dst.Port())
	m.nameLen = m.name.Set(netip.AddrPortFrom(to, 0)) // a port would be taken for a protocol
	m.length = writeHeaders(&m.headers, pkt, src, dst, tos)
	c := (*unix.Cmsghdr)(unsafe.Pointer(&m.info))
	data := unsafe.Add(unsafe.Pointer(&m.info), unix.SizeofCmsghdr)
	if v6 {
		c.Level, c.Type, m.infoLen = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofCmsghdr+unix.SizeofInet6Pktinfo
		p := (*unix.Inet6Pktinfo)(data)
		p.Addr, p.Ifindex = src.Addr().As16(), 0
		if zone := src.Addr().Zone(); zone != "" {
			p.Ifindex, _ = zoneIndex(zone)
		}
	} else {
		c.Level, c.Type, m.infoLen = unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofCmsghdr+unix.SizeofInet4Pktinfo
		*(*unix.Inet4Pktinfo)(data) = unix.Inet4Pktinfo{Spec_dst: src.Addr().As4()}
	}
	c.SetLen(m.infoLen)
	return true
}

// header points a message header at m and at its two parts.
func (m *rawMessage) header(h *unix.Msghdr, parts *[2]unix.Iovec, pkt []byte) {
	parts[0].Base, parts[1].Base = &m.headers[0], unsafe.SliceData(pkt)
	parts[0].SetLen(m.length)
	parts[1].SetLen(len(pkt))
	m.address(h, parts[:])
}

// address points a message header at m and at its parts.
func (m *rawMessage) address(h *unix.Msghdr, parts []unix.Iovec) {
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&m.name)), m.nameLen
	h.Iov = &parts[0]
	h.SetIovlen(len(parts))
	h.Control = (*byte)(unsafe.Pointer(&m.info))
	h.SetControllen(m.infoLen)
}

// send gives one message to the kernel.
func (c *RawConn) send(m *rawMessage, pkt []byte) unix.Errno {
	var h unix.Msghdr
	var parts [2]unix.Iovec
	m.header(&h, &parts, pkt)
	for {
		_, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&h)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errno != unix.EINTR {
			runtime.KeepAlive(m)
			runtime.KeepAlive(pkt)
			return errno
		}
	}
}

// RawWriter collects datagrams from any ports and sends them by one system call. It keeps references to the packets until Flush. Not
// safe for concurrent use.
type RawWriter struct {
	conn     *RawConn
	headers  []mmsghdr
	parts    [][2]unix.Iovec
	messages []rawMessage
	whole    []byte    // headers and packets in one piece, which the kernel takes faster than two; capacity is what fits
	items    []rawItem // those added
}

// wholeSize is the room for a packet with its headers in RawWriter.whole, on average: that of 20 ms of G.711 and half as much again.
const wholeSize = 320

// rawItem is what was added, for the way by writeBound.
type rawItem struct {
	pkt      []byte
	src, dst netip.AddrPort
	tos      uint8
	tag      int
}

// NewRawWriter makes a writer of at most count datagrams.
func NewRawWriter(conn *RawConn, count int) *RawWriter {
	return &RawWriter{
		conn:     conn,
		headers:  make([]mmsghdr, count),
		parts:    make([][2]unix.Iovec, count),
		messages: make([]rawMessage, count),
		whole:    make([]byte, 0, count*wholeSize),
		items:    make([]rawItem, 0, count),
	}
}

// Full reports whether Add has no room.
func (w *RawWriter) Full() bool { return len(w.items) == cap(w.items) }

// Add appends a datagram; the caller sees to it that the writer is not full. tag stands for it when Flush tells of losses. Add reports
// false where the datagram cannot be sent: an address is not of the connection's family, or it is too long.
func (w *RawWriter) Add(pkt []byte, src, dst netip.AddrPort, tos uint8, tag int) bool {
	i := len(w.items)
	m := &w.messages[i]
	if !m.set(pkt, src, dst, tos, w.conn.v6) {
		return false
	}
	if start := len(w.whole); start+m.length+len(pkt) <= cap(w.whole) {
		w.whole = append(append(w.whole, m.headers[:m.length]...), pkt...)
		one := w.parts[i][:1]
		one[0].Base = &w.whole[start]
		one[0].SetLen(len(w.whole) - start)
		m.address(&w.headers[i].hdr, one)
	} else {
		m.header(&w.headers[i].hdr, &w.parts[i], pkt)
	}
	w.items = append(w.items, rawItem{pkt, src, dst, tos, tag})
	return true
}

// Flush sends what was added and empties the writer. It never blocks. lost is called with the tag of each datagram that the kernel has
// not taken.
func (w *RawWriter) Flush(lost func(tag int, err error)) {
	for done := 0; done < len(w.items); {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(w.conn.fd), uintptr(unsafe.Pointer(&w.headers[done])),
			uintptr(len(w.items)-done), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			done += int(n)
		case unix.EINTR:
		default: // of the first of them; the kernel has not looked at the others
			it := &w.items[done]
			var err error = errno
			if errno == unix.EMSGSIZE {
				err = writeBound(it.pkt, it.src, it.dst, it.tos)
			}
			if err != nil {
				lost(it.tag, err)
			}
			done++
		}
	}
	for i := range w.items {
		w.parts[i][1].Base = nil
	}
	clear(w.items)
	w.items, w.whole = w.items[:0], w.whole[:0]
}
