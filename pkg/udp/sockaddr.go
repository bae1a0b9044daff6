package udp

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockaddr is an address in the kernel's form: a struct sockaddr_in6, which is large enough for a sockaddr_in.
type Sockaddr unix.RawSockaddrInet6

// Set writes dst and returns the length of what it has written.
func (s *Sockaddr) Set(dst netip.AddrPort) uint32 {
	addr := dst.Addr()
	if addr.Is4() || addr.Is4In6() {
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(s))
		*in4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(dst.Port()), Addr: addr.As4()}
		return unix.SizeofSockaddrInet4
	}
	*s = Sockaddr{Family: unix.AF_INET6, Port: networkOrder(dst.Port()), Addr: addr.As16()}
	if zone := addr.Zone(); zone != "" {
		// A zone that has gone leaves scope 0, and the kernel refuses the packet.
		s.Scope_id, _ = zoneIndex(zone)
	}
	return unix.SizeofSockaddrInet6
}

// Zones reads addresses that the kernel has written. It remembers the text of the last zone, which is the only one nearly always. The
// zero value is ready; not safe for concurrent use.
type Zones struct {
	id   uint32
	text string
}

// AddrPort is the address in s. The zone of a link-local one is the index of the interface.
func (z *Zones) AddrPort(s *Sockaddr) netip.AddrPort {
	if s.Family == unix.AF_INET {
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(s))
		return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), networkOrder(in4.Port))
	}
	addr := netip.AddrFrom16(s.Addr)
	if s.Scope_id != 0 {
		addr = addr.WithZone(z.name(s.Scope_id))
	}
	return netip.AddrPortFrom(addr, networkOrder(s.Port))
}

func (z *Zones) name(id uint32) string {
	if z.id != id {
		z.id, z.text = id, strconv.FormatUint(uint64(id), 10)
	}
	return z.text
}

// networkOrder swaps a port between the host's and the network's byte order.
func networkOrder(p uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], p)
	return binary.NativeEndian.Uint16(b[:])
}
