package edge

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/gobwas/ws"
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
		cfg := l.accepts.Clone()
		cfg.NextProtos = []string{"http/1.1"} // WebSocket needs HTTP/1.1
		ln = tls.NewListener(ln, cfg)
	}
	if err := l.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		l.edge.log.Error("web listener ended", zap.String("listener", l.Name), zap.Error(err))
	}
}

// upgrade checks subprotocol and origin and makes the WebSocket.
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
	proof, err := l.authenticate(r)
	if err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "the token is not accepted", http.StatusUnauthorized)
		log.Warn("authentication failed", zap.Error(err))
		return
	}
	upgrader := ws.HTTPUpgrader{
		Timeout: e.limits.Write, Protocol: func(offered string) bool { return strings.EqualFold(offered, subprotocol) },
	}
	conn, buffers, _, err := upgrader.Upgrade(r, w)
	if err != nil {
		log.Debug("websocket handshake failed", zap.Error(err))
		if conn != nil {
			_ = conn.Close()
		}
		return
	}
	early, _ := buffers.Reader.Peek(buffers.Reader.Buffered()) // as much as is there
	c := newWebConn(l, conn, bytes.Clone(early))
	c.names, c.proof = l.namesOf(r.TLS), proof
	if !e.table.add(c, &e.wg) {
		c.shut()
		return
	}
	// In a goroutine of its own, so that what net/http has for this connection is given back, with the stack that TLS has grown.
	go func() {
		defer e.wg.Done()
		c.serve()
	}()
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

// authenticate verifies the token of a handshake.
func (l *listener) authenticate(r *http.Request) (request.Proof, error) {
	if l.Authenticate == nil {
		return request.Proof{}, nil
	}
	proof, err := l.Authenticate(r)
	if source, bad := netip.ParseAddrPort(r.RemoteAddr); err != nil && bad == nil && l.BadToken != nil {
		l.BadToken(source.Addr())
	}
	return proof, err
}
