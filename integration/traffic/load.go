package traffic

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	setUpInFlight = 8
	drainLook     = 20 * time.Millisecond
	drainTime     = time.Second // without a packet, and what is missing is lost
	maxStreams    = 1 << 20
)

// Config of a load.
type Config struct {
	Parties
	Dial  Dialer // to the daemon
	Calls int
	Share int // calls that share a pair of our sockets; 1 for DTLS
	// Place runs a function in the network namespace of a leg; nil = here.
	Place func(leg int, f func() error) error
}

// Load is a number of calls with media. It is not safe for concurrent use.
type Load struct {
	cfg     Config
	calls   []*call
	sockets []*socket // by pairs: of the first legs, of the second legs
	poll    int       // epoll
	sender  *sender
	hearer  *hearer

	hearing sync.WaitGroup
	stop    atomic.Bool
}

// Open sets the calls up.
func Open(cfg Config) (*Load, error) {
	if cfg.Calls < 1 || cfg.Share < 1 || cfg.Calls > maxStreams/2 || cfg.Kind == DTLS && cfg.Share != 1 {
		return nil, fmt.Errorf("traffic: %d calls, %d on a socket, cannot be %s", cfg.Calls, cfg.Share, cfg.Kind)
	}
	l := &Load{cfg: cfg, poll: -1}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Load) open() (err error) {
	if l.cfg.Kind == DTLS {
		if l.cfg.identity, err = newIdentity(); err != nil {
			return err
		}
	}
	if l.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("traffic: epoll: %w", err)
	}
	for i := 0; i < l.cfg.Calls; i += l.cfg.Share {
		for leg := range 2 {
			if err := l.listen(leg); err != nil {
				return err
			}
		}
	}
	calls := make([]*call, l.cfg.Calls)
	for i := range calls {
		pair := 2 * (i / l.cfg.Share)
		calls[i] = newCall(i, [2]uint16{l.sockets[pair].local.Port(), l.sockets[pair+1].local.Port()})
	}
	l.calls = calls
	if err := each(l.cfg.Dial, setUpInFlight, len(calls), func(c *Control, i int) error { return calls[i].establish(c, &l.cfg.Parties, first()) }); err != nil {
		return err
	}
	if l.cfg.Kind == DTLS {
		for i, c := range calls {
			if err := c.handshake(l.sockets[2*i+1], l.cfg.identity); err != nil {
				return err
			}
		}
	}
	l.sender = newSender(l)
	l.hearer = newHearer(l)
	l.hearing.Go(l.hearer.run)
	return nil
}

func (l *Load) listen(leg int) error {
	open := func() error {
		s, err := listen(l.cfg.Address[leg])
		if err != nil {
			return err
		}
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(len(l.sockets))}
		l.sockets = append(l.sockets, s)
		if err := unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, s.fd, &event); err != nil {
			return fmt.Errorf("traffic: epoll: %w", err)
		}
		return nil
	}
	if l.cfg.Place == nil {
		return open()
	}
	return l.cfg.Place(leg, open)
}

// Hangup deletes the calls, with the media still there.
func (l *Load) Hangup() error {
	calls := l.calls
	l.calls = nil
	return each(l.cfg.Dial, setUpInFlight, len(calls), func(c *Control, i int) error { return calls[i].remove(c) })
}

// Close ends the sockets, not the calls.
func (l *Load) Close() error {
	l.stop.Store(true)
	l.hearing.Wait()
	var errs []error
	for _, s := range l.sockets {
		errs = append(errs, s.close())
	}
	l.sockets = nil
	if l.poll >= 0 {
		errs = append(errs, unix.Close(l.poll))
	}
	return errors.Join(errs...)
}

// Result is what one step has shown.
type Result struct {
	Tally
	Latency Latency
	Cost    Cost    // of the measured span
	Packets uint64  // that came in the measured span
	Rate    float64 // packets a second that were sent in the measured span, both directions together
}

// PerPacket is a part of the cost in µs for each packet that was relayed.
func (r *Result) PerPacket(part time.Duration) float64 {
	return float64(part.Nanoseconds()) / 1000 / float64(max(r.Packets, 1))
}

// Run sends rate packets a second, both directions together, for ramp and then for span. The costs are those of span; loss and latency
// those of both. What is under way at the end is waited for.
func (l *Load) Run(rate int, ramp, span time.Duration, meter *Meter) (*Result, error) {
	l.hearer.begin()
	start := l.hearer.heard.Load()
	l.sender.begin(rate)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.sender.run()
	}()
	finish := func() {
		l.sender.stop.Store(true)
		<-done
	}
	time.Sleep(ramp)
	before, err := meter.Read()
	sent, heard := l.sender.sent.Load(), l.hearer.heard.Load()
	if err != nil {
		finish()
		return nil, err
	}
	time.Sleep(span)
	after, err := meter.Read()
	sent, heard = l.sender.sent.Load()-sent, l.hearer.heard.Load()-heard
	finish()
	if err != nil {
		return nil, err
	}
	l.drain(start)
	r := l.hearer.end()
	r.Sent, r.Failed, r.Late = l.sender.sent.Load(), l.sender.failed, l.sender.late
	r.Cost, r.Packets = after.Since(before), heard
	r.Rate = float64(sent) / r.Cost.Time.Seconds()
	return r, nil
}

// drain waits until all that was sent since heard was at since is there, or nothing more arrives: packets may have piled up in the daemon's
// sockets.
func (l *Load) drain(since uint64) {
	last, at := l.hearer.heard.Load(), time.Now()
	for last-since < l.sender.sent.Load() && time.Since(at) < drainTime {
		time.Sleep(drainLook)
		if now := l.hearer.heard.Load(); now != last {
			last, at = now, time.Now()
		}
	}
}
