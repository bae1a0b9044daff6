package admin

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Bounds of WebSocket connections.
const (
	maxSockets    = 256
	maxOfOne      = maxSockets / 2   // from one address
	socketIdle    = 10 * time.Minute // without a message, for Lines
	socketTimeout = 10 * time.Second // to take a reply
	maxMessage    = 256 << 10        // bytes
)

// SocketHandler serves one connection until it ends or ctx does. The connection
// is closed afterwards.
type SocketHandler func(ctx context.Context, conn *websocket.Conn, peer netip.AddrPort)

// Lines makes a SocketHandler of what answers one message with another.
func Lines(answer func(message []byte) []byte) SocketHandler {
	return func(ctx context.Context, conn *websocket.Conn, _ netip.AddrPort) {
		for {
			message, err := read(ctx, conn)
			if err != nil || write(ctx, conn, answer(message)) != nil {
				return
			}
		}
	}
}

func read(ctx context.Context, conn *websocket.Conn) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, socketIdle)
	defer cancel()
	_, message, err := conn.Read(ctx)
	return message, err
}

// write sends a reply. It is binary, as rtpengine's are.
func write(ctx context.Context, conn *websocket.Conn, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, socketTimeout)
	defer cancel()
	return conn.Write(ctx, websocket.MessageBinary, message)
}

// sockets are the WebSocket connections. They have left the HTTP server, which
// no longer knows of them.
type sockets struct {
	handlers map[string]SocketHandler
	ctx      context.Context
	cancel   context.CancelFunc

	mu      sync.Mutex
	open    int
	byAddr  map[netip.Addr]int
	closed  bool
	running sync.WaitGroup
}

func newSockets(handlers map[string]SocketHandler) *sockets {
	s := &sockets{handlers: handlers, byAddr: make(map[netip.Addr]int)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// serve takes the connection of a request over, if it speaks a subprotocol
// that there is. A browser must be on a page of this server.
func (s *sockets) serve(w http.ResponseWriter, r *http.Request, peer netip.AddrPort) {
	name, handler := s.choose(r)
	if handler == nil {
		respond(w, http.StatusBadRequest, "no such subprotocol\n")
		return
	}
	if !s.enter(peer.Addr()) {
		respond(w, http.StatusServiceUnavailable, "too many connections\n")
		return
	}
	defer s.leave(peer.Addr())
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{name}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return // the client has been told
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxMessage)
	handler(s.ctx, conn, peer)
}

// choose returns the first subprotocol of the request that there is.
func (s *sockets) choose(r *http.Request) (string, SocketHandler) {
	offered := strings.Split(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",")
	i := slices.IndexFunc(offered, func(name string) bool { return s.handlers[strings.TrimSpace(name)] != nil })
	if i < 0 {
		return "", nil
	}
	name := strings.TrimSpace(offered[i])
	return name, s.handlers[name]
}

// enter counts a connection; false if there are too many, of all or of one
// client, who must not keep out the others.
func (s *sockets) enter(client netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.open >= maxSockets || s.byAddr[client] >= maxOfOne {
		return false
	}
	s.open++
	s.byAddr[client]++
	s.running.Add(1)
	return true
}

func (s *sockets) leave(client netip.Addr) {
	s.mu.Lock()
	s.open--
	if s.byAddr[client]--; s.byAddr[client] == 0 {
		delete(s.byAddr, client)
	}
	s.mu.Unlock()
	s.running.Done()
}

// close ends all connections.
func (s *sockets) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
}

func (s *sockets) wait() { s.running.Wait() }
