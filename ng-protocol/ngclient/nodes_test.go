package ngclient

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func inDialog(call string) *ng.Request {
	return &ng.Request{CallID: call, FromTag: "f", ToTag: "t", SDP: "x"}
}

// watched is a client with quick pings that tells of lost nodes.
func watched(t *testing.T, addrs ...string) (*Client, chan *Node) {
	lost := make(chan *Node, 10)
	return connect(t, func(cfg *Config) {
		cfg.Interval, cfg.Deadline, cfg.PingInterval, cfg.LostAfter = 20*time.Millisecond, 400*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond
		cfg.Lost = func(n *Node) { lost <- n }
	}, addrs...), lost
}

func wait(t *testing.T, lost chan *Node) *Node {
	t.Helper()
	select {
	case n := <-lost:
		return n
	case <-time.After(5 * time.Second):
		t.Fatal("no node is told to be lost")
		return nil
	}
}

// The calls of a node that died go on at another one with their next offer; the dead one forgets them when it is back.
func TestCallsOfALostNodeMove(t *testing.T) {
	a, b := launch(t, ""), launch(t, "")
	c, lost := watched(t, a.addr, b.addr)
	call, early := callOn(t, c, a.addr, "call"), callOn(t, c, a.addr, "early")
	stays := callOn(t, c, b.addr, "stays")
	for _, id := range []string{call, early, stays} {
		if _, err := c.Offer(t.Context(), newCall(id)); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.Nodes()[0].Calls(); n != 2 || c.Node(call) != c.Nodes()[0] {
		t.Errorf("%d calls on the node, the call on %v", n, c.Node(call))
	}
	began := time.Now()
	a.server.Close()
	node := wait(t, lost)
	if took := time.Since(began); node.Address() != a.addr || took > 100*time.Millisecond {
		t.Errorf("%s lost after %s; its port is closed", node.Address(), took)
	}
	moved := c.Release(node)
	slices.Sort(moved)
	if want := []string{call, early}; !slices.Equal(moved, want) {
		t.Errorf("moved %v, want %v", moved, want)
	}
	if _, err := c.Answer(t.Context(), inDialog(call)); !errors.Is(err, ErrReleased) {
		t.Errorf("answer before an offer: %v", err)
	}
	if r, err := c.Offer(t.Context(), inDialog(call)); err != nil || r.SDP != b.addr {
		t.Fatalf("re-INVITE: %+v %v", r, err)
	}
	if r, err := c.Answer(t.Context(), inDialog(call)); err != nil || r.SDP != b.addr {
		t.Errorf("its answer: %+v %v", r, err)
	}
	if _, err := c.Delete(t.Context(), newCall(early)); err != nil {
		t.Errorf("end of a call that is nowhere: %v", err)
	}
	back := launch(t, a.addr)
	eventually(t, "the old node is told to forget both", func() bool { return back.seen(ng.CommandDelete) >= 2 })
	eventually(t, "node up", node.Up)
	select {
	case n := <-lost:
		t.Errorf("%s told twice", n.Address())
	default:
	}
}

// A node that is silent is lost after a while, one that answered in between is not.
func TestSilentNodeIsLost(t *testing.T) {
	d, b := launchDeaf(t), launch(t, "")
	_, lost := watched(t, d.addr, b.addr)
	began := time.Now()
	if n := wait(t, lost); n.Address() != d.addr {
		t.Errorf("%s is lost", n.Address())
	}
	if took := time.Since(began); took < 100*time.Millisecond || took > 2*time.Second {
		t.Errorf("after %s, want 100 ms", took)
	}
}

// A call that came back to the node that it had left is not deleted with those that have not.
func TestCallThatReturnsIsNotDeleted(t *testing.T) {
	a := launch(t, "")
	c, lost := watched(t, a.addr)
	for _, id := range []string{"returns", "ends"} {
		if _, err := c.Offer(t.Context(), newCall(id)); err != nil {
			t.Fatal(err)
		}
	}
	a.server.Close()
	c.Release(wait(t, lost))
	done := make(chan error, 1)
	go func() {
		var err error
		for range 20 {
			if _, err = c.Offer(t.Context(), inDialog("returns")); err == nil {
				break
			}
		}
		done <- err
	}()
	back := launch(t, a.addr)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other one is deleted", func() bool { return !back.knows("ends") && back.seen(ng.CommandDelete) > 0 })
	if _, err := c.Query(t.Context(), newCall("returns")); err != nil {
		t.Error(err)
	}
	back.mu.Lock()
	defer back.mu.Unlock()
	for i, r := range back.commands {
		if r.Command == ng.CommandDelete && r.CallID == "returns" && slices.ContainsFunc(back.commands[:i], func(o ng.Request) bool {
			return o.Command == ng.CommandOffer && o.CallID == "returns"
		}) {
			t.Error("deleted behind its offer")
		}
	}
}

// Whoever ends a call of a dead node does not wait (Kamailio #3370).
func TestDeleteAtADeadNodeIsQuick(t *testing.T) {
	a, b := launch(t, ""), launch(t, "")
	c, lost := watched(t, a.addr, b.addr)
	call := callOn(t, c, a.addr, "call")
	if _, err := c.Offer(t.Context(), newCall(call)); err != nil {
		t.Fatal(err)
	}
	a.server.Close()
	wait(t, lost)
	began := time.Now()
	if _, err := c.Delete(t.Context(), newCall(call)); !errors.Is(err, ErrDown) {
		t.Error(err)
	}
	if took := time.Since(began); took > 50*time.Millisecond {
		t.Errorf("took %s", took)
	}
	back := launch(t, a.addr)
	eventually(t, "deleted when it is back", func() bool { return back.seen(ng.CommandDelete) > 0 })
}

// A client that starts anew finds the calls of the one before, wherever they are.
func TestCallsAreFoundAfterARestart(t *testing.T) {
	a, b := launch(t, ""), launch(t, "")
	first := connect(t, nil, a.addr, b.addr)
	call := callOn(t, first, a.addr, "call")
	a.refuseOffers(&ng.Failure{Reason: ng.ReasonOutOfPorts})
	if r, err := first.Offer(t.Context(), newCall(call)); err != nil || r.SDP != b.addr {
		t.Fatalf("%+v %v", r, err)
	}
	a.refuseOffers(nil)
	for i, command := range []func(c *Client) (string, error){
		func(c *Client) (string, error) {
			r, err := c.Offer(t.Context(), inDialog(call))
			if err != nil {
				return "", err
			}
			return r.SDP, nil
		},
		func(c *Client) (string, error) {
			r, err := c.Delete(t.Context(), newCall(call))
			if err != nil {
				return "", err
			}
			return r.Warning, nil
		},
	} {
		if at, err := command(connect(t, nil, a.addr, b.addr)); err != nil || at != b.addr {
			t.Errorf("command %d: at %s, %v", i, at, err)
		}
	}
	// Nobody knows it and its first node is dead: the next offer of a side heals the call.
	lostCall := callOn(t, first, a.addr, "lost")
	after := connect(t, nil, a.addr, b.addr)
	a.server.Close()
	if err := after.Nodes()[0].Ping(t.Context()); err == nil {
		t.Fatal("closed")
	}
	if r, err := after.Offer(t.Context(), inDialog(lostCall)); err != nil || r.SDP != b.addr {
		t.Errorf("%+v %v", r, err)
	}
}

// One call that gets no answer does not take the node from all others (OpenSIPS #2376).
func TestOneCallsSilenceIsNotTheNodes(t *testing.T) {
	a, b := launch(t, ""), launch(t, "")
	c, lost := watched(t, a.addr, b.addr)
	bad := callOn(t, c, a.addr, "bad")
	a.stuck.Store(&bad)
	if r, err := c.Offer(t.Context(), newCall(bad)); err != nil || r.SDP != b.addr {
		t.Fatalf("%+v %v", r, err)
	}
	eventually(t, "the node is up again", c.Nodes()[0].Up)
	good := callOn(t, c, a.addr, "good")
	if r, err := c.Offer(t.Context(), newCall(good)); err != nil || r.SDP != a.addr {
		t.Errorf("%+v %v", r, err)
	}
	select {
	case n := <-lost:
		t.Errorf("%s is told to be lost", n.Address())
	case <-time.After(150 * time.Millisecond):
	}
}

func TestNodesChangeWhileCallsRun(t *testing.T) {
	a, b, d := launch(t, ""), launch(t, ""), launch(t, "")
	c, _ := watched(t, a.addr, b.addr)
	old := callOn(t, c, a.addr, "old")
	if _, err := c.Offer(t.Context(), newCall(old)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]NodeConfig{nil, {{Address: a.addr, Weight: -1}}, {{Address: "x"}}, {{Address: a.addr}, {Address: a.addr}}} {
		if err := c.SetNodes(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	// a is left out, d is new, and its interfaces have other names.
	if err := c.SetNodes([]NodeConfig{{Address: b.addr}, {Address: d.addr, Weight: 1, Interfaces: map[string]string{"out": "wan"}}}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		req := newCall(fmt.Sprint("new", i))
		req.Direction = [2]string{"out", "in"}
		if r, err := c.Offer(t.Context(), req); err != nil || r.SDP != d.addr {
			t.Fatalf("%+v %v", r, err)
		}
	}
	if r, err := c.Offer(t.Context(), inDialog(old)); err != nil || r.SDP != a.addr {
		t.Errorf("a running call: %+v %v", r, err)
	}
	c.Nodes()[1].SetWeight(0)
	if _, err := c.Offer(t.Context(), newCall("none")); !errors.Is(err, ErrNoNode) {
		t.Errorf("all are drained: %v", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if got := d.commands[0].Direction; got != [2]string{"wan", "in"} {
		t.Errorf("direction %v", got)
	}
}

// A daemon that was restarted faster than anybody looked has lost its calls; one that has ended a call by itself has not.
func TestRestartedNodeIsLost(t *testing.T) {
	a := launch(t, "")
	c, lost := watched(t, a.addr)
	node := c.Nodes()[0]
	if _, err := c.Offer(t.Context(), newCall("call")); err != nil {
		t.Fatal(err)
	}
	if ok, err := c.Knows(t.Context(), "call"); !ok || err != nil {
		t.Fatalf("%v %v", ok, err)
	}
	heard := func(ago time.Duration) {
		node.mu.Lock()
		defer node.mu.Unlock()
		node.heard = time.Now().Add(-ago)
	}
	heard(5 * time.Second) // it runs for 10 s
	a.forget()
	if ok, err := c.Knows(t.Context(), "call"); ok || err != nil {
		t.Errorf("ended by the daemon: %v %v", ok, err)
	}
	select {
	case <-lost:
		t.Error("told to be lost")
	case <-time.After(100 * time.Millisecond):
	}
	heard(time.Minute) // and yet only for 10 s
	if n := wait(t, lost); n != node {
		t.Error("another node")
	}
	if got := c.Release(node); !slices.Equal(got, []string{"call"}) {
		t.Errorf("released %v", got)
	}
	if _, err := c.Knows(t.Context(), "call"); !errors.Is(err, ErrReleased) {
		t.Error(err)
	}
	// The only node, which does not know it yet, gets it anew.
	if _, err := c.Offer(t.Context(), inDialog("call")); err != nil {
		t.Fatal(err)
	}
	if ok, err := c.Knows(t.Context(), "call"); !ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	select {
	case <-lost:
		t.Error("told twice")
	case <-time.After(100 * time.Millisecond):
	}
}
