// Package transaction is the transaction layer of RFC 3261 §17 with the corrections of RFC 6026, for a proxy.
//
// It replaces sipgo's: that one answers a CANCEL's INVITE with 487 by itself, starts a goroutine a message, a transaction
// and an ACK, sleeps four seconds under a lock when a final response is repeated, and takes its timers from package
// variables. Here a transaction is a small state machine without a goroutine of its own; what concerns the proxy core is
// handed over in the order of receipt, one at a time for each Call-ID.
package transaction

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Errors given to Events.Failed and returned by Send.
var (
	// ErrTimeout: no response in time (Timer B or F).
	ErrTimeout = errors.New("no response in time")
	// ErrDone: the transaction takes no such response any more.
	ErrDone = errors.New("transaction is finished")
	// ErrOverload: a bound of the layer is reached.
	ErrOverload = errors.New("too many transactions")
)

// Timers are the base values of RFC 3261 §17.1.1.1; zero values take the RFC's: 500 ms, 4 s, 5 s.
type Timers struct {
	T1, T2, T4 time.Duration
}

func (t Timers) withDefaults() Timers {
	if t.T1 <= 0 {
		t.T1 = 500 * time.Millisecond
	}
	if t.T2 <= 0 {
		t.T2 = 4 * time.Second
	}
	if t.T4 <= 0 {
		t.T4 = 5 * time.Second
	}
	return t
}

// Timeout is 64·T1: Timers B, D, F, H, J, L and M.
func (t Timers) Timeout() time.Duration { return 64 * t.T1 }

// Limits bound the layer; zero values take the defaults named.
type Limits struct {
	// Transactions at a time, of each kind (100000).
	Transactions int
	// Workers run calls' work in parallel (256). Work may wait for the media engine or DNS.
	Workers int
	// PerCall and Total bound messages waiting (128, 65536).
	PerCall, Total int
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Transactions, 100000)
	set(&l.Workers, 256)
	set(&l.PerCall, 128)
	set(&l.Total, 65536)
	return l
}

// User is the proxy core above the layer. Its methods run serialised by Call-ID.
type User interface {
	// Request takes each new request but CANCEL, and each ACK that belongs to no failed INVITE.
	Request(ctx context.Context, r *request.Request)
}

// Gate decides before any state is made whether a message is looked at; it is called on the goroutine that read it and
// must not block.
type Gate interface {
	Admit(conn request.Connection, msg sip.Message) bool
}

// Layer matches messages to transactions. It implements edge.Handler.
type Layer struct {
	timers Timers
	limits Limits
	conns  request.Connections
	gate   Gate
	log    *zap.Logger
	ctx    context.Context
	cancel context.CancelFunc
	work   *serial
	user   User
	lost   func(request.Connection)

	answers [7]atomic.Uint64 // by the first digit of the status code

	mu      sync.Mutex
	closed  bool
	servers map[string]*Server
	clients map[string]*Client
	// users of each stream or WebSocket connection, to be told when it is gone
	byConn map[request.ConnectionID]map[lostConn]struct{}
}

// lostConn is a transaction that wants to know of the end of its connection.
type lostConn interface{ connectionLost() }

