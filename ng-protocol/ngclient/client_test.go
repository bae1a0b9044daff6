package ngclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func newCall(id string) *ng.Request { return &ng.Request{CallID: id, FromTag: "f", SDP: "v=0\r\n"} }

// callOn finds a call-id whose hash puts it on the node first.
func callOn(t *testing.T, c *Client, node, prefix string) string {
	t.Helper()
	for i := range 10000 {
		id := fmt.Sprint(prefix, i)
		if c.ranked(id)[0].Address() == node {
			return id
		}
	}
	t.Fatal("no call-id for " + node)
	return ""
}

func TestCommands(t *testing.T) {
	for _, format := range []ng.Format{ng.FormatBencode, ng.FormatJSON} {
		a, b := launch(t, ""), launch(t, "")
		c := connect(t, func(cfg *Config) { cfg.Format = format }, a.addr, b.addr)
		ctx := t.Context()
		call := callOn(t, c, b.addr, "call")
		if r, err := c.Offer(ctx, newCall(call)); err != nil || r.SDP != b.addr {
			t.Errorf("%+v %v", r, err)
		}
		if r, err := c.Answer(ctx, &ng.Request{CallID: call, FromTag: "f", ToTag: "t", SDP: "v=0\r\n"}); err != nil || r.SDP != b.addr {
			t.Errorf("%+v %v", r, err)
		}
		if r, err := c.Query(ctx, &ng.Request{CallID: call}); err != nil || r.Call == nil || r.Call.Created != 1 {
			t.Errorf("%+v %v", r, err)
		}
		if r, err := c.Delete(ctx, &ng.Request{CallID: call, FromTag: "f"}); err != nil || r.Warning != b.addr {
			t.Errorf("%+v %v", r, err)
		}
		if c.sticky.len() != 0 {
			t.Error("the node of a deleted call is kept")
		}
		if err := c.Ping(ctx); err != nil {
			t.Error(err)
		}
		calls, err := c.List(ctx, 5)
		slices.Sort(calls)
		want := []string{"call of " + a.addr, "call of " + b.addr}
		slices.Sort(want)
		if err != nil || !slices.Equal(calls, want) {
			t.Errorf("%v %v", calls, err)
		}
		stats, err := c.Statistics(ctx)
		if err != nil || stats[a.addr].Get("node") != a.addr || stats[b.addr].Get("node") != b.addr {
			t.Errorf("%v %v", stats, err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.commands[0].Supports == nil || *b.commands[len(b.commands)-2].Limit != 5 {
			t.Errorf("%+v", b.commands)
		}
	}
}

// A repetition is the same datagram; replies with other cookies and doubled
// replies are ignored.
func TestRepetition(t *testing.T) {
	l := launchLossy(t, 3)
	c := connect(t, nil, l.addr)
	for i := range 3 {
		if r, err := c.Offer(t.Context(), newCall(fmt.Sprint(i))); err != nil || r.SDP != "s" {
			t.Fatalf("%+v %v", r, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.got) != 3 {
		t.Errorf("%d cookies", len(l.got))
	}
	for cookie, messages := range l.got {
		if len(messages) != 3 || messages[0] != messages[1] || messages[0] != messages[2] {
			t.Errorf("%s: %q", cookie, messages)
		}
	}
}

// The deadline is for all repetitions and all nodes together.
func TestTotalDeadline(t *testing.T) {
	a, b, d := launchDeaf(t), launchDeaf(t), launchDeaf(t)
	c := connect(t, nil, a.addr, b.addr, d.addr)
	began := time.Now()
	_, err := c.Offer(t.Context(), newCall("x"))
	took := time.Since(began)
	if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took < 380*time.Millisecond || took > 1100*time.Millisecond {
		t.Errorf("took %v, want 400 ms", took)
	}
	for _, n := range []*deaf{a, b, d} {
		if got := n.received.Load(); got < 2 {
			t.Errorf("a node got %d datagrams, want a repetition at least", got)
		}
	}
	// All have failed: the next call is tried nevertheless.
	if _, err := c.Offer(t.Context(), newCall("y")); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
}

func TestCallersDeadlineAndCancel(t *testing.T) {
	d := launchDeaf(t)
	c := connect(t, nil, d.addr)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Offer(ctx, newCall("x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.Offer(ctx, newCall("x")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if !c.Nodes()[0].Up() {
		t.Error("a hasty caller took the node out")
	}
}

func TestFailoverOnRefusal(t *testing.T) {
	for _, refusal := range []ng.Reply{
		&ng.Failure{Reason: ng.ReasonSessionLimit}, &ng.Failure{Reason: ng.ReasonOutOfPorts},
		&ng.Failure{Reason: ng.ReasonCPULimit}, &ng.Failure{Reason: ng.ReasonLoadLimit},
		&ng.Failure{Reason: ng.ReasonBandwidthLimit}, &ng.LoadLimit{Message: ng.ReasonCPULimit},
		&ng.LoadLimit{Message: "draining"}, &ng.LoadLimit{},
	} {
		a, b := launch(t, ""), launch(t, "")
		c := connect(t, nil, a.addr, b.addr)
		full := callOn(t, c, a.addr, "call")
		a.refuseOffers(refusal)
		r, err := c.Offer(t.Context(), newCall(full))
		if err != nil || r.SDP != b.addr {
			t.Fatalf("%+v: %+v %v", refusal, r, err)
		}
		if !c.Nodes()[0].Up() {
			t.Errorf("%+v took the node out", refusal)
		}
		// The call stays where it is, also when the first node has room again.
		a.refuseOffers(nil)
		for range 3 {
			if r, err := c.Offer(t.Context(), &ng.Request{CallID: full, FromTag: "f", ToTag: "t", SDP: "x"}); err != nil || r.SDP != b.addr {
				t.Errorf("re-INVITE: %+v %v", r, err)
			}
		}
		if r, err := c.Answer(t.Context(), newCall(full)); err != nil || r.SDP != b.addr {
			t.Errorf("answer: %+v %v", r, err)
		}
		if n := a.seen(ng.CommandDelete); n != 0 {
			t.Errorf("%d deletes to a node that refused", n)
		}
	}
}

// Other errors are the call's own and no other node helps.
func TestNoFailoverOnOtherErrors(t *testing.T) {
	a, b := launch(t, ""), launch(t, "")
	c := connect(t, nil, a.addr, b.addr)
	a.refuseOffers(&ng.Failure{Reason: ng.ReasonSDPParse})
	_, err := c.Offer(t.Context(), newCall(callOn(t, c, a.addr, "call")))
	if !errors.Is(err, ng.ReasonSDPParse) {
		t.Error(err)
	}
	if n := b.seen(ng.CommandOffer); n != 0 {
		t.Errorf("the other node got %d offers", n)
	}
}

func TestNoFailoverForEstablishedCall(t *testing.T) {
	a, b := launch(t, ""), launch(t, "")
	c := connect(t, nil, a.addr, b.addr)
	call := callOn(t, c, a.addr, "call")
	if _, err := c.Offer(t.Context(), newCall(call)); err != nil {
		t.Fatal(err)
	}
	a.refuseOffers(&ng.Failure{Reason: ng.ReasonOutOfPorts})
	for _, req := range []*ng.Request{newCall(call), {CallID: call, FromTag: "f", ToTag: "t", SDP: "x"}} {
		if _, err := c.Offer(t.Context(), req); !errors.Is(err, ng.ReasonOutOfPorts) {
			t.Errorf("%+v: %v", req, err)
		}
	}
	a.server.Close()
	if _, err := c.Answer(t.Context(), newCall(call)); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if _, err := c.Delete(t.Context(), newCall(call)); !errors.Is(err, ErrDown) {
		t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.commands) != 0 {
		t.Errorf("the other node got %+v", b.commands)
	}
}

// A node that does not answer gets a delete behind the offer: it may have
// executed it.
func TestFailoverOnTimeout(t *testing.T) {
	d, b := launchDeaf(t), launch(t, "")
	c := connect(t, nil, d.addr, b.addr)
	// The deaf node must leave a share of the deadline for the other one.
	r, err := c.Offer(t.Context(), newCall(callOn(t, c, d.addr, "call")))
	if err != nil || r.SDP != b.addr {
		t.Fatalf("%+v %v", r, err)
	}
	eventually(t, "4 offers and a delete", func() bool { return d.received.Load() >= 5 })
	if c.Nodes()[0].Up() {
		t.Error("the node is still up")
	}
	// The next calls do not wait for it.
	began := time.Now()
	for i := range 20 {
		if r, err := c.Offer(t.Context(), newCall(fmt.Sprint("next", i))); err != nil || r.SDP != b.addr {
			t.Fatalf("%+v %v", r, err)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("20 calls took %v", took)
	}
}

// The host says that the port is closed: no need to wait if another node is
// there.
func TestFailoverOnClosedPort(t *testing.T) {
	b := launch(t, "")
	dead := closedPort(t)
	c := connect(t, func(cfg *Config) { cfg.Interval, cfg.Deadline = time.Second, 5*time.Second }, dead, b.addr)
	began := time.Now()
	if r, err := c.Offer(t.Context(), newCall(callOn(t, c, dead, "call"))); err != nil || r.SDP != b.addr {
		t.Fatalf("%+v %v", r, err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
}

// A single node that restarts within the deadline loses nothing.
func TestRestart(t *testing.T) {
	a := launch(t, "")
	c := connect(t, func(cfg *Config) { cfg.Deadline = 5 * time.Second }, a.addr)
	if _, err := c.Offer(t.Context(), newCall("x")); err != nil {
		t.Fatal(err)
	}
	a.server.Close()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if _, err := c.Offer(t.Context(), newCall(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(120 * time.Millisecond)
	launch(t, a.addr)
	wg.Wait()
}

// One dead node must not delay commands of calls on others.
func TestDeadNodeBlocksNobody(t *testing.T) {
	d, b := launchDeaf(t), launch(t, "")
	c := connect(t, func(cfg *Config) { cfg.Deadline = 2 * time.Second }, d.addr, b.addr)
	live := callOn(t, c, b.addr, "live")
	if _, err := c.Offer(t.Context(), newCall(live)); err != nil {
		t.Fatal(err)
	}
	dead := callOn(t, c, d.addr, "dead")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { c.Delete(ctx, newCall(dead)) })
	}
	eventually(t, "deletes on their way", func() bool { return d.received.Load() >= 50 })
	began := time.Now()
	for range 50 {
		if _, err := c.Query(t.Context(), newCall(live)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("50 commands took %v", took)
	}
	cancel()
	wg.Wait()
}

// A failed node comes back by ping, without traffic.
func TestHealth(t *testing.T) {
	a := launch(t, "")
	c := connect(t, func(cfg *Config) {
		cfg.PingInterval, cfg.Interval, cfg.DisableFor = 20*time.Millisecond, 20*time.Millisecond, 150*time.Millisecond
	}, a.addr)
	n := c.Nodes()[0]
	if err := n.Ping(t.Context()); err != nil || !n.Up() {
		t.Fatal(err)
	}
	a.server.Close()
	eventually(t, "node down", func() bool { return !n.Up() })
	launch(t, a.addr)
	eventually(t, "node up", n.Up)
	if _, err := c.Offer(t.Context(), newCall("x")); err != nil {
		t.Error(err)
	}
}

// Without pings the node is tried again when its time is over.
func TestHealthWithoutPing(t *testing.T) {
	a := launch(t, "")
	c := connect(t, nil, a.addr)
	n := c.Nodes()[0]
	a.server.Close()
	if err := n.Ping(t.Context()); !errors.Is(err, ErrTimeout) || n.Up() {
		t.Fatal(err)
	}
	eventually(t, "node up", n.Up)
}

func TestNameThatDoesNotResolve(t *testing.T) {
	b := launch(t, "")
	c := connect(t, nil, "nosuchhost.invalid:2223", b.addr)
	if r, err := c.Offer(t.Context(), newCall(callOn(t, c, "nosuchhost.invalid:2223", "x"))); err != nil || r.SDP != b.addr {
		t.Errorf("%+v %v", r, err)
	}
	if err := c.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "nosuchhost") {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	d := launchDeaf(t)
	c := connect(t, func(cfg *Config) { cfg.Deadline, cfg.PingInterval = time.Minute, time.Hour }, d.addr)
	errs := make(chan error)
	go func() {
		_, err := c.Offer(t.Context(), newCall("x"))
		errs <- err
	}()
	eventually(t, "an offer", func() bool { return d.received.Load() > 1 })
	c.Close()
	if err := <-errs; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Offer(t.Context(), newCall("x")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestTooManyPending(t *testing.T) {
	d := launchDeaf(t)
	c := connect(t, func(cfg *Config) { cfg.MaxPending = 3 }, d.addr)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() { c.Offer(ctx, newCall(fmt.Sprint(i))) })
	}
	eventually(t, "three offers", func() bool { return d.received.Load() >= 3 })
	if _, err := c.Offer(t.Context(), newCall("one more")); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	cancel()
	wg.Wait()
}

func TestConfigErrors(t *testing.T) {
	for _, nodes := range [][]NodeConfig{
		nil, {{Address: "127.0.0.1", Weight: 1}}, {{Address: "127.0.0.1:1", Weight: -1}},
		{{Address: "127.0.0.1:1", Weight: 1}, {Address: "127.0.0.1:1", Weight: 1}},
	} {
		if c, err := New(Config{Nodes: nodes}); err == nil {
			c.Close()
			t.Errorf("%+v accepted", nodes)
		}
	}
}
