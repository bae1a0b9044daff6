package udp

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// hops is the time to live of what leaves by a RawConn: the usual default (RFC 1700).
	hops = 64
	// udpHeader, v4Header and v6Header are lengths in bytes.
	udpHeader, v4Header, v6Header = 8, 20, 40
	// maxPayload is what one datagram over IPv4 may carry.
	maxPayload = 65535 - v4Header - udpHeader
)

// RawConn sends datagrams from any port of any local address of one family, without a socket bound there: it writes the IP and UDP
// headers itself. Nothing can be received by it. What does not fit into the interface's MTU goes by a socket that lives just for this
// (writeBound). All methods may be called from any goroutine.
type RawConn struct {
	fd int
	v6 bool

	closing sync.RWMutex // held for reading while WriteTo uses fd
	closed  bool
}

// OpenRaw makes a RawConn. The process needs CAP_NET_RAW. writeBuffer is SO_SNDBUF in bytes, past the system's limit if the process may
// (CAP_NET_ADMIN).
func OpenRaw(v6 bool, writeBuffer int) (*RawConn, error) {
	family, level, name := unix.AF_INET, unix.IPPROTO_IP, unix.IP_HDRINCL
	if v6 {
		family, level, name = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("udp: raw socket: %w", err)
	}
	if err = unix.SetsockoptInt(fd, level, name, 1); err != nil {
		err = fmt.Errorf("udp: header inclusion: %w", err)
	} else if err = setBuffer(fd, unix.SO_RCVBUF, 1); err == nil { // packets of protocol 255 are for nobody
		err = forceBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, writeBuffer)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &RawConn{fd: fd, v6: v6}, nil
}

// WriteTo sends one datagram at once, without blocking. src is one of the host's addresses.
func (c *RawConn) WriteTo(pkt []byte, src, dst netip.AddrPort, tos uint8) error {
	var m rawMessage
	if !m.set(pkt, src, dst, tos, c.v6) {
		return fmt.Errorf("%w: %d bytes from %s to %s", ErrInvalidAddress, len(pkt), src, dst)
	}
	c.closing.RLock()
	defer c.closing.RUnlock()
	if c.closed {
		return fmt.Errorf("udp: send to %s: %w", dst, unix.EBADF)
	}
	errno := c.send(&m, pkt)
	if errno == unix.EMSGSIZE {
		return writeBound(pkt, src, dst, tos)
	}
	if errno != 0 {
		return fmt.Errorf("udp: send to %s: %w", dst, errno)
	}
	return nil
}

// Close must not run at the same time as a Flush of a RawWriter over the connection.
func (c *RawConn) Close() error {
	c.closing.Lock()
	defer c.closing.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return unix.Close(c.fd)
}

// writeHeaders writes the IP and the UDP header of a datagram into h and returns their length. The kernel fills in an IPv4 header's
// checksum and, since it is 0, its identification; it may fragment the packet on its way.
func writeHeaders(h *[v6Header + udpHeader]byte, pkt []byte, src, dst netip.AddrPort, tos uint8) int {
	length := udpHeader + len(pkt)
	var ip, addresses int
	if src.Addr().Is4() {
		ip, addresses = v4Header, 12
		binary.BigEndian.PutUint64(h[:], 0x4500<<48|uint64(tos)<<48|uint64(ip+length)<<32) // no options, no flags
		binary.BigEndian.PutUint32(h[8:], hops<<24|unix.IPPROTO_UDP<<16)
		from, to := src.Addr().As4(), dst.Addr().As4()
		copy(h[12:], from[:])
		copy(h[16:], to[:])
	} else {
		ip, addresses = v6Header, 8
		binary.BigEndian.PutUint32(h[:], 6<<28|uint32(tos)<<20)
		binary.BigEndian.PutUint32(h[4:], uint32(length)<<16|unix.IPPROTO_UDP<<8|hops)
		from, to := src.Addr().As16(), dst.Addr().As16()
		copy(h[8:], from[:])
		copy(h[24:], to[:])
	}
	u := h[ip : ip+udpHeader]
	binary.BigEndian.PutUint16(u, src.Port())
	binary.BigEndian.PutUint16(u[2:], dst.Port())
	binary.BigEndian.PutUint32(u[4:], uint32(length)<<16)
	// The pseudo header is the addresses, the protocol and the length once more (RFC 768, RFC 8200 §8.1).
	sum := uint64(bits.ReverseBytes16(unix.IPPROTO_UDP)) + uint64(bits.ReverseBytes16(uint16(length)))
	sum = onesSum(onesSum(sum, h[addresses:ip+udpHeader]), pkt)
	check := ^onesFold(sum)
	if check == 0 {
		check = 0xffff // 0 would mean that there is none
	}
	binary.LittleEndian.PutUint16(u[6:], check)
	return ip + udpHeader
}

// writeBound sends one datagram by a socket bound to src, which lives only for this: the kernel then fragments it, and knows the path's
// MTU. Another socket of ours may be bound there at the same moment.
func writeBound(pkt []byte, src, dst netip.AddrPort, tos uint8) error {
	c, err := listenBeside(src, tos)
	if err != nil {
		return err
	}
	err = c.WriteTo(pkt, dst)
	if e := c.Close(); err == nil {
		err = e
	}
	return err
}

func listenBeside(src netip.AddrPort, tos uint8) (*Conn, error) {
	family, level, name, whole := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT
	if src.Addr().Is6() {
		family, level, name, whole = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_WANT
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("udp: socket: %w", err)
	}
	c := &Conn{fd: fd}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
		err = unix.SetsockoptInt(fd, level, name, whole)
	}
	if err != nil {
		err = fmt.Errorf("udp: socket options: %w", err)
	} else {
		err = c.setup(src, Options{TOS: tos})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return c, nil
}