// New makes a layer; Start gives it its user.
func New(timers Timers, limits Limits, conns request.Connections, gate Gate, log *zap.Logger) *Layer {
	l := &Layer{
		timers: timers.withDefaults(), limits: limits.withDefaults(), conns: conns, gate: gate, log: log,
		servers: map[string]*Server{}, clients: map[string]*Client{},
		byConn: map[request.ConnectionID]map[lostConn]struct{}{},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.work = newSerial(l.limits.Workers, l.limits.PerCall, l.limits.Total)
	return l
}

// Start sets the user, and a function (may be nil) that is told of each connection that has gone; call it before messages come.
func (l *Layer) Start(user User, lost func(request.Connection)) { l.user, l.lost = user, lost }

// Close ends all transactions and waits for running work.
func (l *Layer) Close() {
	l.cancel()
	l.mu.Lock()
	l.closed = true
	servers, clients := l.servers, l.clients
	l.servers, l.clients = map[string]*Server{}, map[string]*Client{}
	l.byConn = map[request.ConnectionID]map[lostConn]struct{}{}
	l.mu.Unlock()
	for _, s := range servers {
		s.stop()
	}
	for _, c := range clients {
		c.stop()
	}
	l.work.close()
}

// Context ends when the layer is closed.
func (l *Layer) Context() context.Context { return l.ctx }

// Timers are the values in use.
func (l *Layer) Timers() Timers { return l.timers }

// Post runs f in order with everything else of the Call-ID; false when the layer is closed. It is for what comes from
// inside, as timers and the ends of transactions: their number is bounded by what they belong to, and one lost would
// leave its call standing for ever.
func (l *Layer) Post(callID string, f func(ctx context.Context)) bool {
	return l.work.post(callID, func() { l.guarded(callID, f) }, true)
}

// admit is Post for what comes from peers; false also when a queue is full.
func (l *Layer) admit(callID string, f func(ctx context.Context)) bool {
	ok := l.work.post(callID, func() { l.guarded(callID, f) }, false)
	if !ok {
		l.log.Warn("work dropped, queue full", zap.String("call-id", callID))
	}
	return ok
}

// guarded keeps a fault in the handling of one message from ending all other calls.
func (l *Layer) guarded(callID string, f func(ctx context.Context)) {
	defer func() {
		if fault := recover(); fault != nil {
			l.log.Error("panic while handling a message", zap.String("call-id", callID), zap.Any("panic", fault), zap.Stack("stack"))
		}
	}()
	f(l.ctx)
}

// Count is the number of transactions held, server and client ones.
func (l *Layer) Count() (servers, clients int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.servers), len(l.clients)
}

// Answers is how many responses server transactions have sent since the start, by the first digit of their status code, repetitions not
// counted.
func (l *Layer) Answers() (counts [7]uint64) {
	for i := range counts {
		counts[i] = l.answers[i].Load()
	}
	return counts
}

// Receive implements edge.Handler.
func (l *Layer) Receive(conn request.Connection, msg sip.Message, at time.Time) {
	if l.gate != nil && !l.gate.Admit(conn, msg) {
		return
	}
	switch m := msg.(type) {
	case *sip.Request:
		addReceived(m, conn)
		switch m.Method {
		case sip.ACK:
			l.ack(conn, m, at)
		case sip.CANCEL:
			l.cancelled(conn, m)
		default:
			l.request(conn, m, at)
		}
	case *sip.Response:
		l.response(m)
	}
}

// Malformed implements edge.Handler: 400 without state (RFC 3261 §16.3), and over UDP never more bytes than came.
func (l *Layer) Malformed(conn request.Connection, req *sip.Request, reason string) {
	if req.Method == sip.ACK || (l.gate != nil && !l.gate.Admit(conn, req)) {
		return
	}
	l.log.Info("malformed request", zap.String("call-id", request.CallID(req)), zap.Stringer("source", conn.Remote()),
		zap.String("method", string(req.Method)), zap.String("reason", reason))
	l.stateless(conn, req, sip.StatusBadRequest, reason)
}

// stateless answers without a transaction.
func (l *Layer) stateless(conn request.Connection, req *sip.Request, code int, reason string) {
	size := len(req.String())
	addReceived(req, conn)
	res := request.NewResponse(req, code, reason)
	if conn.Transport() == request.UDP && !l.trusts(conn) && len(res.String()) > size {
		if slim(res); len(res.String()) > size {
			return
		}
	}
	if err := conn.Send(res); err != nil {
		l.log.Debug("response not sent", zap.String("call-id", request.CallID(req)), zap.Error(err))
	}
}

// trusts reports a peer that the gate knows, whose address is not forged.
func (l *Layer) trusts(conn request.Connection) bool {
	g, ok := l.gate.(interface {
		Trusts(conn request.Connection) bool
	})
	return ok && g.Trusts(conn)
}

