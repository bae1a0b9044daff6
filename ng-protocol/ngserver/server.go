package ngserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Defaults of Config.
const (
	DefaultWorkers      = 32
	DefaultQueue        = 4096
	DefaultQueueBytes   = 32 << 20
	DefaultCacheEntries = 65536
	DefaultCacheBytes   = 16 << 20
	DefaultConnections  = 256
	DefaultIdleTimeout  = time.Hour
	// CacheTurn is how often the generations of the reply cache swap: a reply
	// is kept for one to two turns. Clients give up repeating long before.
	CacheTurn = 5 * time.Second
)

// Config configures a Server. Handler is required. Without addresses it serves
// what HTTP and WebSocket servers hand it.
type Config struct {
	// Listen holds the addresses to bind. With an unspecified address (0.0.0.0
	// or ::) a reply still leaves from the address that the request was sent to.
	Listen []netip.AddrPort
	// ListenTCP holds the addresses to accept TCP connections on, each a stream
	// of bencoded messages.
	ListenTCP []netip.AddrPort
	Handler   ng.Handler
	// Log is where faults of clients go; nil discards.
	Log *slog.Logger
	// Allow, if set, tells which clients may send; others are dropped unread.
	Allow func(netip.AddrPort) bool
	// Capture, if set, is shown the messages of commands, with their cookies: requests that are executed, and their replies. It must
	// not block or keep the message.
	Capture func(c Captured)

	Workers      int // commands running at a time
	Queue        int // commands waiting or running; more are dropped, so that the client repeats them
	QueueBytes   int // bytes of the messages they came in; more are dropped likewise
	CacheEntries int // replies kept
	CacheBytes   int // bytes of kept replies and cookies
	Connections  int // TCP connections at a time, half of them from one address; more are closed at once

	// IdleTimeout closes a TCP connection on which no message has begun for so
	// long.
	IdleTimeout time.Duration

	// TOS is the IP TOS byte of replies; 0 leaves the system's.
	TOS int
}

// Captured is a message on its way.
type Captured struct {
	Command ng.Command
	CallID  string
	Message []byte
	Client  netip.AddrPort
	Reply   bool // from us to the client
}

// Counters are monotonic.
type Counters struct {
	Received uint64 // messages, over any transport
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
	decoder  ng.Decoder
	rooms    sync.Pool // *[]byte, to write replies in
	cache    *cache
	dispatch *dispatcher
	sockets  []*socket
	streams  []*streamListener

	ctx    context.Context
	cancel context.CancelFunc
	turns  sync.WaitGroup
	start  sync.Once
	stop   sync.Once

	received, repeated, dropped, invalid, panics atomic.Uint64
}

// New binds the sockets. They queue datagrams until Start.
func New(cfg Config) (*Server, error) {
	if cfg.Handler == nil {
		return nil, errors.New("ngserver: no handler")
	}
	for _, d := range []struct{ value, def *int }{
		{&cfg.Workers, new(DefaultWorkers)},
		{&cfg.Queue, new(DefaultQueue)},
		{&cfg.QueueBytes, new(DefaultQueueBytes)},
		{&cfg.CacheEntries, new(DefaultCacheEntries)},
		{&cfg.CacheBytes, new(DefaultCacheBytes)},
		{&cfg.Connections, new(DefaultConnections)},
	} {
		if *d.value <= 0 {
			*d.value = *d.def
		}
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = DefaultIdleTimeout
	}
	s := &Server{cfg: cfg, log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.faults.log = s.log
	s.cache = newCache(cfg.CacheEntries, cfg.CacheBytes)
	s.dispatch = newDispatcher(cfg.Workers, cfg.Queue, cfg.QueueBytes)
	if err := s.bind(); err != nil {
		s.closeSockets()
		s.cancel()
		return nil, fmt.Errorf("ngserver: %w", err)
	}
	return s, nil
}

// bind opens all sockets; those opened before an error stay in s.
func (s *Server) bind() error {
	for _, addr := range s.cfg.Listen {
		sock, err := listen(addr, s.cfg.TOS)
		if err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
		s.sockets = append(s.sockets, sock)
	}
	for _, addr := range s.cfg.ListenTCP {
		l, err := s.listenStream(addr)
		if err != nil {
			return fmt.Errorf("tcp %s: %w", addr, err)
		}
		s.streams = append(s.streams, l)
	}
	return nil
}

func (s *Server) closeSockets() {
	for _, sock := range s.sockets {
		sock.close()
	}
	for _, l := range s.streams {
		l.close()
	}
}

// Addrs are the bound UDP addresses, with the ports that were chosen for port 0.
func (s *Server) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(s.sockets))
	for i, sock := range s.sockets {
		addrs[i] = sock.local
	}
	return addrs
}

