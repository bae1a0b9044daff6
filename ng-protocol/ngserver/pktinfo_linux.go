package ngserver

import (
	"encoding/binary"
	"net/netip"
	"syscall"
)

// oobSize holds one IP_PKTINFO and one IPV6_PKTINFO message.
const oobSize = 128

// setSocketOptions asks for the destination address of each datagram if the
// socket takes more than one, and sets the TOS byte.
func setSocketOptions(fd int, v6, anyAddr bool, tos int) error {
	if anyAddr {
		if v6 {
			if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_RECVPKTINFO, 1); err != nil {
				return err
			}
		} else if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1); err != nil {
			return err
		}
	}
	if tos == 0 {
		return nil
	}
	if v6 {
		return syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, tos)
	}
	return syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, syscall.IP_TOS, tos)
}

// sentTo reads the destination address from control messages (ip(7) in_pktinfo,
// ipv6(7) in6_pktinfo); zero if there is none.
func sentTo(oob []byte) localAddr {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return localAddr{}
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == syscall.IPPROTO_IP && m.Header.Type == syscall.IP_PKTINFO && len(m.Data) >= syscall.SizeofInet4Pktinfo:
			return localAddr{addr: netip.AddrFrom4([4]byte(m.Data[8:12]))}
		case m.Header.Level == syscall.IPPROTO_IPV6 && m.Header.Type == syscall.IPV6_PKTINFO && len(m.Data) >= syscall.SizeofInet6Pktinfo:
			l := localAddr{addr: netip.AddrFrom16([16]byte(m.Data[:16]))}
			if l.addr.IsLinkLocalUnicast() {
				l.ifindex = int(binary.NativeEndian.Uint32(m.Data[16:20]))
			}
			return l
		}
	}
	return localAddr{}
}

// sendFrom makes the control message that sets the source address. An IPv4
// address that came in on an IPv6 socket is mapped, as it is in the datagram's
// destination.
func sendFrom(l localAddr) []byte {
	if l.addr.Is4() {
		info := make([]byte, syscall.SizeofInet4Pktinfo)
		addr := l.addr.As4()
		copy(info[4:8], addr[:])
		return controlMessage(syscall.IPPROTO_IP, syscall.IP_PKTINFO, info)
	}
	info := make([]byte, syscall.SizeofInet6Pktinfo)
	addr := l.addr.As16()
	copy(info[:16], addr[:])
	binary.NativeEndian.PutUint32(info[16:20], uint32(l.ifindex))
	return controlMessage(syscall.IPPROTO_IPV6, syscall.IPV6_PKTINFO, info)
}

func controlMessage(level, kind int, data []byte) []byte {
	b := make([]byte, syscall.CmsgSpace(len(data)))
	head := b[:syscall.SizeofCmsghdr]
	// struct cmsghdr: size_t length, int level, int type.
	word := len(head) - 8
	if word == 8 {
		binary.NativeEndian.PutUint64(head, uint64(syscall.CmsgLen(len(data))))
	} else {
		binary.NativeEndian.PutUint32(head, uint32(syscall.CmsgLen(len(data))))
	}
	binary.NativeEndian.PutUint32(head[word:], uint32(level))
	binary.NativeEndian.PutUint32(head[word+4:], uint32(kind))
	copy(b[syscall.CmsgLen(0):], data)
	return b
}
