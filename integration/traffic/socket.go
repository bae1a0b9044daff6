package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	packetSize = 256 // room for one of ours: 12 + 160 and a tag
	buffers    = 1 << 20
	batchIn    = 32
	controlLen = 64 // room for one SCM_TIMESTAMPNS
)

// socket is one end of a few calls.
type socket struct {
	fd    int
	local netip.AddrPort
}

// listen binds a UDP socket with kernel timestamps to a port of the kernel's choice.
func listen(addr netip.Addr) (*socket, error) {
	family := unix.AF_INET
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: addr.Unmap().As4()}
	if !addr.Is4() {
		return nil, fmt.Errorf("traffic: %s is no IPv4 address", addr)
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("traffic: socket: %w", err)
	}
	s := &socket{fd: fd}
	if err := s.setup(sa); err != nil {
		return nil, errors.Join(fmt.Errorf("traffic: %w", err), s.close())
	}
	return s, nil
}

func (s *socket) setup(sa unix.Sockaddr) error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("SO_TIMESTAMPNS: %w", err)
	}
	for _, name := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, name, buffers); err != nil {
			return fmt.Errorf("socket buffer: %w", err)
		}
	}
	if err := unix.Bind(s.fd, sa); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	in4, ok := bound.(*unix.SockaddrInet4)
	if !ok {
		return fmt.Errorf("getsockname: %T", bound)
	}
	s.local = netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))
	return nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// packetConn returns a second handle of the socket for the net package. Closing it leaves the socket open.
func (s *socket) packetConn() (net.PacketConn, error) {
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("traffic: dup: %w", err)
	}
	file := os.NewFile(uintptr(fd), s.local.String())
	defer file.Close()
	return net.FilePacketConn(file)
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// inbox is the memory that recvmmsg fills.
type inbox struct {
	headers  [batchIn]mmsghdr
	iovecs   [batchIn]unix.Iovec
	packets  [batchIn][packetSize]byte
	controls [batchIn][controlLen]byte
}

func newInbox() *inbox {
	b := &inbox{}
	for i := range b.headers {
		b.iovecs[i].Base = &b.packets[i][0]
		b.iovecs[i].SetLen(packetSize)
		h := &b.headers[i].hdr
		h.Iov = &b.iovecs[i]
		h.SetIovlen(1)
		h.Control = &b.controls[i][0]
		h.SetControllen(controlLen)
	}
	return b
}

// read takes what is waiting, without a word to Go's scheduler: the call never blocks.
func (b *inbox) read(s *socket) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.headers[0])), batchIn, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// take returns the i-th datagram of the last read and when the kernel had it, in ns of the real-time clock; 0 if it does not say.
func (b *inbox) take(i int) (pkt []byte, at int64) {
	h := &b.headers[i]
	control := b.controls[i][:h.hdr.Controllen]
	h.hdr.SetControllen(controlLen)
	if len(control) >= unix.SizeofCmsghdr+16 {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		if c.Level == unix.SOL_SOCKET && c.Type == unix.SCM_TIMESTAMPNS {
			data := control[unix.CmsgLen(0):]
			at = int64(binary.NativeEndian.Uint64(data))*int64(time.Second) + int64(binary.NativeEndian.Uint64(data[8:]))
		}
	}
	return b.packets[i][:h.n], at
}
