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

	"go.uber.org/zap"
)

// guardedListener refuses connections over the limits before anything is read from them.
type guardedListener struct {
	*net.TCPListener
	sources *sourceCount
	log     *zap.Logger
	refused uint64
}

// acceptPause keeps a lack of file descriptors from becoming a lack of CPU.
const acceptPause = 5 * time.Millisecond

// Accept is called by one goroutine.
func (g *guardedListener) Accept() (net.Conn, error) {
	for {
		c, err := g.TCPListener.AcceptTCP()
		if err != nil {
			// Running out of file descriptors passes; a closed listener does not.
			//lint:ignore SA1019 there is no other way to tell that apart
			if ne, ok := err.(net.Error); ok && ne.Temporary() {
				time.Sleep(acceptPause)
				continue
			}
			return nil, err
		}
		source := sourceOf(unmapped(c.RemoteAddr()).Addr())
		if !g.sources.enter(source) {
			_ = c.Close()
			if g.refused++; g.refused&(g.refused-1) == 0 {
				g.log.Warn("connections refused, too many", zap.Stringer("source", source), zap.Uint64("refused", g.refused))
			}
			continue
		}
		return &countedConn{TCPConn: c, leave: func() { g.sources.leave(source) }}, nil
	}
}

// countedConn gives its place back when it is closed.
type countedConn struct {
	*net.TCPConn
	once  sync.Once
	leave func()
	turn  atomic.Pointer[turns] // whose turn it holds
}

func (c *countedConn) Read(b []byte) (int, error) {
	c.endTurn()
	return c.TCPConn.Read(b)
}

func (c *countedConn) Close() error {
	c.endTurn()
	err := c.TCPConn.Close()
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
