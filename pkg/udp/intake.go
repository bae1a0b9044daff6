package udp

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ListenIntake makes a socket for an IntakeReader: it takes the datagrams to many local addresses that an sk_lookup program hands to it,
// and says of each where it was sent to. It is bound to a loopback port that the kernel has chosen, since only bound sockets can be handed
// anything. readBuffer is SO_RCVBUF in bytes, past the system's limit if the process may (CAP_NET_ADMIN). SetTOS and WriteTo are not meant
// for it.
func ListenIntake(v6 bool, readBuffer int) (*Conn, error) {
	family, local := unix.AF_INET, netip.AddrFrom4([4]byte{127, 0, 0, 1})
	level, name, freebind := unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, unix.IP_FREEBIND
	if v6 {
		family, local = unix.AF_INET6, netip.IPv6Loopback()
		level, name, freebind = unix.IPPROTO_IPV6, unix.IPV6_RECVORIGDSTADDR, unix.IPV6_FREEBIND
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("udp: socket: %w", err)
	}
	c := &Conn{fd: fd}
	if err = unix.SetsockoptInt(fd, level, name, 1); err == nil {
		err = unix.SetsockoptInt(fd, level, freebind, 1) // the loopback interface may be down
	}
	if err != nil {
		err = fmt.Errorf("udp: original destination: %w", err)
	} else if err = forceBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, readBuffer); err == nil {
		err = c.setup(netip.AddrPortFrom(local, 0), Options{})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return c, nil
}

// forceBuffer sets a buffer's size past the system's limit, or up to it.
func forceBuffer(fd, force, name, size int) error {
	if size == 0 || unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) == nil {
		return nil
	}
	return setBuffer(fd, name, size)
}

// Dropped is how many datagrams the kernel has thrown away because the socket's buffer was full (SO_MEMINFO; it wraps at 2³²).
func (c *Conn) Dropped() (uint32, error) {
	const drops, length = unix.SK_MEMINFO_DROPS, unix.SK_MEMINFO_VARS
	var info [length]uint32
	size := uint32(unsafe.Sizeof(info))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(c.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		return 0, fmt.Errorf("udp: SO_MEMINFO: %w", errno)
	}
	return info[drops], nil
}

// control has room for one control message with the larger of the two addresses: struct cmsghdr and sockaddr_in6.
type control [6]uint64

// IntakeReader is a Reader of intake sockets: it knows the destination of each datagram, too.
type IntakeReader struct {
	*Reader
	control []control
	local   Zones
}

// NewIntakeReader makes a reader as NewReader does.
func NewIntakeReader(count, size, slack int) *IntakeReader {
	r := &IntakeReader{Reader: NewReader(count, size, slack), control: make([]control, count)}
	for i := range r.headers {
		h := &r.headers[i].hdr
		h.Control = (*byte)(unsafe.Pointer(&r.control[i]))
		h.SetControllen(int(unsafe.Sizeof(control{})))
	}
	return r
}

// Read takes the datagrams that are waiting, as Reader.Read does.
func (r *IntakeReader) Read(c *Conn) (int, error) {
	for i := range r.used {
		r.headers[i].hdr.SetControllen(int(unsafe.Sizeof(control{})))
	}
	return r.Reader.Read(c)
}

// Destination is the local address the i-th datagram was sent to; the zero value if the kernel does not say.
func (r *IntakeReader) Destination(i int) netip.AddrPort {
	c := unsafe.Slice((*byte)(unsafe.Pointer(&r.control[i])), unsafe.Sizeof(control{}))
	header := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
	if r.headers[i].hdr.Controllen < unix.SizeofCmsghdr+unix.SizeofSockaddrInet4 ||
		(header.Level != unix.IPPROTO_IP || header.Type != unix.IP_ORIGDSTADDR) &&
			(header.Level != unix.IPPROTO_IPV6 || header.Type != unix.IPV6_ORIGDSTADDR) {
		return netip.AddrPort{}
	}
	return r.local.AddrPort((*Sockaddr)(unsafe.Pointer(&c[unix.SizeofCmsghdr])))
}
