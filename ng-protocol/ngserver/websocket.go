package ngserver

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Subprotocols that WebSocket and PlainWebSocket speak.
const (
	Subprotocol      = "ng.rtpengine.com"
	SubprotocolPlain = "ng-plain.rtpengine.com"
)

// WebSocket serves a connection whose messages are as over UDP, with a cookie.
// It returns when the connection ends, ctx does or the server closes; the
// caller brings the HTTP server, bounds connections and closes conn.
func (s *Server) WebSocket(ctx context.Context, conn *websocket.Conn, peer netip.AddrPort) {
	s.webSocket(ctx, conn, peer, func(message []byte, to recipient) bool {
		return s.message(message, to)
	})
}

// PlainWebSocket serves a connection whose messages have no cookie.
func (s *Server) PlainWebSocket(ctx context.Context, conn *websocket.Conn, peer netip.AddrPort) {
	s.webSocket(ctx, conn, peer, s.plainMessage)
}

func (s *Server) webSocket(ctx context.Context, conn *websocket.Conn, peer netip.AddrPort, accept func([]byte, recipient) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	client := &webClient{peer: peer, out: make(chan []byte, maxWebReplies), cancel: cancel}
	if !s.admit(peer, client) {
		return
	}
	conn.SetReadLimit(ng.MaxCookie + 1 + ng.MaxSize)
	var writer sync.WaitGroup
	defer writer.Wait()
	defer cancel()
	writer.Go(func() { client.write(ctx, conn) })
	for {
		message, err := readWeb(ctx, conn, s.cfg.IdleTimeout)
		if err != nil {
			return
		}
		s.received.Add(1)
		accept(message, client) // a message without cookie gets no answer; one that is dropped is repeated
	}
}

func readWeb(ctx context.Context, conn *websocket.Conn, idle time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, idle)
	defer cancel()
	_, message, err := conn.Read(ctx)
	return message, err
}

// maxWebReplies is how many replies may wait for a client to take them.
const maxWebReplies = 64

// webClient is one WebSocket connection.
type webClient struct {
	peer   netip.AddrPort
	out    chan []byte
	queued atomic.Int64 // bytes in out, and of what is being written
	cancel context.CancelFunc
}

func (c *webClient) String() string { return "ws:" + c.peer.String() }

func (c *webClient) address() netip.AddrPort { return c.peer }

// deliver queues a reply. A client that lets too many pile up is cut off.
func (c *webClient) deliver(message []byte) error {
	if n := int64(len(message)); c.queued.Add(n) > max(n, maxOutgoing) {
		c.cancel()
		return errSlowReader
	}
	select {
	case c.out <- message:
		return nil
	default:
		c.cancel()
		return errSlowReader
	}
}

// write sends what is queued, as binary messages, as rtpengine's are.
func (c *webClient) write(ctx context.Context, conn *websocket.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-c.out:
			sending, cancel := context.WithTimeout(ctx, writeTimeout)
			err := conn.Write(sending, websocket.MessageBinary, message)
			cancel()
			c.queued.Add(-int64(len(message)))
			if err != nil {
				c.cancel()
				return
			}
		}
	}
}
