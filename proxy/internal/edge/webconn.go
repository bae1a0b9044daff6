package edge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
	"github.com/gobwas/ws"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// readChunk is how much of a message is made room for before it has come.
const readChunk = 4096

// webConn is a WS or WSS connection. A browser is silent nearly all the time, so it holds no buffer and one goroutine.
type webConn struct {
	l             *listener
	id            request.ConnectionID
	local, remote netip.AddrPort
	names         []string      // of the verified client certificate
	proof         request.Proof // of a token in the handshake
	net           net.Conn
	early         []byte // came with the handshake, to be read first

	writing sync.Mutex
	pinging sync.Mutex // held while a ping is sent
	timer   *time.Timer
	heard   atomic.Bool // something has come since the last ping
	once    sync.Once
	closed  chan struct{}
}

func newWebConn(l *listener, conn net.Conn, early []byte) *webConn {
	c := &webConn{
		l: l, id: l.edge.table.newID(), net: conn, early: early, closed: make(chan struct{}),
		local: unmapped(conn.LocalAddr()), remote: unmapped(conn.RemoteAddr()),
	}
	c.heard.Store(true)
	return c
}

func (c *webConn) ID() request.ConnectionID     { return c.id }
func (c *webConn) Transport() request.Transport { return c.l.Transport }
func (c *webConn) Local() netip.AddrPort        { return c.local }
func (c *webConn) Remote() netip.AddrPort       { return c.remote }
func (c *webConn) Listener() string             { return c.l.Name }
func (c *webConn) SentBy() string               { return c.l.sentBy }
func (c *webConn) Profile() string              { return c.l.Profile }
func (c *webConn) Dialled() bool                { return false }
func (c *webConn) Closed() <-chan struct{}      { return c.closed }
func (c *webConn) PeerNames() []string          { return c.names }

// Proof is that of the handshake; see request.ProofOf.
func (c *webConn) Proof() (request.Proof, bool) { return c.proof, c.proof.User != "" }

func (c *webConn) Send(msg sip.Message) error { return c.write(encode(msg)) }

// write sends one message as one WebSocket message: text, or binary when it is not UTF-8 (RFC 7118 §5.2).
func (c *webConn) write(data []byte) error {
	if utf8.Valid(data) {
		return c.frame(ws.OpText, data)
	}
	return c.frame(ws.OpBinary, data)
}

// frame sends one frame whole or closes the connection.
func (c *webConn) frame(op ws.OpCode, payload []byte) error {
	data := ws.MustCompileFrame(ws.NewFrame(op, true, payload))
	c.writing.Lock()
	defer c.writing.Unlock()
	if !request.Alive(c) {
		return request.ErrConnectionClosed
	}
	_ = c.net.SetWriteDeadline(time.Now().Add(c.l.edge.limits.Write))
	if _, err := c.net.Write(data); err != nil {
		c.shut()
		return errors.Join(request.ErrConnectionClosed, err)
	}
	return nil
}

// Shut closes the connection; see request.Shut.
func (c *webConn) Shut() { c.shut() }

func (c *webConn) shut() {
	c.once.Do(func() {
		close(c.closed)
		_ = c.net.Close()
	})
}

// serve reads until the connection ends, and tells the handler when it is gone.
func (c *webConn) serve() {
	e := c.l.edge
	c.pinging.Lock()
	c.timer = time.AfterFunc(e.limits.Ping, c.ping)
	c.pinging.Unlock()
	err := c.read()
	e.log.Debug("websocket closed", zap.String("connection", string(c.id)), zap.String("listener", c.l.Name),
		zap.Stringer("source", c.remote), zap.Error(err))
	var broken ws.ProtocolError
	switch {
	case errors.As(err, &broken):
		c.l.faulty(c)
		c.goodbye(ws.StatusProtocolError)
	case errors.Is(err, errMessageTooLarge):
		c.l.faulty(c)
		c.goodbye(ws.StatusMessageTooBig)
	}
	c.shut()
	c.pinging.Lock() // a ping under way ends with the connection
	c.timer.Stop()
	c.pinging.Unlock()
	e.table.remove(c.id)
	e.handler.Closed(c)
}

