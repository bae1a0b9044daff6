package ngserver

import (
	"fmt"
	"net/netip"
	"testing"
)

func peerOf(port uint16) recipient {
	return destination{addr: netip.AddrPortFrom(netip.IPv6Loopback(), port)}
}

func TestCacheGenerations(t *testing.T) {
	c := newCache(100, 1<<20)
	c.begin("a", peerOf(1))
	c.complete("a", []byte("reply"))
	for turn := range 2 {
		if state, reply := c.begin("a", peerOf(2)); state != cacheDone || string(reply) != "reply" {
			t.Fatalf("after %d turns: %d %q", turn, state, reply)
		}
		c.turn()
	}
	if state, _ := c.begin("a", peerOf(2)); state != cacheNew {
		t.Errorf("after two turns: %d", state)
	}
}

// A command that runs longer than two turns is not started again.
func TestCacheKeepsRunning(t *testing.T) {
	c := newCache(100, 1<<20)
	c.begin("a", peerOf(1))
	for range 3 {
		c.turn()
		if state, _ := c.begin("a", peerOf(1)); state != cacheRunning {
			t.Fatal(state)
		}
	}
	if waiters := c.complete("a", []byte("r")); len(waiters) != 1 {
		t.Error(waiters)
	}
}

func TestCacheBounds(t *testing.T) {
	c := newCache(100, 10_000)
	for i := range 10_000 {
		cookie := fmt.Sprint("cookie", i)
		c.begin(cookie, peerOf(1))
		c.complete(cookie, make([]byte, 200))
		entries, bytes := 0, 0
		for _, g := range []map[string][]byte{c.current, c.previous} {
			for k, v := range g {
				entries++
				bytes += len(k) + len(v)
			}
		}
		if entries > 100 || bytes > 10_000 {
			t.Fatalf("%d entries, %d bytes", entries, bytes)
		}
		if state, _ := c.begin(cookie, peerOf(1)); state != cacheDone {
			t.Fatal("the last reply is gone")
		}
	}
	// One that is larger than the whole is not kept.
	c.begin("big", peerOf(1))
	c.complete("big", make([]byte, 20_000))
	if state, _ := c.begin("big", peerOf(1)); state != cacheNew {
		t.Error(state)
	}
}

func TestCacheWaiters(t *testing.T) {
	c := newCache(100, 10_000)
	c.begin("a", peerOf(0))
	for i := range uint16(maxWaiters - 1) {
		if state, _ := c.begin("a", peerOf(i+1)); state != cacheRunning {
			t.Fatal(state)
		}
	}
	if state, _ := c.begin("a", peerOf(1000)); state != cacheFull {
		t.Error(state)
	}
	if waiters := c.complete("a", nil); len(waiters) != maxWaiters {
		t.Error(len(waiters))
	}
}