// slim makes a response as short as it may be: the source of a datagram may be forged, and whom it hits should not get more
// than was sent.
func slim(res *sip.Response) {
	res.Reason = "No"
	for _, h := range []struct{ long, short string }{{"Call-ID", "i"}, {"From", "f"}, {"To", "t"}} {
		if v := request.Header(res, h.long); v != "" {
			for res.RemoveHeader(h.long) {
			}
			res.AppendHeader(sip.NewHeader(h.short, v))
		}
	}
}

// Closed implements edge.Handler: transactions on the connection fail at once instead of timing out.
func (l *Layer) Closed(conn request.Connection) {
	l.mu.Lock()
	users := l.byConn[conn.ID()]
	delete(l.byConn, conn.ID())
	l.mu.Unlock()
	for u := range users {
		u.connectionLost()
	}
	if l.lost != nil {
		l.lost(conn)
	}
}

// watch enters a transaction as user of its connection; the layer's lock is held.
func (l *Layer) watch(conn request.Connection, u lostConn) {
	if conn == nil || conn.Transport() == request.UDP {
		return
	}
	if l.byConn[conn.ID()] == nil {
		l.byConn[conn.ID()] = map[lostConn]struct{}{}
	}
	l.byConn[conn.ID()][u] = struct{}{}
}

func (l *Layer) unwatch(conn request.Connection, u lostConn) {
	if conn == nil || conn.Transport() == request.UDP {
		return
	}
	if users := l.byConn[conn.ID()]; users != nil {
		delete(users, u)
		if len(users) == 0 {
			delete(l.byConn, conn.ID())
		}
	}
}

func (l *Layer) request(conn request.Connection, req *sip.Request, at time.Time) {
	key := serverKey(req, req.Method)
	l.mu.Lock()
	if tx := l.servers[key]; tx != nil {
		l.mu.Unlock()
		tx.repeat()
		return
	}
	if l.closed || len(l.servers) >= l.limits.Transactions {
		l.mu.Unlock()
		l.overload(conn, req)
		return
	}
	tx := newServer(l, key, req, conn)
	l.servers[key] = tx
	l.watch(conn, tx)
	l.mu.Unlock()
	tx.start()
	r := l.build(conn, req, at)
	r.Responder = tx
	if !l.admit(tx.callID, func(ctx context.Context) { l.user.Request(ctx, r) }) {
		tx.end()
		l.overload(conn, req)
	}
}

func (l *Layer) overload(conn request.Connection, req *sip.Request) {
	l.log.Warn("request refused, overload", zap.String("call-id", request.CallID(req)), zap.Stringer("source", conn.Remote()))
	if conn.Transport() != request.UDP {
		l.stateless(conn, req, sip.StatusServiceUnavailable, "Overload")
	}
}

// build makes the request in flight.
func (l *Layer) build(conn request.Connection, req *sip.Request, at time.Time) *request.Request {
	r := &request.Request{
		Msg: request.Clone(req), Original: req, Conn: conn, Source: conn.Remote(), Received: at,
		Profile: conn.Profile(), InDialog: request.ToTag(req) != "", Responder: noResponse{},
	}
	// Most requests have nothing to log, so the fields are made when the first line is.
	r.Log = l.log.WithLazy(zap.Stringer("call-id", callID{req}), zap.Stringer("from-tag", fromTag{req}), zap.String("method", string(req.Method)))
	return r
}

// callID and fromTag read their values when they are asked for.
type (
	callID  struct{ req *sip.Request }
	fromTag struct{ req *sip.Request }
)

func (c callID) String() string  { return request.CallID(c.req) }
func (f fromTag) String() string { return request.FromTag(f.req) }

// noResponse is the responder of ACK, which has no response.
type noResponse struct{}

func (noResponse) Send(*sip.Response) error { return nil }

// ack swallows the ACK of a failed INVITE, which is hop by hop, and hands on the one of a 2xx (RFC 3261 §17.1.1.3).
func (l *Layer) ack(conn request.Connection, req *sip.Request, at time.Time) {
	l.mu.Lock()
	tx := l.servers[serverKey(req, sip.INVITE)]
	l.mu.Unlock()
	if tx != nil && tx.acknowledged() {
		return
	}
	r := l.build(conn, req, at)
	l.admit(request.CallID(req), func(ctx context.Context) { l.user.Request(ctx, r) })
}