// goodbye says why the connection is closed.
func (c *webConn) goodbye(code ws.StatusCode) {
	_ = c.frame(ws.OpClose, ws.NewCloseFrameBody(code, ""))
}

var errMessageTooLarge = errors.New("message over the limits of header and body")

// errClosed is the end by a close frame.
var errClosed = errors.New("closed by the peer")

// read takes messages, text or binary, in one frame or several, until the connection ends.
func (c *webConn) read() error {
	e := c.l.edge
	in := io.Reader(c.net)
	if len(c.early) > 0 {
		in = io.MultiReader(bytes.NewReader(c.early), c.net)
		c.early = nil
	}
	var message []byte
	state := ws.StateServerSide
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			return err
		}
		c.heard.Store(true)
		if err := ws.CheckHeader(h, state); err != nil {
			return err
		}
		if !state.Fragmented() {
			// What is begun must be complete soon; between messages the pings watch over the peer.
			_ = c.net.SetReadDeadline(time.Now().Add(e.limits.Handshake))
		}
		if h.OpCode.IsControl() {
			err = c.control(in, h)
		} else if message, err = c.payload(in, h, message); err == nil && h.Fin {
			c.message(message)
			message, state = nil, state.Clear(ws.StateFragmented)
		} else if err == nil {
			state = state.Set(ws.StateFragmented)
		}
		if err != nil {
			return err
		}
		if !state.Fragmented() {
			_ = c.net.SetReadDeadline(time.Time{})
		}
	}
}

// payload appends that of a data frame. Room is made as it comes, not as it is announced.
func (c *webConn) payload(in io.Reader, h ws.Header, message []byte) ([]byte, error) {
	if h.Length > int64(c.l.edge.limits.Header+c.l.edge.limits.Body-len(message)) {
		return nil, fmt.Errorf("%w: %d bytes more", errMessageTooLarge, h.Length)
	}
	for done := 0; done < int(h.Length); {
		n := min(int(h.Length)-done, max(readChunk, len(message)))
		message = append(message, make([]byte, n)...)
		part := message[len(message)-n:]
		if _, err := io.ReadFull(in, part); err != nil {
			return nil, err
		}
		ws.Cipher(part, h.Mask, done)
		done += n
	}
	return message, nil
}

// control answers pings and close frames.
func (c *webConn) control(in io.Reader, h ws.Header) error {
	payload := make([]byte, h.Length) // at most 125 bytes, see ws.CheckHeader
	if _, err := io.ReadFull(in, payload); err != nil {
		return err
	}
	ws.Cipher(payload, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		return c.frame(ws.OpPong, payload)
	case ws.OpClose:
		if len(payload) >= 2 {
			payload = payload[:2] // the code alone goes back
		}
		_ = c.frame(ws.OpClose, payload)
		return errClosed
	}
	return nil
}

// message takes a whole one.
func (c *webConn) message(data []byte) {
	if isKeepAlive(data) {
		if bytes.Count(data, []byte("\n")) >= 2 {
			_ = c.write([]byte("\r\n"))
		}
		return
	}
	c.l.edge.receive(c.l, c, bytes.TrimLeft(data, "\r\n"), time.Now())
}

// ping keeps NAT bindings and proxies in between open, and finds out when the browser has gone without a word.
func (c *webConn) ping() {
	c.pinging.Lock()
	defer c.pinging.Unlock()
	if !request.Alive(c) {
		return
	}
	if !c.heard.Swap(false) {
		c.l.edge.log.Debug("websocket does not answer pings", zap.String("connection", string(c.id)), zap.Stringer("source", c.remote))
		c.shut()
		return
	}
	if c.frame(ws.OpPing, nil) == nil {
		c.timer.Reset(c.l.edge.limits.Ping)
	}
}
