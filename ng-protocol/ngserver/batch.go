package ngserver

import (
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/udp"
	"golang.org/x/sys/unix"
)

// batchSize is how many datagrams are taken by one system call, at most.
const batchSize = 8

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	size uint32 // of the datagram
}

// batch receives datagrams. Its calls and those of an outgoing never wait, so that the scheduler need not know of them: being told that a
// thread may block, it would look after it, which costs more than the call.
type batch struct {
	sock    *socket
	headers [batchSize]mmsghdr
	parts   [batchSize]unix.Iovec
	names   [batchSize]udp.Sockaddr
	oob     [batchSize][oobSize]byte
	room    []byte
	zones   udp.Zones
	count   int
	errno   syscall.Errno
}

// datagramRoom is more than a datagram can have.
const datagramRoom = ng.MaxSize + 1

func newBatch(sock *socket) *batch {
	b := &batch{sock: sock, room: make([]byte, batchSize*datagramRoom)}
	for i := range b.headers {
		b.parts[i].Base = &b.room[i*datagramRoom]
		b.parts[i].SetLen(datagramRoom)
		h := &b.headers[i]
		h.Iov = &b.parts[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		if sock.anyAddr {
			h.Control = &b.oob[i][0]
		}
	}
	return b
}

// receive waits for datagrams and returns how many there are. They are valid
// until the next call.
func (b *batch) receive() (int, error) {
	for i := range b.headers {
		h := &b.headers[i]
		h.Namelen = unix.SizeofSockaddrInet6
		if h.Control != nil {
			h.SetControllen(oobSize)
		}
	}
	if err := b.sock.raw.Read(b.poll); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", b.errno)
	}
	return b.count, nil
}

// poll takes what is there; false if that is nothing.
func (b *batch) poll(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
		b.count, b.errno = int(n), errno
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		return true
	}
}

// datagram returns one of those received, and where an answer to it goes.
func (b *batch) datagram(i int) ([]byte, destination) {
	from := b.zones.AddrPort(&b.names[i])
	peer := destination{sock: b.sock, addr: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
	if b.sock.anyAddr {
		peer.local = sentTo(b.oob[i][:b.headers[i].Controllen])
	}
	start := i * datagramRoom
	return b.room[start : start+int(b.headers[i].size)], peer
}

// outgoing sends a datagram.
type outgoing struct {
	header unix.Msghdr
	part   unix.Iovec
	name   udp.Sockaddr
	errno  syscall.Errno
	try    func(fd uintptr) bool
}

func newOutgoing() *outgoing {
	o := new(outgoing)
	o.try = o.send
	o.header.Name = (*byte)(unsafe.Pointer(&o.name))
	o.header.Iov = &o.part
	o.header.SetIovlen(1)
	return o
}

// send reports false while there is no room for the datagram.
func (o *outgoing) send(fd uintptr) bool {
	for {
		_, _, o.errno = syscall.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&o.header)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch o.errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		return true
	}
}

// send sends a datagram with a control message, if there is one.
func (s *socket) send(message, control []byte, to netip.AddrPort) error {
	o, ok := s.outgoing.Get().(*outgoing)
	if !ok {
		o = newOutgoing()
	}
	defer s.outgoing.Put(o)
	o.part.Base = unsafe.SliceData(message)
	o.part.SetLen(len(message))
	o.header.Namelen = o.name.Set(to)
	o.header.Control = unsafe.SliceData(control)
	o.header.SetControllen(len(control))
	err := s.raw.Write(o.try)
	if err == nil && o.errno != 0 {
		err = os.NewSyscallError("sendmsg", o.errno)
	}
	o.part.Base, o.header.Control = nil, nil
	return err
}
