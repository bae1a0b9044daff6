package ngserver

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

const wait = 5 * time.Second

// serve starts a server on 127.0.0.1.
func serve(t testing.TB, h ng.HandlerFunc, change ...func(*Config)) *Server {
	t.Helper()
	cfg := Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Handler: h}
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Close() })
	return s
}

// dial opens a client socket towards the server's first address.
func dial(t testing.TB, s *Server) *net.UDPConn {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addrs()[0]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func send(t testing.TB, conn *net.UDPConn, message string) {
	t.Helper()
	if _, err := conn.Write([]byte(message)); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, conn *net.UDPConn) string {
	t.Helper()
	buf := make([]byte, ng.MaxSize)
	conn.SetReadDeadline(time.Now().Add(wait))
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func silent(t testing.TB, conn *net.UDPConn) {
	t.Helper()
	buf := make([]byte, ng.MaxSize)
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := conn.Read(buf); err == nil {
		t.Fatalf("unexpected answer %q", buf[:n])
	}
}

func ask(t testing.TB, conn *net.UDPConn, message string) string {
	t.Helper()
	send(t, conn, message)
	return receive(t, conn)
}

func offer(cookie, callID, extra string) string {
	return fmt.Sprintf("%s d7:command5:offer7:call-id%d:%s%se", cookie, len(callID), callID, extra)
}

// await waits for release, or for the end of a test that failed before it.
func await(ctx context.Context, release <-chan struct{}) {
	select {
	case <-release:
	case <-ctx.Done():
	}
}

func pong(context.Context, *ng.Request) ng.Reply { return &ng.Pong{} }

func TestPing(t *testing.T) {
	conn := dial(t, serve(t, pong))
	if got := ask(t, conn, "c1 d7:command4:pinge"); got != "c1 d6:result4:ponge" {
		t.Error(got)
	}
	if got := ask(t, conn, `c2 {"command":"ping"}`); got != `c2 {"result":"pong"}` {
		t.Error(got)
	}
}

// A repeated cookie gets the same bytes, from any socket and for errors too, and
// the command runs once.
func TestRepetition(t *testing.T) {
	var runs atomic.Int32
	s := serve(t, func(_ context.Context, req *ng.Request) ng.Reply {
		if n := runs.Add(1); req.CallID != "bad" {
			return &ng.SDPReply{SDP: fmt.Sprint("run ", n)}
		}
		return &ng.Failure{Reason: ng.ReasonUnknownCallID}
	})
	a, b := dial(t, s), dial(t, s)
	first := ask(t, a, offer("c1", "x", ""))
	for range 3 {
		if got := ask(t, a, offer("c1", "x", "")); got != first {
			t.Errorf("%q, want %q", got, first)
		}
	}
	// The cookie alone counts, even if the body differs.
	if got := ask(t, b, offer("c1", "y", "")); got != first {
		t.Errorf("other socket: %q, want %q", got, first)
	}
	failed := ask(t, a, offer("c2", "bad", ""))
	if got := ask(t, a, offer("c2", "bad", "")); got != failed || !strings.Contains(got, "Unknown call-id") {
		t.Errorf("error: %q, want %q", got, failed)
	}
	broken := ask(t, a, "c3 d1:ae")
	if got := ask(t, a, "c3 d7:command4:pinge"); got != broken {
		t.Errorf("broken: %q, want %q", got, broken)
	}
	if n := runs.Load(); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
	if c := s.Counters(); c.Repeated != 6 || c.Invalid != 1 || c.Received != 9 {
		t.Errorf("%+v", c)
	}
}

// A repetition that comes while the command runs waits for its reply.
func TestRepetitionWaits(t *testing.T) {
	var runs atomic.Int32
	entered, release := make(chan struct{}), make(chan struct{})
	s := serve(t, func(ctx context.Context, _ *ng.Request) ng.Reply {
		runs.Add(1)
		entered <- struct{}{}
		await(ctx, release)
		return &ng.Ack{}
	})
	a, b := dial(t, s), dial(t, s)
	send(t, a, offer("c1", "x", ""))
	<-entered
	send(t, a, offer("c1", "x", ""))
	send(t, b, offer("c1", "x", ""))
	for s.Counters().Repeated < 2 {
		time.Sleep(time.Millisecond)
	}
	silent(t, b)
	close(release)
	want := "c1 d6:result2:oke"
	if got := receive(t, a); got != want {
		t.Error(got)
	}
	if got := receive(t, b); got != want {
		t.Error(got)
	}
	silent(t, a) // one reply for both of its requests
	if n := runs.Load(); n != 1 {
		t.Errorf("%d runs", n)
	}
}

func TestOrderWithinCall(t *testing.T) {
	const calls, each = 20, 50
	var mu sync.Mutex
	seen := make(map[string][]string)
	s := serve(t, func(_ context.Context, req *ng.Request) ng.Reply {
		runtime.Gosched() // let others overtake if they can
		mu.Lock()
		defer mu.Unlock()
		seen[req.CallID] = append(seen[req.CallID], req.FromTag)
		return &ng.Ack{}
	}, func(c *Config) { c.Workers = 8 })
	conn := dial(t, s)
	const batch = 5 // of each call at a time: what the socket buffers hold
	for i := 0; i < each; i += batch {
		for j := range batch {
			for c := range calls {
				send(t, conn, offer(fmt.Sprintf("c%d_%d", c, i+j), fmt.Sprint("call", c), fmt.Sprintf("8:from-tag%d:%d", len(fmt.Sprint(i+j)), i+j)))
			}
		}
		for range batch * calls {
			receive(t, conn)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for call, tags := range seen {
		for i, tag := range tags {
			if tag != fmt.Sprint(i) {
				t.Fatalf("%s: %v", call, tags)
			}
		}
	}
	if len(seen) != calls {
		t.Errorf("%d calls", len(seen))
	}
}

// A slow command delays those of its own call only.
func TestCallsInParallel(t *testing.T) {
	release := make(chan struct{})
	var slowRunning atomic.Int32
	s := serve(t, func(ctx context.Context, req *ng.Request) ng.Reply {
		if req.CallID == "slow" {
			if slowRunning.Add(1) > 1 {
				return &ng.Failure{Reason: "two commands of one call at a time"}
			}
			defer slowRunning.Add(-1)
			await(ctx, release)
		}
		return &ng.Ack{}
	})
	conn := dial(t, s)
	send(t, conn, offer("s1", "slow", ""))
	send(t, conn, offer("s2", "slow", ""))
	for i := range 100 {
		cookie := fmt.Sprint("f", i)
		if got := ask(t, conn, offer(cookie, "fast", "")); got != cookie+" d6:result2:oke" {
			t.Fatal(got)
		}
	}
	close(release)
	got := map[string]bool{receive(t, conn): true, receive(t, conn): true}
	if !got["s1 d6:result2:oke"] || !got["s2 d6:result2:oke"] {
		t.Error(got)
	}
}

func TestPanic(t *testing.T) {
	var logged bytes.Buffer
	s := serve(t, func(_ context.Context, req *ng.Request) ng.Reply {
		switch req.CallID {
		case "panic":
			panic("boom")
		case "nil":
			return nil
		}
		return &ng.Ack{}
	}, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&logged, nil)) })
	conn := dial(t, s)
	for _, call := range []string{"panic", "nil"} {
		if got := ask(t, conn, offer("c"+call, call, "")); !strings.Contains(got, string(ng.ReasonInternal)) {
			t.Error(got)
		}
	}
	if got := ask(t, conn, offer("c2", "panic2", "")); got != "c2 d6:result2:oke" {
		t.Error(got)
	}
	s.Close() // the log is complete
	if s.Counters().Panics != 1 || !strings.Contains(logged.String(), "boom") || !strings.Contains(logged.String(), "call-id=panic") {
		t.Error(logged.String())
	}
}

func TestBadDatagrams(t *testing.T) {
	var logged bytes.Buffer
	s := serve(t, pong, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&logged, nil)) })
	conn := dial(t, s)
	for _, message := range []string{"", " ", "nospace", " d7:command4:pinge", strings.Repeat("c", ng.MaxCookie+1) + " d7:command4:pinge"} {
		send(t, conn, message)
	}
	silent(t, conn)
	if c := s.Counters(); c.Dropped != 5 {
		t.Errorf("%+v", c)
	}
	for message, reason := range map[string]ng.Reason{
		"b1 ":                  ng.ReasonNoPayload,
		"b2 x":                 ng.ReasonBadFormat,
		"b3 d1:a99999999:xe":   ng.ReasonBadBencode,
		"b4 d1:a1:be":          ng.ReasonNoCommand,
		`b5 {`:                 ng.ReasonBadJSON,
		`b6 {"a":"b"}`:         ng.ReasonNoCommand,
		"b7 d7:command4:pingx": ng.ReasonBadBencode,
	} {
		got := ask(t, conn, message)
		_, body, _ := ng.SplitCookie([]byte(got))
		reply, err := ng.DecodeReply(ng.CommandPing, body)
		if f, ok := reply.(*ng.Failure); !ok || f.Reason != reason || err != nil {
			t.Errorf("%q: %q, want %q", message, got, reason)
		}
		if (body[0] == '{') != (message[3:] != "" && message[3] == '{') {
			t.Errorf("%q: format of %q", message, got)
		}
	}
	s.Close() // the log is complete
	if n := strings.Count(logged.String(), "\n"); n == 0 || n > 3 {
		t.Errorf("%d log lines for 12 bad datagrams", n)
	}
}

