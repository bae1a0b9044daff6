package transaction

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// state is shared by both kinds of transactions.
type state int

const (
	calling    state = iota // client: nothing heard; server: nothing sent
	proceeding              // a provisional response
	accepted                // INVITE only: 2xx (RFC 6026)
	completed               // final response (INVITE: of 300 or more)
	confirmed               // server INVITE: ACK came
	terminated
)

// tryingAfter is when 100 is sent by itself (RFC 3261 §17.2.1).
const tryingAfter = 200 * time.Millisecond

// Server is a server transaction. It implements request.Responder.
type Server struct {
	layer  *Layer
	key    string
	callID string
	req    *sip.Request
	conn   request.Connection

	mu       sync.Mutex
	state    state
	last     *sip.Response
	interval time.Duration // of Timer G
	timer    *time.Timer   // 100, G
	life     *time.Timer   // H, I, J, L
	onCancel func()
	gone     bool // CANCEL came or the caller's connection is lost, before onCancel was set
}

func newServer(l *Layer, key string, req *sip.Request, conn request.Connection) *Server {
	return &Server{layer: l, key: key, callID: request.CallID(req), req: req, conn: conn}
}

func (s *Server) invite() bool { return s.req.Method == sip.INVITE }

func (s *Server) start() {
	if !s.invite() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == calling {
		s.timer = time.AfterFunc(tryingAfter, func() { _ = s.Send(request.NewResponse(s.req, sip.StatusTrying, "Trying")) })
	}
}

// Send implements request.Responder. It returns ErrDone when the transaction has had its final response; further 2xx to
// INVITE pass for 64·T1 (RFC 6026 §7.1).
func (s *Server) Send(res *sip.Response) error {
	s.mu.Lock()
	if !s.advance(res) {
		s.mu.Unlock()
		if res.StatusCode == sip.StatusTrying {
			return nil
		}
		return ErrDone
	}
	s.mu.Unlock()
	s.layer.answers[class(res.StatusCode)].Add(1)
	return s.write(res)
}

// class is the first digit of a status code, 0 for what is none.
func class(code int) int {
	if code < 100 || code > 699 {
		return 0
	}
	return code / 100
}

// advance moves the state machine by a response of the core; the lock is held.
func (s *Server) advance(res *sip.Response) bool {
	l := s.layer
	switch {
	case s.state == accepted && s.invite() && res.IsSuccess():
		return true
	case s.state > proceeding:
		return false
	case res.StatusCode == sip.StatusTrying && s.state == proceeding:
		return false
	}
	s.last = res
	s.halt()
	if res.IsProvisional() {
		s.state = proceeding
		return true
	}
	quiet := s.state == calling
	switch {
	case s.invite() && res.IsSuccess():
		s.state = accepted
		s.expire(l.timers.Timeout()) // Timer L
	case s.invite():
		s.state = completed
		s.expire(l.timers.Timeout()) // Timer H
		// Timer G. A caller who heard no provisional response repeats its INVITE and gets the answer again by that;
		// repeating it unasked would let anyone with a forged source multiply his packets.
		if s.conn.Transport() == request.UDP && !quiet {
			s.interval = l.timers.T1
			s.timer = time.AfterFunc(s.interval, s.resend)
		}
	default:
		s.state = completed
		life := l.timers.Timeout() // Timer J
		if s.conn.Transport().Reliable() {
			life = l.timers.T4 // repeats do happen behind reconnecting gateways
		}
		s.expire(life)
	}
	return true
}

// resend is Timer G.
func (s *Server) resend() {
	s.mu.Lock()
	if s.state != completed {
		s.mu.Unlock()
		return
	}
	s.interval = min(2*s.interval, s.layer.timers.T2)
	s.timer.Reset(s.interval)
	res := s.last
	s.mu.Unlock()
	_ = s.write(res)
}

// repeat answers a retransmitted request with the last response.
func (s *Server) repeat() {
	s.mu.Lock()
	res := s.last
	if s.state == accepted || s.state >= confirmed {
		res = nil // 2xx is repeated by the callee, end to end
	}
	s.mu.Unlock()
	if res != nil {
		_ = s.write(res)
	}
}

// acknowledged takes an ACK with the INVITE's branch; false when it acknowledges a 2xx and is to be forwarded.
func (s *Server) acknowledged() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case accepted:
		return false
	case completed:
		s.halt()
		s.state = confirmed
		life := s.layer.timers.T4 // Timer I
		if s.conn.Transport().Reliable() {
			life = 0
		}
		s.expire(life)
	}
	return true
}

// OnCancel sets what runs, in the call's order, when the INVITE is cancelled or its caller's connection is lost.
func (s *Server) OnCancel(f func()) {
	s.mu.Lock()
	gone := s.gone
	s.onCancel = f
	s.mu.Unlock()
	if gone {
		s.layer.Post(s.callID, func(context.Context) { f() })
	}
}

// cancel reports a CANCEL; without effect once a final response was sent (RFC 3261 §9.2).
func (s *Server) cancel() {
	s.mu.Lock()
	f := s.onCancel
	if s.state > accepted || s.gone {
		f = nil // too late, or told before
	}
	s.gone = s.gone || s.state <= accepted // a 2xx may be on its way to a caller who takes it for void
	s.mu.Unlock()
	if f != nil {
		s.layer.Post(s.callID, func(context.Context) { f() })
	}
}

// connectionLost treats the loss of a browser's connection as CANCEL: nobody could hear an answer. A TCP peer may come
// back by a new connection (RFC 3261 §18.2.2).
func (s *Server) connectionLost() {
	if s.invite() && s.conn.Transport().WebSocket() {
		s.cancel()
	}
}

// write sends by the connection the request came by; if a TCP or TLS one is gone, by a new one to sent-by.
func (s *Server) write(res *sip.Response) error {
	err := s.conn.Send(res)
	if err == nil || s.conn.Transport() == request.UDP || s.conn.Transport().WebSocket() {
		return s.sent(res, err)
	}
	via := s.req.Via()
	port := uint16(via.Port)
	if port == 0 {
		port = s.conn.Transport().DefaultPort()
	}
	ctx, cancel := context.WithTimeout(s.layer.ctx, s.layer.timers.T2)
	defer cancel()
	again, err := s.layer.conns.Reach(ctx, request.Hop{
		Transport: s.conn.Transport(), Addr: netip.AddrPortFrom(s.conn.Remote().Addr(), port), Host: via.Host,
		Listener: s.conn.Listener(),
	})
	if err == nil {
		err = again.Send(res)
	}
	return s.sent(res, err)
}

func (s *Server) sent(res *sip.Response, err error) error {
	if err != nil {
		s.layer.log.Info("response not sent", zap.String("call-id", s.callID), zap.Int("code", res.StatusCode),
			zap.String("connection", string(s.conn.ID())), zap.Error(err))
	}
	return err
}

// expire ends the transaction after d; the lock is held.
func (s *Server) expire(d time.Duration) {
	if s.life != nil {
		s.life.Stop()
	}
	s.life = time.AfterFunc(d, s.end)
}

// halt stops the 100 or G timer; the lock is held.
func (s *Server) halt() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// end removes the transaction.
func (s *Server) end() {
	s.stop()
	l := s.layer
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.servers[s.key] == s {
		delete(l.servers, s.key)
	}
	l.unwatch(s.conn, s)
}

// stop ends the state machine and its timers.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = terminated
	s.halt()
	if s.life != nil {
		s.life.Stop()
	}
}

// Abandon ends a transaction without a response: the sender is not worth one.
func (s *Server) Abandon() { s.end() }
