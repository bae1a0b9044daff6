package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"
	"go.uber.org/zap"
)

// guardedListener refuses connections over the limits or of sources that are not admitted before anything is read from them.
type guardedListener struct {
	*net.TCPListener
	l       *listener
	refused uint64

	behind sync.Once     // starts the reading of PROXY headers
	ready  chan net.Conn // with their header read
}

// acceptPause keeps a lack of file descriptors from becoming a lack of CPU.
const acceptPause = 5 * time.Millisecond

// Accept is called by one goroutine.
func (g *guardedListener) Accept() (net.Conn, error) {
	if g.l.ProxyFrom == nil {
		return g.direct()
	}
	g.behind.Do(func() {
		g.ready = make(chan net.Conn)
		g.l.edge.wg.Go(g.readHeaders)
	})
	c, ok := <-g.ready
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// direct accepts connections whose source is the client itself.
func (g *guardedListener) direct() (net.Conn, error) {
	for {
		c, err := g.accept()
		if err != nil {
			return nil, err
		}
		if admitted := g.admit(c); admitted != nil {
			return admitted, nil
		}
	}
}

func (g *guardedListener) accept() (*net.TCPConn, error) {
	for {
		c, err := g.AcceptTCP()
		if err == nil {
			return c, nil
		}
		// Running out of file descriptors passes; a closed listener does not.
		//lint:ignore SA1019 there is no other way to tell that apart
		if ne, ok := err.(net.Error); !ok || !ne.Temporary() {
			return nil, err
		}
		time.Sleep(acceptPause)
	}
}

// admit counts a connection whose source is known, or closes it and returns nil.
func (g *guardedListener) admit(c net.Conn) net.Conn {
	sources := g.l.edge.sources
	source := sourceOf(unmapped(c.RemoteAddr()).Addr())
	if !g.l.admits(source) {
		_ = c.Close()
		return nil
	}
	if !sources.enter(source) {
		_ = c.Close()
		if n := atomic.AddUint64(&g.refused, 1); n&(n-1) == 0 {
			g.l.edge.log.Warn("connections refused, too many", zap.String("listener", g.l.Name), zap.Stringer("source", source),
				zap.Uint64("refused", n))
		}
		return nil
	}
	return &countedConn{Conn: c, remote: c.RemoteAddr(), leave: func() { sources.leave(source) }}
}

// readHeaders accepts connections that come through a load balancer, which tells in a PROXY header whose they are. Nobody else
// is believed: others are clients themselves.
func (g *guardedListener) readHeaders() {
	var reading sync.WaitGroup
	defer func() {
		reading.Wait()
		close(g.ready)
	}()
	hand := func(c net.Conn) {
		if c = g.admit(c); c == nil {
			return
		}
		select {
		case g.ready <- c:
		case <-g.l.edge.ctx.Done():
			_ = c.Close()
		}
	}
	places := make(chan struct{}, awaitedHeaders)
	for {
		c, err := g.accept()
		if err != nil {
			return
		}
		if !g.l.ProxyFrom(unmapped(c.RemoteAddr()).Addr()) {
			hand(c)
			continue
		}
		places <- struct{}{}
		reading.Go(func() {
			told := proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(proxyHeaderTime))
			header := told.ProxyHeader()
			<-places
			if header == nil {
				g.l.edge.log.Info("no PROXY header from a load balancer", zap.String("listener", g.l.Name), zap.Stringer("source", c.RemoteAddr()))
				_ = c.Close()
				return
			}
			hand(told)
		})
	}
}

const (
	// awaitedHeaders bounds the connections whose PROXY header is awaited.
	awaitedHeaders = 1024
	// proxyHeaderTime is short: a load balancer sends its header at once.
	proxyHeaderTime = 3 * time.Second
)

// countedConn gives its place back when it is closed.
type countedConn struct {
	net.Conn
	remote net.Addr // of the client
	once   sync.Once
	leave  func()
	turn   atomic.Pointer[turns] // whose turn it holds
}

// RemoteAddr is the address of the client, also behind a load balancer.
func (c *countedConn) RemoteAddr() net.Addr { return c.remote }

func (c *countedConn) Read(b []byte) (int, error) {
	c.endTurn()
	return c.Conn.Read(b)
}

func (c *countedConn) Close() error {
	c.endTurn()
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}

func (c *countedConn) endTurn() {
	if t := c.turn.Swap(nil); t != nil {
		<-*t
	}
}

// turns lets few handshakes be computed at a time, in the order in which they came. Thousands at once would each be finished
// too late, and messages of calls would wait behind all of them for a processor.
type turns chan struct{}

func newTurns() *turns {
	t := make(turns, 2*runtime.GOMAXPROCS(0))
	return &t
}

// during makes the handshakes of a listener wait for their turn. A turn begins when the client has spoken, so that who says
// nothing holds none, and ends when the server waits for it again.
func (t *turns) during(config *tls.Config, limit time.Duration) *tls.Config {
	config = config.Clone()
	inner := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c, ok := hello.Conn.(*countedConn); ok {
			if err := t.wait(hello.Context(), limit); err != nil {
				return nil, err
			}
			c.turn.Store(t)
		}
		if inner != nil {
			return inner(hello)
		}
		return nil, nil
	}
	return config
}

// errBusy ends a handshake that had no turn in time: its client has given up as well.
var errBusy = errors.New("too many handshakes")

func (t *turns) wait(ctx context.Context, limit time.Duration) error {
	select {
	case *t <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case *t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errBusy
	}
}