// Without room the datagram is dropped as if it were lost, so that the client's
// repetition runs it.
func TestQueueFull(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 16)
	s := serve(t, func(ctx context.Context, _ *ng.Request) ng.Reply {
		entered <- struct{}{}
		await(ctx, release)
		return &ng.Ack{}
	}, func(c *Config) { c.Workers, c.Queue = 1, 2 })
	conn := dial(t, s)
	send(t, conn, offer("c1", "a", ""))
	<-entered
	send(t, conn, offer("c2", "b", ""))
	send(t, conn, offer("c3", "c", ""))
	for s.Counters().Dropped == 0 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	receive(t, conn)
	receive(t, conn)
	if got := ask(t, conn, offer("c3", "c", "")); got != "c3 d6:result2:oke" {
		t.Error(got)
	}
}

// A worker that comes too late, since a helper has run the job, comes again for
// the next one.
func TestWorkersComeAgain(t *testing.T) {
	d := newDispatcher(2, 1000, 1000)
	d.start()
	defer d.close()
	h := d.helper(func() { t.Error("replaced") })
	defer h.stop()
	for range 100 {
		done := make(chan struct{})
		d.submit("a", 1, func() { close(done) })
		h.announce()
		h.help()
		<-done
		time.Sleep(time.Millisecond) // a worker finds nothing, and waits
		ran := make(chan struct{})
		d.submit("b", 1, func() { close(ran) })
		select {
		case <-ran:
		case <-time.After(5 * time.Second):
			t.Fatal("no worker comes")
		}
	}
}

