package ngserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// dialWeb connects to s by WebSocket.
func dialWeb(t *testing.T, s *Server, plain bool) *websocket.Conn {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		serve := s.WebSocket
		if plain {
			serve = s.PlainWebSocket
		}
		serve(context.Background(), conn, netip.MustParseAddrPort(r.RemoteAddr))
	}))
	conn, _, err := websocket.Dial(context.Background(), strings.Replace(web.URL, "http", "ws", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.CloseNow()
		web.Close()
	})
	return conn
}

func say(t *testing.T, conn *websocket.Conn, message string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	kind, reply, err := conn.Read(ctx)
	if err != nil || kind != websocket.MessageBinary {
		t.Fatal(kind, err)
	}
	return string(reply)
}

func TestWebSocket(t *testing.T) {
	s := serve(t, func(_ context.Context, req *ng.Request) ng.Reply {
		if !req.Peer.Addr().IsLoopback() {
			return ng.Fail(ng.ReasonInternal)
		}
		return &ng.Pong{}
	})
	conn := dialWeb(t, s, false)
	say(t, conn, "without-cookie")
	for message, want := range map[string]string{
		"a d7:command4:pinge":  "a d6:result4:ponge",
		`b {"command":"ping"}`: `b {"result":"pong"}`,
		"c rubbish":            "c d6:result5:error12:error-reason22:Invalid NG data formate",
	} {
		say(t, conn, message)
		if got := hear(t, conn); got != want {
			t.Errorf("%q: got %q, want %q", message, got, want)
		}
	}
	plain := dialWeb(t, s, true)
	say(t, plain, `{"command":"ping"}`)
	if got := hear(t, plain); got != `{"result":"pong"}` {
		t.Errorf("got %q", got)
	}
}

// The reply cache is that of all transports.
func TestWebSocketRepeatsAreAnsweredFromTheCache(t *testing.T) {
	calls := 0
	s := serve(t, func(context.Context, *ng.Request) ng.Reply {
		calls++
		return &ng.Pong{}
	})
	first, second := dialWeb(t, s, false), dialWeb(t, s, false)
	for _, conn := range []*websocket.Conn{first, second, first} {
		say(t, conn, "same d7:command4:pinge")
		if got := hear(t, conn); got != "same d6:result4:ponge" {
			t.Errorf("got %q", got)
		}
	}
	if calls != 1 {
		t.Errorf("the command ran %d times", calls)
	}
}

// The end of the server ends its connections.
func TestCloseEndsWebSockets(t *testing.T) {
	s := serve(t, pong)
	conn := dialWeb(t, s, false)
	say(t, conn, "a d7:command4:pinge")
	hear(t, conn)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("still open: %v", err)
	}
}

// A client that asks and never reads is cut off, and costs no more than its
// queue.
func TestWebSocketClientThatDoesNotRead(t *testing.T) {
	big := strings.Repeat("x", 60000)
	s := serve(t, func(context.Context, *ng.Request) ng.Reply { return &ng.SDPReply{SDP: big} })
	conn := dialWeb(t, s, false)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for i := 0; ; i++ {
		if err := conn.Write(ctx, websocket.MessageText, []byte("c"+string(rune('0'+i%10))+strings.Repeat("y", i/10%200)+" d7:command4:pinge")); err != nil {
			break
		}
	}
	if ctx.Err() != nil {
		t.Error("never cut off")
	}
}
