package sockets

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/engine/loop"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

const (
	// readBatch is the number of datagrams one call reads: more than that wait together on one socket only under attack.
	readBatch = 32
	// writeBatch is the number of datagrams one call sends.
	writeBatch = 64
	// maxEvents is the number of ready sockets one wait returns.
	maxEvents = 256
	// queueToken stands for the queue of commands among the tokens of streams, which count from 1.
	queueToken = 0
)

// poller moves packets with epoll, recvmmsg and sendmmsg.
type poller struct {
	epoll   int
	queue   *loop.Queue
	out     *outbox
	streams map[uint64]*flow.Stream // by token
	tokens  map[*flow.Stream]uint64
	last    uint64
	reader  *udp.Reader
	writer  *udp.Writer
	events  []unix.EpollEvent
	pace    loop.Pace
}

func newPoller(out *outbox, queue *loop.Queue) (mover, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &poller{
		epoll: ep, queue: queue, out: out,
		streams: make(map[uint64]*flow.Stream), tokens: make(map[*flow.Stream]uint64),
		reader: udp.NewReader(readBatch, flow.PacketSize-secure.Overhead, secure.Overhead),
		writer: udp.NewWriter(writeBatch),
		events: make([]unix.EpollEvent, maxEvents),
	}
	if err := p.watch(queue.FD(), queueToken); err != nil {
		_ = p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) watch(fd int, token uint64) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(token), Pad: int32(token >> 32)} // the halves of the kernel's epoll_data
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll add: %w", err)
	}
	return nil
}

func (p *poller) attach(s *flow.Stream) error {
	p.last++
	if err := p.watch(socketOf(s).FD(), p.last); err != nil {
		return err
	}
	p.streams[p.last], p.tokens[s] = s, p.last
	return nil
}

func (p *poller) attached(s *flow.Stream) bool {
	_, ok := p.tokens[s]
	return ok
}

func (p *poller) detach(streams []*flow.Stream) (attached []*flow.Stream) {
	for _, s := range streams {
		token, ok := p.tokens[s]
		if !ok {
			continue
		}
		_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, socketOf(s).FD(), nil)
		delete(p.streams, token)
		delete(p.tokens, s)
		attached = append(attached, s)
	}
	return attached
}

func (p *poller) all() []*flow.Stream {
	all := make([]*flow.Stream, 0, len(p.tokens))
	for s := range p.tokens {
		all = append(all, s)
	}
	return all
}

func (p *poller) close() error { return unix.Close(p.epoll) }

// turn waits for ready sockets and handles one batch of each. What is left over makes epoll report a socket again, after the others had
// their turn.
func (p *poller) turn(sleep bool) {
	n := p.wait(sleep)
	p.queue.Awake()
	now := time.Now()
	packets := 0
	for _, e := range p.events[:n] {
		token := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
		if token == queueToken {
			p.queue.Clear()
			continue
		}
		if s := p.streams[token]; s != nil {
			packets += p.read(s, now)
		}
	}
	p.pace.Note(packets, now)
}

// wait returns the number of events.
func (p *poller) wait(sleep bool) int {
	timeout := 0
	if sleep {
		timeout = -1
		if p.pace.Busy() { // let packets gather, unless a command comes
			fds := [1]unix.PollFd{{Fd: int32(p.queue.FD()), Events: unix.POLLIN}}
			ts := unix.NsecToTimespec(int64(p.pace.Gather(gather)))
			_, _ = unix.Ppoll(fds[:], &ts, nil)
		}
	}
	n, err := unix.EpollWait(p.epoll, p.events, timeout)
	switch err {
	case nil:
		return n
	case unix.EINTR:
		return 0
	default:
		panic("sockets: epoll_wait: " + err.Error()) // only a fault of the program leads here
	}
}

// read handles one batch of a stream and returns the number of its packets.
func (p *poller) read(s *flow.Stream, now time.Time) int {
	defer p.out.survive(s)
	n, err := p.reader.Read(socketOf(s))
	if err != nil {
		return 0 // nothing there, or an ICMP error of an earlier send, which reading has cleared
	}
	for i := range n {
		if p.reader.Truncated(i) {
			s.CountRefused()
			continue
		}
		if !p.out.Room() {
			p.flush()
		}
		s.Handle(p.reader.Packet(i), p.reader.Source(i), now, p.out.Batch)
	}
	p.flush()
	return n
}

// flush sends the batch, packets for the same socket together.
func (p *poller) flush() {
	items := p.out.Datagrams()
	for len(items) > 0 {
		via, bytes, n := items[0].Stream, 0, 0
		for n < len(items) && items[n].Stream == via && !p.writer.Full() {
			p.writer.Add(items[n].Packet, items[n].To)
			bytes += len(items[n].Packet)
			n++
		}
		sent, _ := p.writer.Flush(socketOf(via)) // losses are counted
		if sent < n {
			bytes = bytes * sent / n
		}
		via.CountSent(sent, bytes, n-sent)
		items = items[n:]
	}
	p.out.Reset()
}
