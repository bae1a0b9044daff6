package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Edge holds the listeners and the connection table. It implements request.Connections.
type Edge struct {
	limits    Limits
	log       *zap.Logger
	listeners []*listener
	table     *table
	sources   *sourceCount
	turns     *turns

	handler Handler
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// listener is one bound socket.
type listener struct {
	Listener
	edge    *Edge
	addr    netip.AddrPort
	sentBy  string
	accepts *tls.Config // TLS for accepted connections
	packet  *net.UDPConn
	stream  net.Listener
	server  *http.Server
}

// Bound tells where a listener really listens.
type Bound struct {
	Name      string
	Transport request.Transport
	Addr      netip.AddrPort
	SentBy    string
	Profile   string
}

// New binds all listeners; nothing is read before Serve. On error everything is closed again.
func New(listeners []Listener, limits Limits, log *zap.Logger) (*Edge, error) {
	e := &Edge{limits: limits.withDefaults(), log: log}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.table, e.turns = newTable(), newTurns()
	e.sources = newSourceCount(e.limits.Connections, e.limits.ConnectionsPerSource)
	names := map[string]bool{}
	for _, cfg := range listeners {
		if names[cfg.Name] {
			e.Close()
			return nil, fmt.Errorf("listener %q: name used twice", cfg.Name)
		}
		names[cfg.Name] = true
		l, err := e.bind(cfg)
		if err != nil {
			e.Close()
			return nil, fmt.Errorf("listener %q: %w", cfg.Name, err)
		}
		e.listeners = append(e.listeners, l)
	}
	return e, nil
}

// bind opens the socket of one listener.
func (e *Edge) bind(cfg Listener) (*listener, error) {
	l := &listener{Listener: cfg, edge: e}
	family := "4"
	if cfg.Address.Addr().Is6() && !cfg.Address.Addr().Is4In6() {
		family = "6"
	}
	switch cfg.Transport {
	case request.UDP:
		conn, err := net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(cfg.Address))
		if err != nil {
			return nil, err
		}
		// Failing to enlarge the buffer costs only burst tolerance.
		_ = conn.SetReadBuffer(4 << 20)
		l.packet, l.addr = conn, unmapped(conn.LocalAddr())
	case request.TCP, request.TLS, request.WS, request.WSS:
		if cfg.Transport.Secure() {
			if cfg.TLS == nil {
				return nil, errors.New("needs a TLS configuration")
			}
			l.accepts = e.turns.during(cfg.TLS, e.limits.Handshake)
		}
		ln, err := net.ListenTCP("tcp"+family, net.TCPAddrFromAddrPort(cfg.Address))
		if err != nil {
			return nil, err
		}
		l.addr = unmapped(ln.Addr())
		l.stream = &guardedListener{TCPListener: ln, l: l}
		if cfg.Transport.WebSocket() {
			l.server = l.webServer()
		}
	default:
		return nil, fmt.Errorf("unknown transport %q", cfg.Transport)
	}
	l.sentBy = l.advertise()
	return l, nil
}

// advertise is the "host:port" for Via and Record-Route.
func (l *listener) advertise() string {
	host, port := l.AdvertisedHost, l.AdvertisedPort
	if host == "" {
		addr := l.addr.Addr()
		if addr.IsUnspecified() {
			addr = anyAddress(addr.Is6())
		}
		host = addr.WithZone("").String()
	}
	if port == 0 {
		port = l.addr.Port()
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(port)))
}

