package ngclient

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/ng-protocol/ngserver"
)

// daemon is a real ng server whose commands are recorded.
type daemon struct {
	server *ngserver.Server
	addr   string
	refuse atomic.Pointer[ng.Reply] // answer to offers instead of SDP
	stuck  atomic.Pointer[string]   // a call whose commands get no answer

	mu       sync.Mutex
	commands []ng.Request
	calls    map[string]bool
}

// launch starts a daemon on addr, "" = any free port.
func launch(t testing.TB, addr string) *daemon {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	d := &daemon{calls: make(map[string]bool)}
	var err error
	d.server, err = ngserver.New(ngserver.Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort(addr)}, Handler: ng.HandlerFunc(d.handle),
	})
	if err != nil {
		t.Fatal(err)
	}
	d.addr = d.server.Addrs()[0].String()
	d.server.Start()
	t.Cleanup(func() { d.server.Close() })
	return d
}

func (d *daemon) handle(ctx context.Context, req *ng.Request) ng.Reply {
	if req.Command == ng.CommandPing {
		return &ng.Pong{}
	}
	if id := d.stuck.Load(); id != nil && *id == req.CallID {
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
		return ng.Fail(ng.ReasonInternal)
	}
	d.mu.Lock()
	d.commands = append(d.commands, *req)
	d.mu.Unlock()
	switch req.Command {
	case ng.CommandOffer:
		if r := d.refuse.Load(); r != nil {
			return *r
		}
		d.note(req.CallID, true)
		return &ng.SDPReply{SDP: d.addr}
	case ng.CommandAnswer:
		return &ng.SDPReply{SDP: d.addr}
	case ng.CommandQuery:
		if !d.knows(req.CallID) {
			return ng.Fail(ng.ReasonUnknownCallID)
		}
		return &ng.CallReply{Call: &ng.CallState{Created: 1}}
	case ng.CommandDelete:
		d.note(req.CallID, false)
		return &ng.CallReply{Warning: d.addr}
	case ng.CommandList:
		return &ng.ListReply{Calls: []string{"call of " + d.addr}}
	case ng.CommandStatistics:
		return &ng.StatisticsReply{Statistics: ng.Dict{{Key: "node", Value: d.addr}, {Key: "totalstatistics", Value: ng.Dict{{Key: "uptime", Value: "10"}}}}}
	}
	return ng.Fail(ng.ReasonUnknownCommand)
}

// knows reports a call that was offered and not deleted.
func (d *daemon) knows(callID string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[callID]
}

// forget is what a restart does.
func (d *daemon) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.calls)
}

func (d *daemon) note(callID string, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[callID] = known
}

func (d *daemon) refuseOffers(r ng.Reply) {
	if r == nil {
		d.refuse.Store(nil)
		return
	}
	d.refuse.Store(&r)
}

// seen counts the commands of a kind.
func (d *daemon) seen(command ng.Command) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for i := range d.commands {
		if d.commands[i].Command == command {
			n++
		}
	}
	return n
}

// deaf is a node that receives and never answers.
type deaf struct {
	conn     *net.UDPConn
	addr     string
	received atomic.Int32
	done     chan struct{}
}

func launchDeaf(t testing.TB) *deaf {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	d := &deaf{conn: conn, addr: conn.LocalAddr().String(), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		buf := make([]byte, ng.MaxSize)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			d.received.Add(1)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-d.done })
	return d
}

// closedPort is an address where nothing listens.
func closedPort(t testing.TB) string {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

// lossy answers every nth datagram of a cookie only, and answers all of them
// twice, the second time under a wrong cookie first.
type lossy struct {
	addr string
	mu   sync.Mutex
	got  map[string][]string // datagrams by cookie
}

func launchLossy(t testing.TB, nth int) *lossy {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{addr: conn.LocalAddr().String(), got: make(map[string][]string)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, ng.MaxSize)
		for {
			n, peer, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			cookie, _, err := ng.SplitCookie(buf[:n])
			if err != nil {
				continue
			}
			l.mu.Lock()
			l.got[string(cookie)] = append(l.got[string(cookie)], string(buf[:n]))
			tries := len(l.got[string(cookie)])
			l.mu.Unlock()
			if tries < nth {
				continue
			}
			conn.WriteToUDPAddrPort([]byte("wrong d6:result5:error12:error-reason1:xe"), peer)
			conn.WriteToUDPAddrPort([]byte("nocookie"), peer)
			for range 2 {
				conn.WriteToUDPAddrPort([]byte(string(cookie)+" d3:sdp1:s6:result2:oke"), peer)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return l
}

// connect makes a client with short times. Nodes have weight 1.
func connect(t testing.TB, change func(*Config), addrs ...string) *Client {
	t.Helper()
	cfg := Config{
		Interval: 50 * time.Millisecond, Deadline: 400 * time.Millisecond,
		PingInterval: -1, DisableFor: 200 * time.Millisecond,
	}
	for _, a := range addrs {
		cfg.Nodes = append(cfg.Nodes, NodeConfig{Address: a, Weight: 1})
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
