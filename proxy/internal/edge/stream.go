package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// streamConn is a TCP or TLS connection.
type streamConn struct {
	l             *listener
	id            request.ConnectionID
	host          string // name verified by TLS when dialled
	local, remote netip.AddrPort
	dialled       bool
	names         []string // of the verified client certificate
	net           net.Conn

	writing sync.Mutex
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) newStreamConn(c net.Conn, dialled bool, host string) *streamConn {
	return &streamConn{
		l: l, id: l.edge.table.newID(), host: host, dialled: dialled, net: c,
		local: unmapped(c.LocalAddr()), remote: unmapped(c.RemoteAddr()), closed: make(chan struct{}),
	}
}

func (c *streamConn) ID() request.ConnectionID     { return c.id }
func (c *streamConn) Transport() request.Transport { return c.l.Transport }
func (c *streamConn) Local() netip.AddrPort        { return c.local }
func (c *streamConn) Remote() netip.AddrPort       { return c.remote }
func (c *streamConn) Listener() string             { return c.l.Name }
func (c *streamConn) SentBy() string               { return c.l.sentBy }
func (c *streamConn) Profile() string              { return c.l.Profile }
func (c *streamConn) Dialled() bool                { return c.dialled }
func (c *streamConn) Closed() <-chan struct{}      { return c.closed }
func (c *streamConn) PeerNames() []string          { return c.names }

func (c *streamConn) Send(msg sip.Message) error { return c.write(encode(msg)) }

// write sends all bytes or closes the connection: half a message would spoil the framing.
func (c *streamConn) write(data []byte) error {
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
func (c *streamConn) Shut() { c.shut() }

func (c *streamConn) shut() {
	c.once.Do(func() {
		close(c.closed)
		_ = c.net.Close()
	})
}

// serveStreams accepts; handshakes happen in the goroutine of each connection.
func (l *listener) serveStreams() {
	for {
		raw, err := l.stream.Accept()
		if err != nil {
			return
		}
		l.edge.wg.Go(func() {
			conn, err := l.handshake(raw)
			if err != nil {
				l.edge.log.Debug("handshake failed", zap.String("listener", l.Name),
					zap.Stringer("source", raw.RemoteAddr()), zap.Error(err))
				_ = raw.Close()
				return
			}
			c := l.newStreamConn(conn, false, "")
			if secure, ok := conn.(*tls.Conn); ok {
				state := secure.ConnectionState()
				c.names = l.namesOf(&state)
			}
			if !l.edge.table.add(c, nil) {
				c.shut()
				return
			}
			l.edge.serveStream(c)
		})
	}
}

// handshake makes a TLS connection of a raw one, within its deadline.
func (l *listener) handshake(raw net.Conn) (net.Conn, error) {
	if l.Transport != request.TLS {
		return raw, nil
	}
	ctx, cancel := context.WithTimeout(l.edge.ctx, l.edge.limits.Handshake)
	defer cancel()
	conn := tls.Server(raw, l.accepts)
	return conn, conn.HandshakeContext(ctx)
}

// serveStream reads messages until the connection ends, and tells the handler when it is gone.
func (e *Edge) serveStream(c *streamConn) {
	defer func() {
		c.shut()
		e.table.remove(c.id)
		e.handler.Closed(c)
	}()
	deadline := func(d time.Duration) { _ = c.net.SetReadDeadline(time.Now().Add(d)) }
	f := frames{
		in: c.net, header: e.limits.Header, body: e.limits.Body,
		// A message once begun must be complete soon; between messages the peer may be idle.
		started: func() { deadline(e.limits.Handshake) },
		// A keep-alive is a sign of life: a phone that registers once an hour sends nothing else for longer than Idle.
		pong: func() {
			deadline(e.limits.Idle)
			_ = c.write([]byte("\r\n"))
		},
	}
	for {
		deadline(e.limits.Idle)
		data, err := f.next()
		if err != nil {
			if errors.Is(err, errNoLength) {
				e.refuse(c, data)
			}
			level := e.log.Debug
			if errors.Is(err, errHeaderTooLarge) || errors.Is(err, errBodyTooLarge) || errors.Is(err, errNoLength) {
				level = e.log.Warn
				c.l.faulty(c)
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				level("connection closed", zap.String("connection", string(c.id)), zap.String("listener", c.l.Name),
					zap.Stringer("source", c.remote), zap.Error(err))
			}
			return
		}
		e.receive(c.l, c, data, time.Now())
	}
}

// refuse answers a request whose end cannot be found (RFC 4475 §3.3.9).
func (e *Edge) refuse(c *streamConn, head []byte) {
	if msg, reason, err := parse(head); err == nil {
		if req, ok := msg.(*sip.Request); ok {
			if reason == "" {
				reason = "no Content-Length on a stream"
			}
			e.handler.Malformed(c, req, reason)
		}
	}
}

// dial opens a TCP or TLS connection from the listener's address.
func (l *listener) dial(ctx context.Context, hop request.Hop) (*streamConn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.edge.limits.Dial)
	defer cancel()
	dialer := net.Dialer{}
	if a := l.addr.Addr(); !a.IsUnspecified() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
	}
	raw, err := dialer.DialContext(ctx, "tcp", hop.Addr.String())
	if err != nil {
		return nil, err
	}
	if l.Transport != request.TLS {
		return l.newStreamConn(raw, true, hop.Host), nil
	}
	conn := tls.Client(raw, l.clientConfig(hop))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return l.newStreamConn(conn, true, hop.Host), nil
}

// clientConfig is what a hop is dialled by.
func (l *listener) clientConfig(hop request.Hop) *tls.Config {
	if l.Client != nil {
		return l.Client(hop)
	}
	cfg := l.TLS.Clone()
	cfg.ServerName = hop.Host
	if cfg.ServerName == "" {
		cfg.ServerName = hop.Addr.Addr().String()
	}
	return cfg
}

// namesOf reads the names of a peer that has shown a certificate; TLS has verified it.
func (l *listener) namesOf(state *tls.ConnectionState) []string {
	if l.PeerNames == nil || state == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	return l.PeerNames(state.PeerCertificates[0])
}
