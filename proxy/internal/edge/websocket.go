package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// subprotocol is the WebSocket subprotocol of RFC 7118 §5.1.
const subprotocol = "sip"

// webServer is the HTTP server of a WS or WSS listener. It performs TLS and HTTP handshakes in the goroutine of each
// connection, within deadlines.
func (l *listener) webServer() *http.Server {
	path := l.Path
	if path == "" {
		path = "/ws"
	}
	mux := http.NewServeMux()
	mux.HandleFunc(path, l.upgrade)
	if l.Pages != nil && path != "/" {
		mux.Handle("/", l.Pages)
	}
	// What net/http has to say is handshakes that strangers broke off.
	faults, err := zap.NewStdLogAt(l.edge.log, zap.DebugLevel)
	if err != nil { // only for a level that does not exist
		panic(err)
	}
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: l.edge.limits.Handshake,
		ReadTimeout:       2 * l.edge.limits.Handshake,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          faults,
	}
}

func (l *listener) serveWeb() {
	ln := l.stream
	if l.Transport == request.WSS {
		cfg := l.TLS.Clone()
		cfg.NextProtos = []string{"http/1.1"} // WebSocket needs HTTP/1.1
		ln = tls.NewListener(ln, cfg)
	}
	if err := l.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		l.edge.log.Error("web listener ended", zap.String("listener", l.Name), zap.Error(err))
	}
}

// upgrade checks subprotocol and origin, makes the WebSocket and reads from it in this goroutine.
func (l *listener) upgrade(w http.ResponseWriter, r *http.Request) {
	e := l.edge
	log := e.log.With(zap.String("listener", l.Name), zap.String("source", r.RemoteAddr))
	if !offers(r.Header, subprotocol) {
		http.Error(w, "the WebSocket subprotocol sip is required", http.StatusBadRequest)
		log.Info("websocket refused, no subprotocol sip")
		return
	}
	if !l.originAllowed(r) {
		http.Error(w, "origin not allowed", http.StatusForbidden)
		log.Warn("websocket refused, origin not allowed", zap.String("origin", r.Header.Get("Origin")))
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocol}, InsecureSkipVerify: true, // checked above
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		log.Debug("websocket handshake failed", zap.Error(err))
		return
	}
	ws.SetReadLimit(int64(e.limits.Header + e.limits.Body))
	c := &webConn{l: l, id: e.table.newID(), ws: ws, closed: make(chan struct{}), local: l.addr, names: l.namesOf(r.TLS)}
	c.ctx, c.cancel = context.WithCancel(e.ctx)
	c.remote, _ = netip.ParseAddrPort(r.RemoteAddr)
	c.remote = netip.AddrPortFrom(c.remote.Addr().Unmap(), c.remote.Port())
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		c.local = unmapped(a)
	}
	if !e.table.add(c, &e.wg) {
		c.shut()
		return
	}
	defer e.wg.Done()
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		c.ping()
	}()
	c.read()
	c.shut()
	<-pinged
	e.table.remove(c.id)
	e.handler.Closed(c)
}

// offers reports whether the client offers a subprotocol (RFC 6455 §4.2.1: a comma-separated list).
func offers(h http.Header, name string) bool {
	for _, line := range h.Values("Sec-WebSocket-Protocol") {
		for v := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(v), name) {
				return true
			}
		}
	}
	return false
}

// originAllowed keeps foreign web pages from using a visitor's browser and network position (RFC 6455 §10.2).
func (l *listener) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if len(l.Origins) == 0 {
		u, err := url.Parse(origin)
		return err == nil && strings.EqualFold(u.Host, r.Host)
	}
	for _, o := range l.Origins {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
	}
	return false
}

// webConn is a WS or WSS connection.
type webConn struct {
	l             *listener
	id            request.ConnectionID
	local, remote netip.AddrPort
	names         []string // of the verified client certificate
	ws            *websocket.Conn
	ctx           context.Context
	cancel        context.CancelFunc
	once          sync.Once
	closed        chan struct{}
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

func (c *webConn) Send(msg sip.Message) error { return c.write(encode(msg)) }

// write sends one message as one WebSocket message: text, or binary when it is not UTF-8 (RFC 7118 §5.2).
func (c *webConn) write(data []byte) error {
	if !request.Alive(c) {
		return request.ErrConnectionClosed
	}
	kind := websocket.MessageText
	if !utf8.Valid(data) {
		kind = websocket.MessageBinary
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.l.edge.limits.Write)
	defer cancel()
	if err := c.ws.Write(ctx, kind, data); err != nil {
		c.shut()
		return errors.Join(request.ErrConnectionClosed, err)
	}
	return nil
}

func (c *webConn) shut() {
	c.once.Do(func() {
		close(c.closed)
		c.cancel()
		_ = c.ws.CloseNow()
	})
}

// read takes messages, text or binary, in one frame or several, until the connection ends.
func (c *webConn) read() {
	e := c.l.edge
	for {
		_, data, err := c.ws.Read(c.ctx)
		if err != nil {
			e.log.Debug("websocket closed", zap.String("connection", string(c.id)), zap.String("listener", c.l.Name),
				zap.Stringer("source", c.remote), zap.Error(err))
			return
		}
		if isKeepAlive(data) {
			if bytes.Count(data, []byte("\n")) >= 2 {
				_ = c.write([]byte("\r\n"))
			}
			continue
		}
		e.receive(c, bytes.TrimLeft(data, "\r\n"), time.Now())
	}
}

// ping keeps NAT bindings and proxies in between open, and finds out when the browser has gone without a word.
func (c *webConn) ping() {
	ticker := time.NewTicker(c.l.edge.limits.Ping)
	defer ticker.Stop()
	for {
		select {
		case <-c.closed:
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(c.ctx, c.l.edge.limits.Ping)
		err := c.ws.Ping(ctx)
		cancel()
		if err != nil {
			c.shut()
			return
		}
	}
}