// anyAddress picks an address of this host for listeners bound to all addresses: a global one, else loopback.
func anyAddress(six bool) netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if err == nil && prefix.Addr().Is6() == six && prefix.Addr().IsGlobalUnicast() {
				return prefix.Addr()
			}
		}
	}
	if six {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// Serve starts reading and returns at once. It is called once.
func (e *Edge) Serve(h Handler) {
	e.handler = h
	for _, l := range e.listeners {
		switch {
		case l.packet != nil:
			l.serveDatagrams()
		case l.server != nil:
			e.wg.Go(l.serveWeb)
		default:
			e.wg.Go(l.serveStreams)
		}
		e.log.Info("listening", zap.String("listener", l.Name), zap.String("transport", string(l.Transport)),
			zap.Stringer("address", l.addr), zap.String("advertised", l.sentBy))
	}
}

// Close closes all sockets and waits for all goroutines.
func (e *Edge) Close() {
	e.cancel()
	for _, l := range e.listeners {
		if l.packet != nil {
			_ = l.packet.Close()
		}
		if l.stream != nil {
			_ = l.stream.Close()
		}
		if l.server != nil {
			// Pages being served may finish; Shutdown does not touch WebSockets.
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = l.server.Shutdown(ctx)
			cancel()
			_ = l.server.Close()
		}
	}
	e.table.closeAll()
	e.wg.Wait()
}

// Listeners tells what is bound, in the order configured.
func (e *Edge) Listeners() []Bound {
	out := make([]Bound, 0, len(e.listeners))
	for _, l := range e.listeners {
		out = append(out, Bound{Name: l.Name, Transport: l.Transport, Addr: l.addr, SentBy: l.sentBy, Profile: l.Profile})
	}
	return out
}

// Connections counts the stream and WebSocket connections that are up.
func (e *Edge) Connections() map[request.Transport]int {
	counts := map[request.Transport]int{}
	for _, l := range e.listeners {
		if l.packet == nil {
			counts[l.Transport] = 0
		}
	}
	e.table.count(counts)
	return counts
}

// Supposed is a connection by which nothing ever comes: that of a peer at remote who speaks to the named listener, or to the first one
// for ""; nil if there is no such listener. It is for questions of the kind "what if".
func (e *Edge) Supposed(remote netip.AddrPort, listener string) request.Connection {
	for _, l := range e.listeners {
		if listener == "" || l.Name == listener {
			return supposed{l, remote}
		}
	}
	return nil
}

// Read parses a whole message as a listener does. The error says what is malformed.
func Read(data []byte) (sip.Message, error) {
	msg, fault, err := parse(data)
	if err == nil && fault != "" {
		err = errors.New(fault)
	}
	return msg, err
}

// Owns reports whether host and port (0: the default of any transport) are an address of one of the listeners, as used in
// Route headers and request URIs.
func (e *Edge) Owns(host string, port int) bool {
	host = strings.Trim(host, "[]")
	for _, l := range e.listeners {
		want := uint16(port)
		if port == 0 {
			want = l.Transport.DefaultPort()
		}
		advertised, p, err := net.SplitHostPort(l.sentBy)
		if err == nil && strings.EqualFold(advertised, host) && p == strconv.Itoa(int(want)) {
			return true
		}
		if addr, err := netip.ParseAddr(host); err == nil && l.addr.Addr() == addr && l.addr.Port() == want {
			return true
		}
	}
	return false
}

// Get implements request.Connections.
func (e *Edge) Get(id request.ConnectionID) (request.Connection, bool) {
	if rest, ok := strings.CutPrefix(string(id), udpPrefix); ok {
		remote, name, ok := strings.Cut(rest, "/")
		if addr, err := netip.ParseAddrPort(remote); ok && err == nil {
			for _, l := range e.listeners {
				if l.Name == name && l.packet != nil {
					return l.datagramConnection(addr), true
				}
			}
		}
		return nil, false
	}
	return e.table.get(id)
}

// Reach implements request.Connections.
func (e *Edge) Reach(ctx context.Context, hop request.Hop) (request.Connection, error) {
	if hop.Transport.WebSocket() {
		return nil, request.ErrNeverDialled
	}
	l := e.listenerFor(hop)
	if l == nil {
		return nil, fmt.Errorf("%s %v: %w", hop.Transport, hop.Addr, request.ErrNoListener)
	}
	if l.packet != nil {
		return l.datagramConnection(hop.Addr), nil
	}
	return e.table.reach(ctx, l, hop)
}

// listenerFor chooses the listener to send from: the named one, else the one the kernel's routing would use, else the first.
func (e *Edge) listenerFor(hop request.Hop) *listener {
	var fit []*listener
	for _, l := range e.listeners {
		if l.Transport == hop.Transport && l.addr.Addr().Is4() == hop.Addr.Addr().Is4() {
			if l.Name == hop.Listener {
				return l
			}
			fit = append(fit, l)
		}
	}
	if len(fit) < 2 {
		if len(fit) == 0 {
			return nil
		}
		return fit[0]
	}
	// Connecting a UDP socket sends nothing; it asks the kernel for the source address towards the hop.
	if probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(hop.Addr.Addr(), 9))); err == nil {
		source := unmapped(probe.LocalAddr()).Addr()
		_ = probe.Close()
		for _, l := range fit {
			if l.addr.Addr() == source {
				return l
			}
		}
	}
	return fit[0]
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Workers, 4)
	set(&l.Queue, 1024)
	set(&l.Header, 16384)
	set(&l.Body, 65536)
	set(&l.Connections, 20000)
	set(&l.ConnectionsPerSource, 1000)
	wait(&l.Handshake, 10*time.Second)
	wait(&l.Idle, 10*time.Minute)
	wait(&l.Write, 5*time.Second)
	wait(&l.Dial, 4*time.Second)
	wait(&l.Ping, 25*time.Second)
	return l
}

// unmapped turns a socket address into an address without IPv4-in-IPv6 mapping.
func unmapped(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch v := a.(type) {
	case *net.UDPAddr:
		ap = v.AddrPort()
	case *net.TCPAddr:
		ap = v.AddrPort()
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// admits reports whether a source may speak to the listener.
func (l *listener) admits(source netip.Addr) bool { return l.Admit == nil || l.Admit(source) }

// faulty tells of a peer that breaks the rules.
func (l *listener) faulty(conn request.Connection) {
	if l.Faulty != nil {
		l.Faulty(conn)
	}
}
