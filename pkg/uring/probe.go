package uring

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Probe finds out whether the machine has all that Ring needs, by sending a datagram to itself through a small ring. The calling
// goroutine must be locked to its thread. The error wraps ErrUnsupported if not.
func Probe() error {
	r, err := Open(4, 8)
	if err != nil {
		return err
	}
	defer r.Close()
	buffers, err := r.Provide(2, 64, 0)
	if err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("uring: socketpair: %w", err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	const receive, send = 1, 2
	text := []byte("probe")
	vector := unix.Iovec{Base: &text[0]}
	vector.SetLen(len(text))
	msg := unix.Msghdr{Iov: &vector}
	msg.SetIovlen(1)
	r.Receive(pair[0], receive)
	r.SendMsg(pair[1], &msg, send)
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		if err := r.Enter(1, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
		for {
			c, ok := r.Next()
			if !ok {
				break
			}
			if err := c.Err(); err != nil {
				return fmt.Errorf("%w: request %d: %w", ErrUnsupported, c.Data, err)
			}
			if c.Data != receive {
				continue
			}
			if m, ok := buffers.Message(c); !ok || !c.More() || string(m.Packet) != string(text) {
				return fmt.Errorf("%w: no multishot receive into provided buffers", ErrUnsupported)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: nothing received", ErrUnsupported)
}