// TCPAddrs are the bound TCP addresses.
func (s *Server) TCPAddrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(s.streams))
	for i, l := range s.streams {
		addrs[i] = l.addr()
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
		for _, l := range s.streams {
			l.running.Go(l.accept)
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
		for _, l := range s.streams {
			l.stopReading()
		}
		s.cancel()
		s.dispatch.close()
		for _, sock := range s.sockets {
			sock.readers.Wait()
		}
		s.turns.Wait()
		s.closeSockets()
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

// read receives datagrams until the socket closes, and runs their commands
// until one of them takes so long that another reader takes over.
func (s *Server) read(sock *socket) {
	in := newBatch(sock)
	h := s.dispatch.helper(func() { sock.readers.Go(func() { s.read(sock) }) })
	defer h.stop()
	for {
		n, err := in.receive()
		switch {
		case errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil || sock.stopped.Load():
			return
		case err != nil:
			s.faults.warn("ng receive failed", slog.Any("error", err))
			time.Sleep(time.Millisecond) // a lasting fault must not spin
			continue
		}
		h.announce()
		for i := range n {
			data, peer := in.datagram(i)
			s.datagram(data, peer)
		}
		if !h.help() {
			return
		}
	}
}

// datagram handles one datagram; data is valid during the call only.
func (s *Server) datagram(data []byte, peer destination) {
	if !s.admit(peer.addr, peer) {
		return
	}
	s.received.Add(1)
	s.message(data, peer) // a client that got no answer repeats
}

// admit reports whether addr may send.
func (s *Server) admit(addr netip.AddrPort, peer recipient) bool {
	if s.cfg.Allow == nil || s.cfg.Allow(addr) {
		return true
	}
	s.received.Add(1)
	s.drop("ng client not allowed", peer)
	return false
}

// message handles one message with a cookie, over any transport; data is valid
// during the call only. False means that no answer will come.
func (s *Server) message(data []byte, peer recipient) bool {
	rawCookie, body, err := ng.SplitCookie(data)
	if err != nil {
		s.drop("ng message without cookie", peer)
		return false
	}
	cookie := string(rawCookie)
	state, reply := s.cache.begin(cookie, peer)
	switch state {
	case cacheRunning:
		s.repeated.Add(1)
		return true
	case cacheDone:
		s.repeated.Add(1)
		s.send(reply, peer)
		return true
	case cacheFull:
		s.drop("ng repetition dropped", peer)
		return false
	}
	req, format, err := s.decode(body, peer)
	if err != nil {
		s.finish(cookie, ng.Fail(err), format)
		return true
	}
	s.capture(req, data, false)
	if !s.dispatch.submit(req.CallID, len(body), func() { s.execute(cookie, req, format) }) {
		s.cache.abandon(cookie)
		s.drop("ng queue full", peer)
		return false
	}
	return true
}

// decode reads a body; what is not understood is counted and logged.
func (s *Server) decode(body []byte, peer recipient) (*ng.Request, ng.Format, error) {
	req, format, err := s.decoder.Request(body)
	if err != nil {
		s.invalid.Add(1)
		s.faults.warn("ng request not understood", slog.Any("error", err), slog.String("peer", peer.String()))
		return nil, format, err
	}
	req.Peer = peer.address()
	return req, format, nil
}

// execute runs one command and sends its reply.
func (s *Server) execute(cookie string, req *ng.Request, format ng.Format) {
	s.capture(req, s.finish(cookie, s.handle(req), format), true)
}

func (s *Server) capture(req *ng.Request, message []byte, reply bool) {
	if s.cfg.Capture != nil && len(message) > 0 {
		s.cfg.Capture(Captured{Command: req.Command, CallID: req.CallID, Message: message, Client: req.Peer, Reply: reply})
	}
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

// finish writes the reply into the cache and to all who asked for it. It returns
// the message, nil if there is none.
func (s *Server) finish(cookie string, reply ng.Reply, format ng.Format) []byte {
	message, err := s.encode(cookie, reply, format)
	if err != nil {
		s.cache.abandon(cookie)
		return nil
	}
	for _, peer := range s.cache.complete(cookie, message) {
		s.send(message, peer)
	}
	return message
}

// encode writes a reply behind its cookie, if there is one, within what any
// transport may carry.
func (s *Server) encode(cookie string, reply ng.Reply, format ng.Format) ([]byte, error) {
	room, ok := s.rooms.Get().(*[]byte)
	if !ok {
		room = new([]byte)
	}
	defer s.rooms.Put(room)
	start := append((*room)[:0], cookie...)
	if cookie != "" {
		start = append(start, ' ')
	}
	message, err := ng.AppendReply(start, reply, format)
	if n := len(message) - len(start); err == nil && n > maxReply {
		err = fmt.Errorf("reply of %d bytes is too long", n)
	}
	if err != nil {
		s.log.Error("ng reply not sent", slog.Any("error", err))
		if message, err = ng.AppendReply(start, &ng.Failure{Reason: ng.ReasonInternal}, format); err != nil {
			return nil, err
		}
	}
	if cap(message) <= ng.MaxSize {
		*room = message
	}
	return slices.Clone(message), nil // just as long as it is, since the cache keeps it
}

// recipient is where replies go to. Two are equal if one reply serves both.
type recipient interface {
	deliver(message []byte) error // does not wait for the peer
	String() string               // for the log
	address() netip.AddrPort      // of the client
}

func (s *Server) send(message []byte, peer recipient) {
	if err := peer.deliver(message); err != nil {
		s.faults.warn("ng reply not sent", slog.Any("error", err), slog.String("peer", peer.String()))
	}
}

func (s *Server) drop(why string, peer recipient) {
	s.dropped.Add(1)
	s.faults.warn(why, slog.String("peer", peer.String()))
}
