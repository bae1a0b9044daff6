package report

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

const (
	// queueLength is the number of reports that may wait.
	queueLength = 1024
	// maxPacket is the size of the largest RTCP packet or ng message that is passed on, in bytes.
	maxPacket = 8192
)

// Config says who is told what. The zero value tells nobody anything.
type Config struct {
	// Events is where telephone events go by UDP (rtpengine: dtmf-log-dest).
	Events netip.AddrPort
	// Notify hands telephone events to the ng clients that are connected (dtmf-log-ng-tcp), nil for none. It must not block for long.
	Notify func(ng.Dict)
	// Homer is the capture server.
	Homer Homer
	// Lines of syslog: call detail records, telephone events and RTCP (log-facility-cdr, -dtmf and -rtcp), nil for none.
	CDR, Event, RTCP func(line string)
	Log              *zap.Logger
}

// Reporter tells them. Its methods do not block and may be called from any goroutine; those of a nil Reporter do nothing.
type Reporter struct {
	cfg    Config
	events *net.UDPConn // nil without cfg.Events
	homer  *homer       // nil without cfg.Homer

	queue   chan item
	buffers sync.Pool // of *[maxPacket]byte
	lost    atomic.Uint64
	stop    chan struct{}
	done    sync.WaitGroup
	closing sync.Once
}

// item is one report in the queue; one of its parts is set.
type item struct {
	event  *Event
	record *Record
	packet *[maxPacket]byte
	length int
	about  packet
}

// New starts a reporter. Nothing is sent yet, so only addresses that make no sense are errors.
func New(cfg Config) (*Reporter, error) {
	r := &Reporter{cfg: cfg, queue: make(chan item, queueLength), stop: make(chan struct{})}
	r.buffers.New = func() any { return new([maxPacket]byte) }
	if cfg.Events.IsValid() {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(cfg.Events))
		if err != nil {
			return nil, err
		}
		r.events = c
	}
	if cfg.Homer.Address.IsValid() {
		r.homer = &homer{Homer: cfg.Homer, log: cfg.Log}
	}
	r.done.Add(1)
	go r.run()
	return r, nil
}

// Close sends what is queued, ends and waits for it.
func (r *Reporter) Close() error {
	if r == nil {
		return nil
	}
	var err error
	r.closing.Do(func() {
		close(r.stop)
		r.done.Wait()
		if r.events != nil {
			err = errors.Join(err, r.events.Close())
		}
		if r.homer != nil {
			err = errors.Join(err, r.homer.close())
		}
	})
	return err
}

// Lost is the number of reports that did not fit into the queue.
func (r *Reporter) Lost() uint64 {
	if r == nil {
		return 0
	}
	return r.lost.Load()
}

func (r *Reporter) enqueue(i item) {
	select {
	case r.queue <- i:
	default:
		r.lost.Add(1)
		r.release(i)
	}
}

func (r *Reporter) release(i item) {
	if i.packet != nil {
		r.buffers.Put(i.packet)
	}
}

// lossInterval is how often losses are told.
const lossInterval = time.Minute

func (r *Reporter) run() {
	defer r.done.Done()
	t := time.NewTicker(lossInterval)
	defer t.Stop()
	var told uint64
	for {
		select {
		case i := <-r.queue:
			r.handle(i)
		case <-t.C:
			if n := r.lost.Load(); n != told {
				r.cfg.Log.Warn("reports lost: the queue was full", zap.Uint64("since start", n), zap.Uint64("before", told))
				told = n
			}
		case <-r.stop:
			for len(r.queue) > 0 {
				r.handle(<-r.queue)
			}
			return
		}
	}
}

func (r *Reporter) handle(i item) {
	defer r.release(i)
	switch {
	case i.event != nil:
		r.tell(i.event)
	case i.record != nil:
		r.cfg.CDR(oneLine(i.record.line()))
	case i.about.kind == kindRTCP:
		pkt := i.packet[:i.length]
		if r.cfg.RTCP != nil {
			r.cfg.RTCP(oneLine("[" + i.about.callID + "] " + rtcpLine(pkt)))
		}
		if r.homer != nil && !r.cfg.Homer.NoRTCP {
			if text := rtcpJSON(pkt); text != nil {
				r.homer.send(i.about, protocolRTCP, text)
			}
		}
	case r.homer != nil:
		r.homer.send(i.about, r.cfg.Homer.NGProtocol, i.packet[:i.length])
	}
}

// oneLine replaces control characters, which names from SIP could bring into a line.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '_'
		}
		return c
	}, s)
}
