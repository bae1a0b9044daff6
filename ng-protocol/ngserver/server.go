package ngserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Defaults of Config.
const (
	DefaultWorkers      = 32
	DefaultQueue        = 4096
	DefaultCacheEntries = 65536
	DefaultCacheBytes   = 64 << 20
	// CacheTurn is how often the generations of the reply cache swap: a reply
	// is kept for one to two turns.
	CacheTurn = 30 * time.Second
)

// Config configures a Server. Handler and at least one address are required.
type Config struct {
	// Listen holds the addresses to bind. With an unspecified address (0.0.0.0
	// or ::) a reply still leaves from the address that the request was sent to.
	Listen  []netip.AddrPort
	Handler ng.Handler
	// Log is where faults of clients go; nil discards.
	Log *slog.Logger
	// Allow, if set, tells which clients may send; others are dropped unread.
	Allow func(netip.AddrPort) bool

	Workers      int // commands running at a time
	Queue        int // commands waiting or running; more are dropped, so that the client repeats them
	CacheEntries int // replies kept
	CacheBytes   int // bytes of kept replies and cookies

	// TOS is the IP TOS byte of replies; 0 leaves the system's.
	TOS int
}

// Counters are monotonic.
type Counters struct {
	Received uint64 // datagrams
	Repeated uint64 // answered from the cache, or joined to a running command
	Dropped  uint64 // without an answer: no cookie, not allowed, or no room
	Invalid  uint64 // answered with an error because the body was not understood
	Panics   uint64 // handler panics
}

// Server answers ng requests. Make it with New, then Start, then Close.
type Server struct {
	cfg      Config
	log      *slog.Logger
	faults   limitedLog
	cache    *cache
	dispatch *dispatcher
	sockets  []*socket

	ctx    context.Context
	cancel context.CancelFunc
	turns  sync.WaitGroup
	start  sync.Once
	stop   sync.Once

	received, repeated, dropped, invalid, panics atomic.Uint64
}

// New binds the sockets. They queue datagrams until Start.
func New(cfg Config) (*Server, error) {
	if cfg.Handler == nil || len(cfg.Listen) == 0 {
		return nil, errors.New("ngserver: no handler or no address")
	}
	for _, d := range []struct{ value, def *int }{
		{&cfg.Workers, new(DefaultWorkers)},
		{&cfg.Queue, new(DefaultQueue)},
		{&cfg.CacheEntries, new(DefaultCacheEntries)},
		{&cfg.CacheBytes, new(DefaultCacheBytes)},
	} {
		if *d.value <= 0 {
			*d.value = *d.def
		}
	}
	s := &Server{cfg: cfg, log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.faults.log = s.log
	s.cache = newCache(cfg.CacheEntries, cfg.CacheBytes)
	s.dispatch = newDispatcher(cfg.Workers, cfg.Queue)
	for _, addr := range cfg.Listen {
		sock, err := listen(addr, cfg.TOS)
		if err != nil {
			for _, open := range s.sockets {
				open.close()
			}
			s.cancel()
			return nil, fmt.Errorf("ngserver: %s: %w", addr, err)
		}
		s.sockets = append(s.sockets, sock)
	}
	return s, nil
}

// Addrs are the bound addresses, with the ports that were chosen for port 0.
func (s *Server) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(s.sockets))
	for i, sock := range s.sockets {
		addrs[i] = sock.local
	}
	return addrs
}

// Counters returns the counters.
func (s *Server) Counters() Counters {
	return Counters{
		Received: s.received.Load(),
		Repeated: s.repeated.Load(),
		Dropped:  s.dropped.Load(),
		Invalid:  s.invalid.Load(),
		Panics:   s.panics.Load(),
	}
}

// Start begins to serve.
func (s *Server) Start() {
	s.start.Do(func() {
		s.dispatch.start()
		for _, sock := range s.sockets {
			sock.readers.Go(func() { s.read(sock) })
		}
		s.turns.Go(s.turnCache)
	})
}

// Close stops reading, cancels the context of running commands, waits for them,
// sends their replies and closes the sockets. Waiting commands are dropped.
func (s *Server) Close() error {
	s.stop.Do(func() {
		s.start.Do(func() {}) // a closed server does not start
		for _, sock := range s.sockets {
			sock.stopReading()
		}
		s.cancel()
		s.dispatch.close()
		s.turns.Wait()
		for _, sock := range s.sockets {
			sock.close()
		}
	})
	return nil
}

