package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// queue takes the next request. The caller has looked for Room.
func (r *Ring) queue() *request {
	if r.Room() <= 0 {
		panic("uring: no room for a request")
	}
	s := &r.submission
	q := &s.entries[s.next&s.mask]
	s.next++
	return q
}

// SendMsg queues sendmsg(2) without waiting for room in the socket's buffer (MSG_DONTWAIT). What msg points to must stay untouched until
// the completion, whose result is the number of bytes sent.
func (r *Ring) SendMsg(fd int, msg *unix.Msghdr, data uint64) {
	*r.queue() = request{
		opcode: opSendMsg, fd: int32(fd), addr: address(unsafe.Pointer(msg)), length: 1,
		opFlags: unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL, data: data,
	}
}

// Receive queues a receive that completes for each datagram, into a buffer of Provide, until a completion without More: an error of the
// socket (ICMP), ENOBUFS when no buffer was left, an empty datagram, Cancel.
func (r *Ring) Receive(fd int, data uint64) {
	*r.queue() = request{
		opcode: opRecvMsg, flags: requestBufferSelect, ioprio: receiveMultishot, fd: int32(fd),
		addr: address(unsafe.Pointer(&r.buffers.layout)), length: 1, group: bufferGroup, data: data,
	}
}

// Read queues read(2), which waits until there is something; an eventfd, for example. into must stay until the completion.
func (r *Ring) Read(fd int, into []byte, data uint64) {
	*r.queue() = request{opcode: opRead, fd: int32(fd), addr: address(unsafe.Pointer(unsafe.SliceData(into))), length: uint32(len(into)), data: data}
}

// Cancel queues the end of the request that was given target. That request completes with ECANCELED, if not otherwise before; the cancel
// itself with 0, ENOENT if there was no such request any more, or EALREADY if it is about to complete.
func (r *Ring) Cancel(target, data uint64) {
	*r.queue() = request{opcode: opCancel, fd: -1, addr: target, data: data}
}

// address is a pointer in the kernel's form. Go's heap does not move; whoever gives the pointer keeps it alive.
func address(p unsafe.Pointer) uint64 { return uint64(uintptr(p)) }
