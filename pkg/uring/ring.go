// Package uring is a small io_uring (io_uring(7)) for datagram sockets: one system call a turn sends what is queued for any number of
// sockets and waits for what they receive. It needs Linux 6.1 or newer and is optional: containers often forbid it.
//
// A Ring belongs to one thread (IORING_SETUP_SINGLE_ISSUER): the goroutine that opens it calls runtime.LockOSThread before and is the
// only one to use it.
package uring

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrUnsupported says that the kernel, or the rules the process runs under, have no io_uring or one that lacks what is needed.
var ErrUnsupported = errors.New("uring: not available")

// Ring is a pair of queues shared with the kernel: requests go in, completions come out.
type Ring struct {
	fd          int
	mapping     []byte // both rings
	requests    []byte // the array of requests
	submission  submission
	completions completions
	buffers     *Buffers
	argument    getevents // of a wait that ends
}

// submission is our side of the submission queue.
type submission struct {
	head, tail *uint32 // head is the kernel's
	mask       uint32
	next       uint32 // where the next request goes; tail follows at Enter
	entries    []request
}

// completions is our side of the completion queue.
type completions struct {
	head, tail *uint32 // tail is the kernel's
	mask       uint32
	next       uint32 // the next to be read; head follows at Enter
	entries    []completion
}

// completion is struct io_uring_cqe.
type completion struct {
	data   uint64
	result int32
	flags  uint32
}

// Completion is what became of a request.
type Completion struct {
	// Data is what the request was given.
	Data uint64
	// Result is the number of bytes, or a negative errno.
	Result int32
	flags  uint32
}

// More reports whether the request goes on and will complete again: a multishot receive that is still armed.
func (c Completion) More() bool { return c.flags&cqeMore != 0 }

// Err is the error, nil if there is none. It is an errno of golang.org/x/sys/unix.
func (c Completion) Err() error {
	if c.Result >= 0 {
		return nil
	}
	return unix.Errno(-c.Result)
}

// Open makes a ring with room for the given numbers of requests and completions, which are rounded up to powers of two. More
// completions than that are not lost, but cost more. The rings count as locked memory of an unprivileged user (RLIMIT_MEMLOCK). The error
// wraps ErrUnsupported if the machine does not have or allow what it takes.
func Open(requests, completions uint32) (*Ring, error) {
	p := params{flags: setupCQSize | setupClamp | setupSubmitAll | setupSingleIssuer | setupDeferTaskrun, cqEntries: completions}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(requests), uintptr(unsafe.Pointer(&p)), 0)
	switch errno {
	case 0:
	case unix.ENOSYS, unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOMEM: // no such call, forbidden (sysctl or seccomp), flags unknown, RLIMIT_MEMLOCK
		return nil, fmt.Errorf("%w: io_uring_setup: %w", ErrUnsupported, errno)
	default:
		return nil, fmt.Errorf("uring: io_uring_setup: %w", errno)
	}
	r := &Ring{fd: int(fd)}
	if p.features&featuresNeeded != featuresNeeded {
		_ = r.Close()
		return nil, fmt.Errorf("%w: features %#x of %#x", ErrUnsupported, p.features&featuresNeeded, featuresNeeded)
	}
	if err := r.share(&p); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// share maps the rings.
func (r *Ring) share(p *params) error {
	size := max(int(p.sq.array)+int(p.sqEntries)*4, int(p.cq.cqes)+int(p.cqEntries)*int(unsafe.Sizeof(completion{})))
	var err error
	if r.mapping, err = unix.Mmap(r.fd, offsetRings, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("uring: map the rings: %w", err)
	}
	size = int(p.sqEntries) * int(unsafe.Sizeof(request{}))
	if r.requests, err = unix.Mmap(r.fd, offsetRequests, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("uring: map the requests: %w", err)
	}
	word := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.mapping[offset])) }
	r.submission = submission{
		head: word(p.sq.head), tail: word(p.sq.tail), mask: *word(p.sq.ringMask),
		entries: unsafe.Slice((*request)(unsafe.Pointer(&r.requests[0])), p.sqEntries),
	}
	r.submission.next = *r.submission.tail
	order := unsafe.Slice(word(p.sq.array), p.sqEntries)
	for i := range order {
		order[i] = uint32(i)
	}
	r.completions = completions{
		head: word(p.cq.head), tail: word(p.cq.tail), mask: *word(p.cq.ringMask),
		entries: unsafe.Slice((*completion)(unsafe.Pointer(&r.mapping[p.cq.cqes])), p.cqEntries),
	}
	r.completions.next = *r.completions.head
	return nil
}

// Room is the number of requests that may be queued before the next Enter.
func (r *Ring) Room() int {
	s := &r.submission
	return len(s.entries) - int(s.next-atomic.LoadUint32(s.head))
}

// Enter submits what is queued and waits until there are at least wait completions, until the time is over if timeout is positive, or
// until a signal comes. With wait 0 it only takes a look. Requests may be left when the kernel is short of memory; the next Enter
// submits them. An error is a fault of the program.
func (r *Ring) Enter(wait int, timeout time.Duration) error {
	if r.buffers != nil {
		r.buffers.publish()
	}
	atomic.StoreUint32(r.completions.head, r.completions.next)
	s := &r.submission
	atomic.StoreUint32(s.tail, s.next)
	queued := s.next - atomic.LoadUint32(s.head)
	flags, argument, size := uintptr(enterGetEvents), uintptr(0), uintptr(0)
	if timeout > 0 && wait > 0 {
		r.argument.set(timeout)
		flags |= enterExtArg
		argument, size = uintptr(unsafe.Pointer(&r.argument)), geteventsSize
	}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(queued), uintptr(wait), flags, argument, size)
	switch errno {
	case 0, unix.EINTR, unix.ETIME, unix.EAGAIN, unix.EBUSY: // EAGAIN: no memory for requests; EBUSY: completions must be read first
		return nil
	default:
		return fmt.Errorf("uring: io_uring_enter: %w", errno)
	}
}

// Next takes the next completion; false says that there is none until the next Enter.
func (r *Ring) Next() (Completion, bool) {
	q := &r.completions
	if q.next == atomic.LoadUint32(q.tail) {
		return Completion{}, false
	}
	c := &q.entries[q.next&q.mask]
	q.next++
	return Completion{Data: c.data, Result: c.result, flags: c.flags}, true
}

// Close ends all requests and gives everything back. Sockets with requests under way are let go of some time later: cancel the requests
// and wait for their completions where that matters.
func (r *Ring) Close() error {
	err := unix.Close(r.fd)
	for _, m := range [][]byte{r.mapping, r.requests} {
		if m != nil {
			err = errors.Join(err, unix.Munmap(m))
		}
	}
	if r.buffers != nil {
		err = errors.Join(err, r.buffers.release())
	}
	*r = Ring{fd: -1}
	return err
}