func (s *Server) turnCache() {
	ticker := time.NewTicker(CacheTurn)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			s.cache.turn()
		}
	}
}

// read receives datagrams until the socket closes.
func (s *Server) read(sock *socket) {
	buf := make([]byte, ng.MaxSize+1)
	oob := make([]byte, oobSize)
	for {
		n, peer, err := sock.receive(buf, oob)
		switch {
		case errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil || sock.stopped.Load():
			return
		case err != nil:
			s.faults.warn("ng receive failed", slog.Any("error", err))
			time.Sleep(time.Millisecond) // a lasting fault must not spin
			continue
		}
		s.datagram(buf[:n], peer)
	}
}

// datagram handles one datagram; data is valid during the call only.
func (s *Server) datagram(data []byte, peer destination) {
	s.received.Add(1)
	if s.cfg.Allow != nil && !s.cfg.Allow(peer.addr) {
		s.drop("ng client not allowed", peer)
		return
	}
	rawCookie, body, err := ng.SplitCookie(data)
	if err != nil {
		s.drop("ng datagram without cookie", peer)
		return
	}
	cookie := string(rawCookie)
	state, reply := s.cache.begin(cookie, peer)
	switch state {
	case cacheRunning:
		s.repeated.Add(1)
		return
	case cacheDone:
		s.repeated.Add(1)
		s.send(reply, peer)
		return
	case cacheFull:
		s.drop("ng repetition dropped", peer)
		return
	}
	req, format, err := ng.DecodeRequest(body)
	if err != nil {
		s.invalid.Add(1)
		s.faults.warn("ng request not understood", slog.Any("error", err), slog.String("peer", peer.addr.String()))
		s.finish(cookie, ng.Fail(err), format)
		return
	}
	if !s.dispatch.submit(req.CallID, func() { s.execute(cookie, req, format) }) {
		s.cache.abandon(cookie)
		s.drop("ng queue full", peer)
	}
}

// execute runs one command and sends its reply.
func (s *Server) execute(cookie string, req *ng.Request, format ng.Format) {
	s.finish(cookie, s.handle(req), format)
}

// handle calls the handler; a panic becomes an error reply.
func (s *Server) handle(req *ng.Request) (reply ng.Reply) {
	defer func() {
		if fault := recover(); fault != nil {
			s.panics.Add(1)
			s.log.Error("ng handler panic", slog.String("command", string(req.Command)),
				slog.String("call-id", req.CallID), slog.Any("panic", fault), slog.String("stack", stack()))
			reply = &ng.Failure{Reason: ng.ReasonInternal}
		}
	}()
	if reply = s.cfg.Handler.Handle(s.ctx, req); reply == nil {
		reply = &ng.Failure{Reason: ng.ReasonInternal}
	}
	return reply
}

// finish writes the reply into the cache and to all who asked for it.
func (s *Server) finish(cookie string, reply ng.Reply, format ng.Format) {
	body, err := ng.EncodeReply(reply, format)
	if err == nil && len(cookie)+1+len(body) > maxReply {
		err = fmt.Errorf("reply of %d bytes does not fit a datagram", len(body))
	}
	if err != nil {
		s.log.Error("ng reply not sent", slog.Any("error", err))
		if body, err = ng.EncodeReply(&ng.Failure{Reason: ng.ReasonInternal}, format); err != nil {
			s.cache.abandon(cookie)
			return
		}
	}
	message := make([]byte, 0, len(cookie)+1+len(body))
	message = append(append(append(message, cookie...), ' '), body...)
	for _, peer := range s.cache.complete(cookie, message) {
		s.send(message, peer)
	}
}

func (s *Server) send(message []byte, peer destination) {
	if err := peer.send(message); err != nil {
		s.faults.warn("ng reply not sent", slog.Any("error", err), slog.String("peer", peer.addr.String()))
	}
}

func (s *Server) drop(why string, peer destination) {
	s.dropped.Add(1)
	s.faults.warn(why, slog.String("peer", peer.addr.String()))
}
