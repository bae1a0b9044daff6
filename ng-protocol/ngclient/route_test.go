package ngclient

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func nodesOf(t *testing.T, weights ...int) *Client {
	return connect(t, func(cfg *Config) {
		for i, w := range weights {
			cfg.Nodes = append(cfg.Nodes, NodeConfig{Address: fmt.Sprintf("127.0.0.%d:2223", i+1), Weight: w})
		}
	})
}

func TestWeights(t *testing.T) {
	c := nodesOf(t, 1, 2, 5, 0)
	const calls = 20000
	first := make(map[string]int)
	for i := range calls {
		first[c.ranked(fmt.Sprintf("call-%d@example.com", i))[0].Address()]++
	}
	for i, share := range []float64{1.0 / 8, 2.0 / 8, 5.0 / 8, 0} {
		got := float64(first[c.nodes[i].Address()]) / calls
		if math.Abs(got-share) > 0.015 {
			t.Errorf("node %d: %.3f of the calls, want %.3f", i, got, share)
		}
	}
}

// Every client ranks alike, whatever the order of its configuration, and a node
// that goes moves only its own calls.
func TestRankingIsStable(t *testing.T) {
	a, b := nodesOf(t, 1, 1, 1), connect(t, nil, "127.0.0.3:2223", "127.0.0.1:2223", "127.0.0.2:2223")
	without := connect(t, nil, "127.0.0.1:2223", "127.0.0.3:2223")
	for i := range 1000 {
		id := fmt.Sprint(i)
		first := a.ranked(id)[0].Address()
		if other := b.ranked(id)[0].Address(); other != first {
			t.Fatalf("%s: %s and %s", id, first, other)
		}
		if first != "127.0.0.2:2223" && without.ranked(id)[0].Address() != first {
			t.Fatalf("%s moved", id)
		}
	}
}

// A node of weight 0 gets no new calls, but serves those it has.
func TestWeightZero(t *testing.T) {
	a, b := launch(t, ""), launch(t, "")
	c := connect(t, func(cfg *Config) { cfg.Nodes[0].Weight = 0 }, a.addr, b.addr)
	for i := range 50 {
		if r, err := c.Offer(t.Context(), newCall(fmt.Sprint(i))); err != nil || r.SDP != b.addr {
			t.Fatalf("%+v %v", r, err)
		}
	}
	c.sticky.put("old", place{node: c.nodes[0]})
	if r, err := c.Delete(t.Context(), newCall("old")); err != nil || r.Warning != a.addr {
		t.Errorf("%+v %v", r, err)
	}
	none := connect(t, func(cfg *Config) { cfg.Nodes[0].Weight = 0 }, a.addr)
	if _, err := none.Offer(t.Context(), newCall("x")); !errors.Is(err, ErrNoNode) {
		t.Error(err)
	}
}

func TestSticky(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newSticky(100, time.Minute)
	s.now, s.turned = func() time.Time { return now }, now
	n := place{node: &Node{}}
	has := func(id string) bool {
		at, ok := s.get(id)
		return ok && at == n
	}
	s.put("a", n)
	s.put("b", n)
	for range 10 { // used, it stays
		now = now.Add(50 * time.Second)
		if !has("a") {
			t.Fatal("a used entry expired")
		}
	}
	if has("b") {
		t.Error("an unused entry stayed")
	}
	now = now.Add(time.Hour)
	if has("a") || s.len() != 0 {
		t.Error("an entry stayed for an hour")
	}
	for i := range 10_000 {
		s.put(fmt.Sprint(i), n)
		if l := s.len(); l > 100 {
			t.Fatal(l)
		}
		if !has(fmt.Sprint(i)) {
			t.Fatal("the last entry is gone")
		}
	}
	s.remove("9999")
	if has("9999") {
		t.Error("removed entry is there")
	}
}

func TestDeleteOfBranchKeepsNode(t *testing.T) {
	a, b := launch(t, ""), launch(t, "")
	c := connect(t, nil, a.addr, b.addr)
	call := callOn(t, c, a.addr, "call")
	c.sticky.put(call, place{node: c.nodes[1]})
	for _, req := range []*ng.Request{
		{CallID: call, FromTag: "f", ViaBranch: "1"}, {CallID: call, FromTag: "f", ToTag: "t", Flags: ng.FlagsOf(ng.FlagToTag)},
	} {
		if _, err := c.Delete(t.Context(), req); err != nil || c.Node(call) != c.nodes[1] {
			t.Error(err)
		}
	}
}

func TestCookies(t *testing.T) {
	var a, b cookies
	if a.seed() != nil || b.seed() != nil {
		t.Fatal("seed")
	}
	seen := make(map[string]bool)
	for range 1000 {
		for _, c := range []string{a.next(), b.next()} {
			if seen[c] || len(c) > 64 {
				t.Fatal(c)
			}
			seen[c] = true
		}
	}
}
