package edge

import (
	"bytes"
	"errors"
	"hash/maphash"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

const (
	udpPrefix = "udp:"
	// maxDatagram is the largest UDP payload over IPv4.
	maxDatagram = 65507
	// maxQueuedBytes bounds what all workers of a listener hold.
	maxQueuedBytes = 16 << 20
)

// datagram is one received packet waiting for a worker.
type datagram struct {
	data   []byte
	remote netip.AddrPort
	at     time.Time
}

// serveDatagrams starts the reader and the workers of a UDP listener. Datagrams of one Call-ID go to one worker, so that
// they stay in order; a full queue drops, as the network would.
func (l *listener) serveDatagrams() {
	e := l.edge
	queues := make([]chan datagram, e.limits.Workers)
	queued := new(atomic.Int64)
	for i := range queues {
		queue := make(chan datagram, e.limits.Queue)
		queues[i] = queue
		e.wg.Go(func() {
			for d := range queue {
				queued.Add(-int64(len(d.data)))
				e.receive(l, l.datagramConnection(d.remote), d.data, d.at)
			}
		})
	}
	e.wg.Go(func() {
		defer func() {
			for _, q := range queues {
				close(q)
			}
		}()
		l.readDatagrams(queues, queued)
	})
}

func (l *listener) readDatagrams(queues []chan datagram, queued *atomic.Int64) {
	seed := maphash.MakeSeed()
	buf := make([]byte, 65535)
	var dropped uint64
	for {
		n, remote, err := l.packet.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// ICMP errors of earlier sends turn up here; they say nothing about the next read.
			continue
		}
		data := bytes.TrimLeft(buf[:n], "\r\n")
		if isKeepAlive(data) || !l.admits(remote.Addr().Unmap()) {
			continue
		}
		if queued.Load()+int64(len(data)) > maxQueuedBytes {
			dropped++
			continue
		}
		d := datagram{bytes.Clone(data), netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()), time.Now()}
		queue := queues[maphash.Bytes(seed, orderKey(data))%uint64(len(queues))]
		queued.Add(int64(len(d.data)))
		select {
		case queue <- d:
		default:
			queued.Add(-int64(len(d.data)))
			dropped++
			if dropped&(dropped-1) == 0 {
				l.edge.log.Warn("datagrams dropped, queue full", zap.String("listener", l.Name), zap.Uint64("dropped", dropped))
			}
		}
	}
}

// isKeepAlive reports what phones send to hold NAT bindings: nothing, CRLFs (trimmed already), blanks or NULs.
func isKeepAlive(data []byte) bool {
	return len(bytes.Trim(data, "\x00 \t\r\n")) == 0
}

// orderKey finds the Call-ID without parsing; without one, the first line serves.
func orderKey(data []byte) []byte {
	for rest := data; ; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 || i+2 >= len(rest) {
			break
		}
		rest = rest[i+1:]
		if rest[0] == '\r' {
			break
		}
		if c := rest[0] | 0x20; c != 'c' && c != 'i' {
			continue
		}
		line, _, _ := bytes.Cut(rest, []byte("\r"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		name = bytes.TrimSpace(name)
		if ok && (bytes.EqualFold(name, []byte("Call-ID")) || bytes.EqualFold(name, []byte("i"))) {
			return bytes.TrimSpace(value)
		}
	}
	line, _, _ := bytes.Cut(data, []byte("\r"))
	return line
}

// receive parses one whole message and hands it over.
func (e *Edge) receive(l *listener, conn request.Connection, data []byte, at time.Time) {
	msg, reason, err := parse(data)
	if err != nil {
		e.log.Debug("message dropped", zap.Stringer("source", conn.Remote()), zap.String("listener", conn.Listener()),
			zap.Int("bytes", len(data)), zap.Error(err))
		l.faulty(conn)
		return
	}
	if reason != "" {
		l.faulty(conn)
		e.handler.Malformed(conn, msg.(*sip.Request), reason)
		return
	}
	e.handler.Receive(conn, msg, at)
}

// datagramConn is the pair of a UDP listener and a remote address. It holds no state of its own.
type datagramConn struct {
	l      *listener
	remote netip.AddrPort
}

func (l *listener) datagramConnection(remote netip.AddrPort) request.Connection {
	return datagramConn{l, remote}
}

func (c datagramConn) ID() request.ConnectionID {
	return request.ConnectionID(udpPrefix + c.remote.String() + "/" + c.l.Name)
}
func (c datagramConn) Transport() request.Transport { return request.UDP }
func (c datagramConn) Local() netip.AddrPort        { return c.l.addr }
func (c datagramConn) Remote() netip.AddrPort       { return c.remote }
func (c datagramConn) Listener() string             { return c.l.Name }
func (c datagramConn) SentBy() string               { return c.l.sentBy }
func (c datagramConn) Profile() string              { return c.l.Profile }
func (c datagramConn) Dialled() bool                { return false }
func (c datagramConn) Closed() <-chan struct{}      { return c.l.edge.ctx.Done() }

func (c datagramConn) Send(msg sip.Message) error {
	data := encode(msg)
	if len(data) > maxDatagram {
		return request.ErrMessageTooLarge
	}
	_, err := c.l.packet.WriteToUDPAddrPort(data, c.remote)
	if errors.Is(err, net.ErrClosed) {
		return request.ErrConnectionClosed
	}
	return err
}
