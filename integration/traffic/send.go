package traffic

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/pion/srtp/v3"
	"golang.org/x/sys/unix"
)

const (
	tick       = 250 * time.Microsecond // how often the sender looks what is due
	batchOut   = 8                      // packets of one system call, so that the clock in the last one is nearly right
	maxBehind  = 20 * time.Millisecond  // what is due for longer is not sent
	payloadLen = 160                    // 20 ms of G.711
	headerLen  = 12
	mark       = 0x54616e64656d2121 // in each payload behind the clock, to know it again
	ssrcBase   = 0x5a000000
)

// stream is one direction of a call, as its sender has it.
type stream struct {
	socket    int
	to        unix.RawSockaddrInet4
	ssrc      uint32
	seq       uint16
	timestamp uint32
	out       *srtp.Context
}

// sender sends for all streams in turn, from one thread.
type sender struct {
	streams []stream
	fds     []int
	next    int // stream
	rate    int
	stop    atomic.Bool
	sent    atomic.Uint64
	failed  uint64 // refused by the kernel
	late    uint64 // left out, since this thread did not get the processor in time

	headers [batchOut]mmsghdr
	iovecs  [batchOut]unix.Iovec
	plain   [batchOut][packetSize]byte
	secret  [batchOut][packetSize]byte
	filled  int
	socket  int // of those that are filled in
}

func newSender(l *Load) *sender {
	s := &sender{}
	for _, sock := range l.sockets {
		s.fds = append(s.fds, sock.fd)
	}
	// Those of one socket are neighbours, so that they go out together.
	for first := 0; first < len(l.calls); first += l.cfg.Share {
		last := min(first+l.cfg.Share, len(l.calls))
		for leg := range 2 {
			for i := first; i < last; i++ {
				c := l.calls[i]
				st := stream{socket: 2*(i/l.cfg.Share) + leg, ssrc: ssrcBase + uint32(2*i+leg), to: unix.RawSockaddrInet4{
					Family: unix.AF_INET, Port: bigEndian(c.to[leg].Port()), Addr: c.to[leg].Addr().As4(),
				}}
				if leg == 1 {
					st.out = c.out
				}
				s.streams = append(s.streams, st)
			}
		}
	}
	for i := range s.headers {
		for j := range payloadLen {
			s.plain[i][headerLen+j] = byte(j)
		}
		binary.BigEndian.PutUint64(s.plain[i][headerLen+8:], mark)
		h := &s.headers[i].hdr
		h.Iov = &s.iovecs[i]
		h.SetIovlen(1)
		h.Namelen = unix.SizeofSockaddrInet4
	}
	return s
}

func bigEndian(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

func (s *sender) begin(rate int) {
	s.rate, s.failed, s.late = rate, 0, 0
	s.sent.Store(0)
	s.stop.Store(false)
}

// run sends until it is told to stop. System calls go past Go's scheduler, since they do not block for longer than a tick.
func (s *sender) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // else a tick is 50 µs longer; it may fail
	start := time.Now()
	var done int64
	behind := int64(float64(s.rate) * maxBehind.Seconds())
	for !s.stop.Load() {
		due := int64(float64(s.rate) * time.Since(start).Seconds())
		if left := due - done - behind; left > 0 {
			s.late += uint64(left)
			done += left
		}
		for ; done < due; done++ {
			s.put()
		}
		s.flush()
		pause(tick)
	}
}

func pause(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}

// put adds the next packet.
func (s *sender) put() {
	st := &s.streams[s.next]
	s.next++
	if s.next == len(s.streams) {
		s.next = 0
	}
	if s.filled == batchOut || s.filled > 0 && s.socket != st.socket {
		s.flush()
	}
	s.socket = st.socket
	pkt := s.plain[s.filled][:headerLen+payloadLen]
	binary.BigEndian.PutUint32(pkt, 0x80<<24|uint32(st.seq)) // version 2, PCMU
	binary.BigEndian.PutUint32(pkt[4:], st.timestamp)
	binary.BigEndian.PutUint32(pkt[8:], st.ssrc)
	binary.BigEndian.PutUint64(pkt[headerLen:], uint64(time.Now().UnixNano()))
	st.seq++
	st.timestamp += payloadLen
	if st.out != nil {
		protected, err := st.out.EncryptRTP(s.secret[s.filled][:0], pkt, nil)
		if err != nil {
			s.failed++
			return
		}
		pkt = protected
	}
	s.iovecs[s.filled].Base = &pkt[0]
	s.iovecs[s.filled].SetLen(len(pkt))
	s.headers[s.filled].hdr.Name = (*byte)(unsafe.Pointer(&st.to))
	s.filled++
}

// flush sends what is there.
func (s *sender) flush() {
	for done := 0; done < s.filled; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fds[s.socket]), uintptr(unsafe.Pointer(&s.headers[done])),
			uintptr(s.filled-done), unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			// An error of the first packet, or a word of an earlier one (ICMP); pass over it.
			s.failed++
			done++
			continue
		}
		done += int(n)
		s.sent.Add(uint64(n))
	}
	s.filled = 0
}