// cancelled answers CANCEL at once and tells the INVITE's owner (RFC 3261 §9.2, §16.10).
func (l *Layer) cancelled(conn request.Connection, req *sip.Request) {
	l.mu.Lock()
	tx := l.servers[serverKey(req, sip.INVITE)]
	l.mu.Unlock()
	if tx == nil || tx.callID != request.CallID(req) || request.FromTag(tx.req) != request.FromTag(req) {
		l.stateless(conn, req, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist")
		return
	}
	if err := conn.Send(request.NewResponse(req, sip.StatusOK, "OK")); err != nil {
		l.log.Debug("200 to CANCEL not sent", zap.String("call-id", tx.callID), zap.Error(err))
	}
	tx.cancel()
}

func (l *Layer) response(res *sip.Response) {
	_, method := request.CSeq(res)
	l.mu.Lock()
	tx := l.clients[clientKey(request.ViaBranch(res), method)]
	l.mu.Unlock()
	if tx == nil || !sameSender(tx.req.Via(), res.Via()) {
		// RFC 6026 §8.9: stray responses are dropped, also those of our branch whose sender is not us (RFC 3261 §18.1.2).
		l.log.Debug("stray response dropped", zap.String("call-id", request.CallID(res)), zap.Int("code", res.StatusCode))
		return
	}
	tx.receive(res)
}

// sameSender reports that a response has the sent-by that its request had.
func sameSender(ours, theirs *sip.ViaHeader) bool {
	return theirs != nil && ours.Port == theirs.Port && strings.EqualFold(strings.Trim(ours.Host, "[]"), strings.Trim(theirs.Host, "[]"))
}

// clientKey follows RFC 3261 §17.1.3.
func clientKey(branch string, method sip.RequestMethod) string {
	return branch + "|" + string(method)
}

// serverKey follows RFC 3261 §17.2.3, with the rules for RFC 2543 peers when the branch has no magic cookie.
func serverKey(req *sip.Request, method sip.RequestMethod) string {
	via := req.Via()
	branch := request.ViaBranch(req)
	if len(branch) > len(sip.RFC3261BranchMagicCookie) &&
		strings.EqualFold(branch[:len(sip.RFC3261BranchMagicCookie)], sip.RFC3261BranchMagicCookie) {
		return branch + "|" + strings.ToLower(via.Host) + "|" + strconv.Itoa(via.Port) + "|" + string(method)
	}
	seq, _ := request.CSeq(req)
	return "2543|" + request.CallID(req) + "|" + request.FromTag(req) + "|" + strconv.FormatUint(uint64(seq), 10) + "|" +
		req.Recipient.String() + "|" + via.Host + "|" + strconv.Itoa(via.Port) + "|" + branch + "|" + string(method)
}

// addReceived puts the source into the topmost Via (RFC 3261 §18.2.1, RFC 3581 §4). By UDP rport is filled in even when it
// was not asked for: responses go to the source anyway.
func addReceived(req *sip.Request, conn request.Connection) {
	via := req.Via()
	source := conn.Remote()
	ip := source.Addr().WithZone("").String()
	host, err := netip.ParseAddr(strings.Trim(via.Host, "[]"))
	asked := false
	var keep sip.HeaderParams
	for _, kv := range via.Params {
		switch {
		case strings.EqualFold(kv.K, "rport"):
			asked = true
		case strings.EqualFold(kv.K, "received"): // only the hop that receives may say so
		default:
			keep = append(keep, kv)
		}
	}
	if conn.Transport() == request.UDP {
		asked = true
	}
	if asked || err != nil || host != source.Addr().WithZone("") {
		keep = append(keep, sip.HeaderKV{K: "received", V: ip})
	}
	if asked {
		keep = append(keep, sip.HeaderKV{K: "rport", V: strconv.Itoa(int(source.Port()))})
	}
	via.Params = keep
}
