package transaction

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quick = Timers{T1: 10 * time.Millisecond, T2: 40 * time.Millisecond, T4: 40 * time.Millisecond}

// path is a connection that keeps what is sent.
type path struct {
	transport request.Transport
	mu        sync.Mutex
	sent      []string
	closed    chan struct{}
}

func newPath(t request.Transport) *path { return &path{transport: t, closed: make(chan struct{})} }

func (p *path) ID() request.ConnectionID     { return "path" }
func (p *path) Transport() request.Transport { return p.transport }
func (p *path) Local() netip.AddrPort        { return netip.MustParseAddrPort("127.0.0.1:5060") }
func (p *path) Remote() netip.AddrPort       { return netip.MustParseAddrPort("127.0.0.2:5061") }
func (p *path) Listener() string             { return "l" }
func (p *path) SentBy() string               { return "127.0.0.1:5060" }
func (p *path) Profile() string              { return "sip" }
func (p *path) Dialled() bool                { return false }
func (p *path) Closed() <-chan struct{}      { return p.closed }

func (p *path) Send(m sip.Message) error {
	line, _, _ := strings.Cut(m.String(), "\r\n")
	_, method := request.CSeq(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, line+" ("+string(method)+")")
	return nil
}

// count is how many sent start lines begin so.
func (p *path) count(prefix string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, line := range p.sent {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// core is a User made of a function.
type core func(ctx context.Context, r *request.Request)

func (c core) Request(ctx context.Context, r *request.Request) { c(ctx, r) }

func newLayer(t *testing.T, limits Limits, user core) *Layer {
	t.Helper()
	l := New(quick, limits, nil, nil, zap.NewNop())
	l.Start(user, nil)
	t.Cleanup(l.Close)
	return l
}

func incoming(t *testing.T, method, callID, branch string) *sip.Request {
	t.Helper()
	msg, err := sip.ParseMessage([]byte(fmt.Sprintf("%s sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5061;branch=z9hG4bK%s\r\n"+
		"From: <sip:x@y>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: %s\r\nCSeq: 1 %s\r\nMax-Forwards: 70\r\n"+
		"User-Agent: one of usual length, so that an answer is not larger than its question\r\nContent-Length: 0\r\n\r\n", method, branch, callID, method)))
	if err != nil {
		t.Fatal(err)
	}
	return msg.(*sip.Request)
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Second); !check(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// CANCEL is answered, and the INVITE is left to the core: the callee may have answered meanwhile.
func TestCancelMakesUpNoFinalResponse(t *testing.T) {
	var tx atomic.Pointer[Server]
	cancelled := make(chan struct{})
	l := newLayer(t, Limits{}, func(_ context.Context, r *request.Request) {
		s := r.Responder.(*Server)
		s.OnCancel(func() { close(cancelled) })
		tx.Store(s)
		_ = r.Respond(180, "Ringing")
	})
	p := newPath(request.UDP)
	l.Receive(p, incoming(t, "INVITE", "c", "1"), time.Now())
	eventually(t, "no 180", func() bool { return p.count("SIP/2.0 180") == 1 })
	l.Receive(p, incoming(t, "CANCEL", "c", "1"), time.Now())
	select {
	case <-cancelled:
	case <-time.After(3 * time.Second):
		t.Fatal("the core is not told")
	}
	if p.count("SIP/2.0 200 OK (CANCEL)") != 1 || p.count("SIP/2.0 487") != 0 {
		t.Fatalf("sent: %q", p.sent)
	}
	if err := tx.Load().Send(request.NewResponse(incoming(t, "INVITE", "c", "1"), 200, "OK")); err != nil {
		t.Errorf("a 200 that crosses the CANCEL: %v", err)
	}
	if p.count("SIP/2.0 200 OK (INVITE)") != 1 {
		t.Errorf("sent: %q", p.sent)
	}
	stray := newPath(request.UDP)
	l.Receive(stray, incoming(t, "CANCEL", "other", "2"), time.Now())
	if stray.count("SIP/2.0 481") != 1 {
		t.Errorf("sent: %q", stray.sent)
	}
}

// However many requests wait for a slow core, the goroutines, the queues and the transactions stay within their bounds.
func TestFloodIsBounded(t *testing.T) {
	release := make(chan struct{})
	var served atomic.Int64
	l := newLayer(t, Limits{Transactions: 500, Workers: 8, Total: 200, PerCall: 5}, func(_ context.Context, r *request.Request) {
		<-release
		served.Add(1)
		_ = r.Respond(200, "OK")
	})
	before := runtime.NumGoroutine()
	p := newPath(request.UDP)
	for i := range 5000 {
		l.Receive(p, incoming(t, "OPTIONS", fmt.Sprint(i), fmt.Sprint(i)), time.Now())
	}
	if grown := runtime.NumGoroutine() - before; grown > 8 {
		t.Errorf("%d goroutines for 5000 requests", grown)
	}
	if servers, _ := l.Count(); servers > 500 {
		t.Errorf("%d transactions", servers)
	}
	close(release)
	eventually(t, "what was accepted is not served", func() bool { return int(served.Load()) == p.count("SIP/2.0 200") && served.Load() >= 200 })
	eventually(t, "workers without work", func() bool { return runtime.NumGoroutine() <= before })
	eventually(t, "transactions do not end", func() bool { s, c := l.Count(); return s+c == 0 })
}

// A call's messages reach the core in the order of receipt; those of others run beside it.
func TestOrderWithinACall(t *testing.T) {
	var mu sync.Mutex
	order := map[string][]string{}
	slow := make(chan struct{})
	l := newLayer(t, Limits{}, func(_ context.Context, r *request.Request) {
		if r.CallID() == "slow" {
			<-slow
		}
		mu.Lock()
		order[r.CallID()] = append(order[r.CallID()], request.ViaBranch(r.Msg))
		mu.Unlock()
		_ = r.Respond(200, "OK")
	})
	p := newPath(request.UDP)
	l.Receive(p, incoming(t, "INFO", "slow", "s"), time.Now())
	for i := range 100 {
		l.Receive(p, incoming(t, "INFO", "call", fmt.Sprintf("%03d", i)), time.Now())
	}
	eventually(t, "held up by another call", func() bool { mu.Lock(); defer mu.Unlock(); return len(order["call"]) == 100 })
	close(slow)
	mu.Lock()
	defer mu.Unlock()
	for i, branch := range order["call"] {
		if branch != fmt.Sprintf("z9hG4bK%03d", i) {
			t.Fatalf("%s comes as number %d", branch, i)
		}
	}
}

func TestRepeatedRequestIsAbsorbed(t *testing.T) {
	var seen atomic.Int64
	l := newLayer(t, Limits{}, func(_ context.Context, r *request.Request) {
		seen.Add(1)
		_ = r.Respond(486, "Busy Here")
	})
	p := newPath(request.UDP)
	l.Receive(p, incoming(t, "INVITE", "c", "1"), time.Now())
	eventually(t, "no 486", func() bool { return p.count("SIP/2.0 486") >= 1 })
	l.Receive(p, incoming(t, "INVITE", "c", "1"), time.Now())
	if p.count("SIP/2.0 486") < 2 || seen.Load() != 1 {
		t.Errorf("sent %q, core called %d times", p.sent, seen.Load())
	}
	l.Receive(p, incoming(t, "ACK", "c", "1"), time.Now())
	time.Sleep(20 * time.Millisecond)
	if seen.Load() != 1 {
		t.Error("the ACK of a failure reached the core")
	}
	eventually(t, "the transaction does not end", func() bool { s, _ := l.Count(); return s == 0 })
}

// outcome collects what a client transaction tells.
type outcome struct {
	mu    sync.Mutex
	codes []int
	err   error
}

func (o *outcome) Response(_ context.Context, res *sip.Response) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.codes = append(o.codes, res.StatusCode)
}

func (o *outcome) Failed(_ context.Context, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

func (o *outcome) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func TestClientTransactions(t *testing.T) {
	l := newLayer(t, Limits{}, nil)
	p, silent := newPath(request.UDP), &outcome{}
	if _, err := l.Begin(incoming(t, "INVITE", "c", "1"), p, silent); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Timer B", func() bool { return silent.failed() != nil })
	if n := p.count("INVITE"); n != 7 { // RFC 3261 §17.1.1.2: at 0, 1, 3, 7, 15, 31 and 63 T1
		t.Errorf("sent %d times", n)
	}
	answered := &outcome{}
	req := incoming(t, "INVITE", "c", "2")
	if _, err := l.Begin(req, p, answered); err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{180, 200, 200} {
		l.Receive(p, request.NewResponse(req, code, "X"), time.Now())
	}
	eventually(t, "each 2xx goes up (RFC 6026)", func() bool { answered.mu.Lock(); defer answered.mu.Unlock(); return len(answered.codes) == 3 })
	busy := &outcome{}
	req = incoming(t, "INVITE", "c", "3")
	if _, err := l.Begin(req, p, busy); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l.Receive(p, request.NewResponse(req, 486, "Busy"), time.Now())
	}
	eventually(t, "each failure is acknowledged, one goes up", func() bool {
		busy.mu.Lock()
		defer busy.mu.Unlock()
		return p.count("ACK") == 2 && len(busy.codes) == 1
	})
	stream, lost := newPath(request.WSS), &outcome{}
	if _, err := l.Begin(incoming(t, "INVITE", "c", "4"), stream, lost); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.Closed(stream)
	eventually(t, "a lost connection fails its transactions", func() bool { return lost.failed() != nil })
	if time.Since(began) > 200*time.Millisecond {
		t.Error("not at once")
	}
	eventually(t, "transactions do not end", func() bool { s, c := l.Count(); return s+c == 0 })
}

// A full queue refuses what peers send, but never the end of a transaction: its owner would wait for ever.
func TestFullQueueLosesNoEnd(t *testing.T) {
	release := make(chan struct{})
	l := newLayer(t, Limits{PerCall: 2}, func(_ context.Context, r *request.Request) {
		<-release
		_ = r.Respond(200, "OK")
	})
	p := newPath(request.TCP)
	l.Receive(p, incoming(t, "INFO", "c", "1"), time.Now())
	answered, silent := &outcome{}, &outcome{}
	req := incoming(t, "OPTIONS", "c", "out1")
	if _, err := l.Begin(req, p, answered); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Begin(incoming(t, "OPTIONS", "c", "out2"), p, silent); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		l.Receive(p, incoming(t, "INFO", "c", fmt.Sprint("more", i)), time.Now())
	}
	if p.count("SIP/2.0 503") == 0 {
		t.Fatal("the queue is not full")
	}
	l.Receive(p, request.NewResponse(req, 200, "OK"), time.Now())
	time.Sleep(quick.Timeout() + 50*time.Millisecond) // Timer F of the other one
	close(release)
	eventually(t, "the final response is lost", func() bool { answered.mu.Lock(); defer answered.mu.Unlock(); return len(answered.codes) == 1 })
	eventually(t, "the timeout is lost", func() bool { return silent.failed() != nil })
	eventually(t, "transactions do not end", func() bool { s, c := l.Count(); return s+c == 0 })
}
