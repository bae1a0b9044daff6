// Package udp has non-blocking UDP sockets bound to one local address, read and written in batches, for event loops that must not
// spend a goroutine, a lock or an allocation on a packet.
package udp

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ErrWouldBlock says that the socket has nothing to read or no room to write.
var ErrWouldBlock = unix.EAGAIN

// ErrInvalidAddress says that an address is unset, a wildcard where a definite one is needed, or of the other family than the socket.
var ErrInvalidAddress = errors.New("udp: invalid address")

// Options of a socket. The zero value leaves everything to the kernel.
type Options struct {
	// TOS is the DSCP/ECN byte of sent packets: IP_TOS for IPv4, IPV6_TCLASS for IPv6.
	TOS uint8
	// ReadBuffer and WriteBuffer are SO_RCVBUF and SO_SNDBUF in bytes, 0 for the kernel's default.
	ReadBuffer, WriteBuffer int
}

// Conn is a UDP socket. One goroutine may read at a time; WriteTo may be called from any goroutine as long as nobody calls Close.
type Conn struct {
	fd    int
	local netip.AddrPort
}

// Listen binds a non-blocking socket to a definite local address. Port 0 lets the kernel choose. IPv6 sockets take no IPv4 packets
// (IPV6_V6ONLY). The error wraps the errno, for example unix.EADDRINUSE.
func Listen(local netip.AddrPort, opt Options) (*Conn, error) {
	if !local.Addr().IsValid() || local.Addr().IsUnspecified() || local.Addr().Is4In6() {
		return nil, fmt.Errorf("%w: %s", ErrInvalidAddress, local)
	}
	family := unix.AF_INET
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("udp: socket: %w", err)
	}
	c := &Conn{fd: fd}
	if err := c.setup(local, opt); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return c, nil
}

// ListenPair binds two neighbouring ports, an even one for RTP and the next odd one for RTCP (RFC 3550 §11). Either both are bound
// or none; both are *Conn.
func ListenPair(addr netip.Addr, even uint16, opt Options) (rtp, rtcp Port, err error) {
	if even == 0 || even%2 != 0 {
		return nil, nil, fmt.Errorf("%w: port %d is not even", ErrInvalidAddress, even)
	}
	first, err := Listen(netip.AddrPortFrom(addr, even), opt)
	if err != nil {
		return nil, nil, err
	}
	second, err := Listen(netip.AddrPortFrom(addr, even+1), opt)
	if err != nil {
		_ = first.Close()
		return nil, nil, err
	}
	return first, second, nil
}

func (c *Conn) setup(local netip.AddrPort, opt Options) error {
	v6 := local.Addr().Is6()
	if v6 {
		if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return fmt.Errorf("udp: IPV6_V6ONLY: %w", err)
		}
	}
	if opt.TOS != 0 {
		level, name := unix.IPPROTO_IP, unix.IP_TOS
		if v6 {
			level, name = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
		if err := unix.SetsockoptInt(c.fd, level, name, int(opt.TOS)); err != nil {
			return fmt.Errorf("udp: TOS: %w", err)
		}
	}
	if err := setBuffer(c.fd, unix.SO_RCVBUF, opt.ReadBuffer); err != nil {
		return err
	}
	if err := setBuffer(c.fd, unix.SO_SNDBUF, opt.WriteBuffer); err != nil {
		return err
	}
	sa, err := sockaddr(local)
	if err != nil {
		return err
	}
	if err := unix.Bind(c.fd, sa); err != nil {
		return fmt.Errorf("udp: bind %s: %w", local, err)
	}
	if c.local = local; local.Port() != 0 {
		return nil
	}
	bound, err := unix.Getsockname(c.fd)
	if err != nil {
		return fmt.Errorf("udp: getsockname: %w", err)
	}
	c.local = netip.AddrPortFrom(local.Addr(), portOf(bound))
	return nil
}

func setBuffer(fd, name, size int) error {
	if size == 0 {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, name, size); err != nil {
		return fmt.Errorf("udp: socket buffer: %w", err)
	}
	return nil
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, error) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	zone, err := zoneIndex(a.Addr().Zone())
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zone}, nil
}

func portOf(sa unix.Sockaddr) uint16 {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port)
	case *unix.SockaddrInet6:
		return uint16(sa.Port)
	default:
		return 0
	}
}

// FD is the file descriptor, for an event loop to wait on.
func (c *Conn) FD() int { return c.fd }

// LocalAddr is the address the socket is bound to.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// SetTOS changes the DSCP/ECN byte of the packets sent from now on.
func (c *Conn) SetTOS(tos uint8) error {
	level, name := unix.IPPROTO_IP, unix.IP_TOS
	if c.local.Addr().Is6() {
		level, name = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	if err := unix.SetsockoptInt(c.fd, level, name, int(tos)); err != nil {
		return fmt.Errorf("udp: TOS: %w", err)
	}
	return nil
}

// Close gives the port back. It must not run at the same time as a read or write: an event loop takes the socket out first.
func (c *Conn) Close() error { return unix.Close(c.fd) }