// What waits is bounded in bytes too: long messages fill the queue sooner.
func TestQueueBytes(t *testing.T) {
	ran := 0
	d := newDispatcher(1, 1000, 100)
	if !d.submit("a", 60, func() { ran++ }) || d.submit("b", 41, nil) || !d.submit("a", 40, func() { ran++ }) {
		t.Error("the bound is not 100 bytes")
	}
	d.start()
	for {
		d.mu.Lock()
		pending, bytes := d.pending, d.bytes
		d.mu.Unlock()
		if pending == 0 {
			if bytes != 0 || ran != 2 {
				t.Errorf("%d bytes, %d jobs", bytes, ran)
			}
			break
		}
		time.Sleep(time.Millisecond)
	}
	d.close()
}

func TestAllow(t *testing.T) {
	s := serve(t, pong, func(c *Config) { c.Allow = func(a netip.AddrPort) bool { return false } })
	conn := dial(t, s)
	send(t, conn, "c1 d7:command4:pinge")
	silent(t, conn)
}

// A reply that no datagram can carry becomes an error, not silence; whoever
// repeats the command over TCP gets it.
func TestReplyTooLarge(t *testing.T) {
	long := strings.Repeat("x", 70000)
	s := serve(t, func(context.Context, *ng.Request) ng.Reply { return &ng.SDPReply{SDP: long} }, withTCP)
	for range 2 { // the second time from the cache
		if got := ask(t, dial(t, s), offer("c1", "x", "")); got != "c1 d6:result5:error12:error-reason14:Internal errore" {
			t.Errorf("%.80q", got)
		}
	}
	conn := dialTCP(t, s)
	writeTCP(t, conn, offer("c1", "x", ""))
	wantTCP(t, conn, "c1 d3:sdp70000:"+long)
}

