package traffic

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/pion/srtp/v3"
	"golang.org/x/sys/unix"
)

const (
	events = 256
	look   = 500 * time.Microsecond // how often the hearer looks what has come; the kernel has noted when
	sample = 16                     // of protected packets, one in so many is decrypted
)

// hearer takes what arrives, in one thread.
type hearer struct {
	load    *Load
	inbox   *inbox
	streams []arrivals
	in      []*srtp.Context // by call
	heard   atomic.Uint64

	mu      sync.Mutex // guards result
	result  *Result
	checked uint64
	clear   []byte
}

func newHearer(l *Load) *hearer {
	h := &hearer{load: l, inbox: newInbox(), streams: make([]arrivals, 2*len(l.calls)), result: &Result{}, clear: make([]byte, 0, packetSize)}
	for _, c := range l.calls {
		h.in = append(h.in, c.in)
	}
	return h
}

func (h *hearer) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.result = &Result{}
}

func (h *hearer) end() *Result {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.result
	h.result = &Result{}
	return r
}

func (h *hearer) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	var ready [events]unix.EpollEvent
	for !h.load.stop.Load() {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(h.load.poll), uintptr(unsafe.Pointer(&ready[0])), events, 0, 0, 0)
		if errno != 0 {
			n = 0
		}
		h.mu.Lock()
		for _, e := range ready[:n] {
			h.read(int(e.Fd))
		}
		h.mu.Unlock()
		if n < events {
			pause(look)
		}
	}
}

// read empties a socket.
func (h *hearer) read(number int) {
	for {
		n := h.inbox.read(h.load.sockets[number])
		before := h.result.Received
		for i := range n {
			pkt, at := h.inbox.take(i)
			h.packet(number, pkt, at)
		}
		h.heard.Add(h.result.Received - before)
		if n < batchIn {
			return
		}
	}
}

// packet counts one, if it is of a stream that this socket should hear.
func (h *hearer) packet(socket int, pkt []byte, at int64) {
	r := h.result
	if len(pkt) < headerLen+payloadLen || pkt[0] != 0x80 {
		r.Strange++
		return
	}
	number := int(binary.BigEndian.Uint32(pkt[8:]) - ssrcBase)
	if number < 0 || number >= len(h.streams) || 2*(number/2/h.load.cfg.Share)+1-number%2 != socket {
		r.Strange++
		return
	}
	if context := h.in[number/2]; context != nil && number%2 == 0 { // what the second leg hears is protected
		if h.checked++; h.checked%sample == 0 {
			clear, err := context.DecryptRTP(h.clear, pkt, nil)
			if err != nil {
				r.Corrupt++
				return
			}
			h.payload(clear, at)
		}
	} else {
		h.payload(pkt, at)
	}
	h.streams[number].note(binary.BigEndian.Uint16(pkt[2:]), &r.Tally)
}

// payload looks at what is inside.
func (h *hearer) payload(pkt []byte, at int64) {
	if len(pkt) != headerLen+payloadLen || binary.BigEndian.Uint64(pkt[headerLen+8:]) != mark {
		h.result.Corrupt++
		return
	}
	if at != 0 {
		h.result.Latency.add(time.Duration(at - int64(binary.BigEndian.Uint64(pkt[headerLen:]))))
	}
}
