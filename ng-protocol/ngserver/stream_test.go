package ngserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

const pingTCP = "d7:command4:pinge"

func withTCP(cfg *Config) { cfg.ListenTCP = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")} }

func dialTCP(t testing.TB, s *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.TCPAddrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func dialTCPFrom(t testing.TB, s *Server, addr string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	conn, err := dialer.Dial("tcp", s.TCPAddrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func writeTCP(t testing.TB, conn net.Conn, message string) {
	t.Helper()
	if _, err := io.WriteString(conn, message); err != nil {
		t.Fatal(err)
	}
}

func wantTCP(t testing.TB, conn io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// wantClosed reads until the server has closed the connection.
func wantClosed(t testing.TB, conn net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("connection is still open")
	}
}

// Messages are framed by their own length, wherever the segments end.
func TestStreamFraming(t *testing.T) {
	s := serve(t, pong, withTCP)
	conn := dialTCP(t, s)
	writeTCP(t, conn, "c1 "+pingTCP+"c2 d7:comm")
	wantTCP(t, conn, "c1 d6:result4:ponge")
	writeTCP(t, conn, "and4:pinge")
	wantTCP(t, conn, "c2 d6:result4:ponge")
	for _, b := range []byte("c3 d7:call-id3:e:d4:listli-1elee7:command4:pinge") {
		writeTCP(t, conn, string(b))
	}
	wantTCP(t, conn, "c3 d6:result4:ponge")
	// A line end belongs to the next cookie, as in rtpengine.
	writeTCP(t, conn, "\nc4 "+pingTCP)
	wantTCP(t, conn, "\nc4 d6:result4:ponge")
}

// One cache serves all transports: a repetition over another one gets the same
// reply, and the command runs once.
func TestRepetitionAcrossTransports(t *testing.T) {
	var runs atomic.Int32
	s := serve(t, func(context.Context, *ng.Request) ng.Reply {
		return &ng.SDPReply{SDP: fmt.Sprint("run ", runs.Add(1))}
	}, withTCP)
	message := offer("same", "call", "")
	want := ask(t, dial(t, s), message)
	for range 2 {
		conn := dialTCP(t, s)
		writeTCP(t, conn, message)
		wantTCP(t, conn, want)
	}
	if status, body := post(t, s, "/ng", typeNG, message); status != 200 || body != want {
		t.Errorf("HTTP: %d %q, want %q", status, body, want)
	}
	if runs.Load() != 1 {
		t.Errorf("%d runs", runs.Load())
	}
}

func TestStreamRefusesWhatIsNoBencode(t *testing.T) {
	s := serve(t, pong, withTCP)
	for _, message := range []string{
		`c1 {"command":"ping"}`,
		"c1 i1e",
		"c1 4:text",
		"c1 d7x",
		"c1 d1:a99999999999999999999:",
		"c1 d1:a1073741824:x",
		"c1 d1:a" + strings.Repeat("l", ng.MaxDepth),
		strings.Repeat("c", ng.MaxCookie+2),
		" " + pingTCP,
	} {
		conn := dialTCP(t, s)
		writeTCP(t, conn, message)
		wantClosed(t, conn)
	}
	// Longer than any message may be, in legal pieces.
	conn := dialTCP(t, s)
	_, _ = io.WriteString(conn, "c1 d1:al"+strings.Repeat("i1e", ng.MaxSize/3))
	wantClosed(t, conn)
}

// A frame with nonsense inside is answered, and the connection goes on.
func TestStreamAnswersNonsenseInFrame(t *testing.T) {
	conn := dialTCP(t, serve(t, pong, withTCP))
	writeTCP(t, conn, "c1 de"+"c2 di1ei2ee"+"c3 "+pingTCP)
	r := bufio.NewReader(conn)
	var got strings.Builder
	for !strings.Contains(got.String(), "c3 d6:result4:ponge") {
		b, err := r.ReadByte()
		if err != nil {
			t.Fatalf("%q: %v", got.String(), err)
		}
		got.WriteByte(b)
	}
	if strings.Count(got.String(), "error-reason") != 2 || !strings.Contains(got.String(), "c2 d") {
		t.Error(got.String())
	}
}

func TestStreamIdleAndTooMany(t *testing.T) {
	s := serve(t, pong, withTCP, func(cfg *Config) { cfg.Connections, cfg.IdleTimeout = 4, 300*time.Millisecond })
	first, second := dialTCP(t, s), dialTCP(t, s)
	for _, conn := range []net.Conn{first, second} {
		writeTCP(t, conn, "c "+pingTCP)
		wantTCP(t, conn, "c d6:result4:ponge")
	}
	wantClosed(t, dialTCP(t, s)) // the third of one address
	var others []net.Conn
	for range 2 {
		others = append(others, dialTCPFrom(t, s, "127.0.0.2"))
	}
	eventuallyOpen(t, s, 4)
	wantClosed(t, dialTCPFrom(t, s, "127.0.0.3")) // the fifth
	for _, conn := range others {
		wantClosed(t, conn)
	}
	wantClosed(t, first)
	wantClosed(t, second)
	eventuallyOpen(t, s, 0)
	conn := dialTCP(t, s)
	writeTCP(t, conn, "d "+pingTCP)
	wantTCP(t, conn, "d d6:result4:ponge")
}

func eventuallyOpen(t *testing.T, s *Server, want int) {
	t.Helper()
	for end := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		s.streams[0].mu.Lock()
		n := len(s.streams[0].open)
		s.streams[0].mu.Unlock()
		if n == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are open, want %d", n, want)
		}
	}
}

// A client that sends and never reads is cut off, and holds up nobody.
func TestStreamSlowReader(t *testing.T) {
	big := strings.Repeat("x", 30000)
	s := serve(t, func(_ context.Context, req *ng.Request) ng.Reply {
		if req.Command == ng.CommandPing {
			return &ng.Pong{}
		}
		return &ng.SDPReply{SDP: big}
	}, withTCP)
	slow := dialTCP(t, s)
	if err := slow.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	cut := false
	for i := 0; i < 5000 && !cut; i++ {
		_, err := io.WriteString(slow, offer(fmt.Sprint("c", i), fmt.Sprint("call", i), ""))
		cut = err != nil
	}
	if !cut {
		eventuallyOpen(t, s, 0)
	}
	if got := ask(t, dial(t, s), "p "+pingTCP); got != "p d6:result4:ponge" {
		t.Error(got)
	}
}

// Commands that run when the server closes are still answered.
func TestStreamClose(t *testing.T) {
	started := make(chan struct{})
	s := serve(t, func(ctx context.Context, _ *ng.Request) ng.Reply {
		close(started)
		<-ctx.Done()
		return &ng.Pong{}
	}, withTCP)
	conn, idle := dialTCP(t, s), dialTCP(t, s)
	writeTCP(t, conn, "c "+pingTCP)
	<-started
	s.Close()
	wantTCP(t, conn, "c d6:result4:ponge")
	wantClosed(t, conn)
	wantClosed(t, idle)
}

func TestStreamAllow(t *testing.T) {
	s := serve(t, pong, withTCP, func(cfg *Config) { cfg.Allow = func(netip.AddrPort) bool { return false } })
	wantClosed(t, dialTCP(t, s))
	if status, _ := post(t, s, "/ng", typeNG, "c "+pingTCP); status != 403 {
		t.Error(status)
	}
	if c := s.Counters(); c.Dropped != 2 {
		t.Errorf("%+v", c)
	}
}

// FuzzStream: whatever comes, in whatever pieces, ends in messages that the
// bounds hold for, or in an error.
func FuzzStream(f *testing.F) {
	for _, seed := range []string{"", "c " + pingTCP, "c d1:ali1eee", "c d1:a3:bcde", "c d99999:", "c di1ei2ee\nd d1:ade"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReaderSize(strings.NewReader(string(data)), 16)
		total := 0
		for {
			message, err := readMessage(r)
			if err != nil {
				return
			}
			if total += len(message); len(message) > ng.MaxCookie+1+ng.MaxSize || total > len(data) {
				t.Fatalf("%d bytes of %d", len(message), len(data))
			}
			_, body, err := ng.SplitCookie(message)
			if err != nil {
				continue // an empty cookie: dropped
			}
			// If the decoder takes a longer or shorter piece, the two disagree on framing.
			if _, _, err := ng.DecodeRequest(body); err != nil && strings.Contains(err.Error(), "trailing bytes") {
				t.Fatalf("%q: %v", body, err)
			}
		}
	})
}