func TestCloseWaitsForRunning(t *testing.T) {
	entered := make(chan struct{})
	s := serve(t, func(ctx context.Context, req *ng.Request) ng.Reply {
		close(entered)
		<-ctx.Done()
		time.Sleep(20 * time.Millisecond)
		return &ng.Ack{Warning: "late"}
	})
	conn := dial(t, s)
	send(t, conn, offer("c1", "x", ""))
	<-entered
	s.Close()
	if got := receive(t, conn); !strings.Contains(got, "late") {
		t.Error(got)
	}
	s.Close()
	s.Start()
}

func TestCloseWithoutStart(t *testing.T) {
	s, err := New(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Handler: ng.HandlerFunc(pong)})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestNewErrors(t *testing.T) {
	s := serve(t, pong)
	if _, err := New(Config{Listen: s.Addrs()}); err == nil {
		t.Error("no handler accepted")
	}
	free := netip.MustParseAddrPort("127.0.0.1:0")
	if _, err := New(Config{Listen: []netip.AddrPort{free, s.Addrs()[0]}, Handler: ng.HandlerFunc(pong)}); err == nil {
		t.Error("used address accepted")
	}
}

// On a socket bound to any address the reply comes from the address that the
// request went to; a client with a connected socket sees no other.
func TestReplyFromRequestedAddress(t *testing.T) {
	for _, c := range []struct {
		bind string
		to   []string
	}{
		{"0.0.0.0:0", []string{"127.0.0.1", "127.0.0.2", "127.1.2.3"}},
		{"[::]:0", []string{"::1", "127.0.0.1", "127.0.0.9"}},
		{"[::1]:0", []string{"::1"}},
	} {
		s := serve(t, pong, func(cfg *Config) { cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort(c.bind)} })
		for i, to := range c.to {
			addr := netip.AddrPortFrom(netip.MustParseAddr(to), s.Addrs()[0].Port())
			conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
			if err != nil {
				t.Fatal(err)
			}
			cookie := fmt.Sprintf("%s_%d", c.bind, i)
			if got := ask(t, conn, cookie+" d7:command4:pinge"); got != cookie+" d6:result4:ponge" {
				t.Errorf("%s to %s: %q", c.bind, to, got)
			}
			conn.Close()
		}
	}
}

func TestSeveralAddresses(t *testing.T) {
	s := serve(t, pong, func(c *Config) {
		c.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0"), netip.MustParseAddrPort("127.0.0.2:0")}
		c.TOS = 184
	})
	for i, addr := range s.Addrs() {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		ask(t, conn, fmt.Sprintf("c%d d7:command4:pinge", i))
		conn.Close()
	}
}

// Many clients, many calls, repetitions mixed in: each command runs once.
func TestManyClients(t *testing.T) {
	var runs atomic.Int32
	s := serve(t, func(_ context.Context, req *ng.Request) ng.Reply {
		runs.Add(1)
		return &ng.SDPReply{SDP: req.CallID}
	})
	const clients, each = 8, 100
	var wg sync.WaitGroup
	for c := range clients {
		conn := dial(t, s)
		wg.Go(func() {
			for i := range each {
				call := fmt.Sprintf("%d-%d", c, i)
				message := offer("k"+call, call, "")
				for range 2 {
					if _, err := conn.Write([]byte(message)); err != nil {
						t.Error(err)
						return
					}
				}
				buf := make([]byte, 1000)
				conn.SetReadDeadline(time.Now().Add(wait))
				n, err := conn.Read(buf)
				if err != nil || !strings.Contains(string(buf[:n]), ":"+call+"6:result") {
					// A late second reply of the call before is fine.
					if n, err = conn.Read(buf); err != nil || !strings.Contains(string(buf[:n]), ":"+call+"6:result") {
						t.Errorf("%s: %q %v", call, buf[:n], err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if n := runs.Load(); n != clients*each {
		t.Errorf("%d runs, want %d", n, clients*each)
	}
}
