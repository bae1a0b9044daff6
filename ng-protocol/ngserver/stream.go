package ngserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Bounds of one TCP connection.
const (
	messageTimeout = 10 * time.Second // from the first byte of a message to its last
	writeTimeout   = 5 * time.Second  // for what waits to be sent
	maxOutgoing    = 256 << 10        // bytes that wait to be sent, unless it is one reply
)

var (
	errSlowReader = errors.New("ngserver: client does not read its replies")
	errClosed     = errors.New("ngserver: connection is closed")
)

// streamListener accepts TCP connections, each a stream of "cookie space
// bencode" without delimiters.
type streamListener struct {
	server   *Server
	listener *net.TCPListener
	running  sync.WaitGroup // the accepter and all connections

	mu      sync.Mutex
	open    map[*stream]struct{}
	stopped bool
}

func (s *Server) listenStream(addr netip.AddrPort) (*streamListener, error) {
	l, err := net.ListenTCP(networkOf("tcp", addr), net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	return &streamListener{server: s, listener: l, open: make(map[*stream]struct{})}, nil
}

func (l *streamListener) addr() netip.AddrPort { return l.listener.Addr().(*net.TCPAddr).AddrPort() }

// accept takes connections until the listener closes.
func (l *streamListener) accept() {
	for {
		conn, err := l.listener.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			l.server.faults.warn("ng accept failed", slog.Any("error", err))
			time.Sleep(10 * time.Millisecond) // out of descriptors: must not spin
			continue
		}
		l.take(conn)
	}
}

// take serves a connection, or closes it if it may not be or there are too many.
func (l *streamListener) take(conn *net.TCPConn) {
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	st := &stream{
		server: l.server, conn: conn, more: make(chan struct{}, 1),
		peer: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()),
	}
	if !l.server.admit(st.peer, st) {
		conn.Close()
		return
	}
	l.mu.Lock()
	if l.stopped || len(l.open) >= l.server.cfg.Connections || l.crowdedLocked(st.peer.Addr()) {
		l.mu.Unlock()
		l.server.drop("ng connection refused: too many", st)
		conn.Close()
		return
	}
	l.open[st] = struct{}{}
	l.running.Add(2)
	l.mu.Unlock()
	if tos := l.server.cfg.TOS; tos != 0 {
		st.setTOS(tos)
	}
	go func() {
		defer l.running.Done()
		st.write()
		l.mu.Lock()
		delete(l.open, st)
		l.mu.Unlock()
	}()
	go func() {
		defer l.running.Done()
		if err := st.read(); err != nil {
			l.server.faults.warn("ng connection closed", slog.Any("error", err), slog.String("peer", st.String()))
		}
		if !l.isStopped() { // else replies to running commands are still to come
			st.finish()
		}
	}()
}

// crowdedLocked reports whether an address has its share of connections: no one
// client can keep out all others.
func (l *streamListener) crowdedLocked(addr netip.Addr) bool {
	n := 0
	for st := range l.open {
		if st.peer.Addr() == addr {
			n++
		}
	}
	return n >= max(l.server.cfg.Connections/2, 1)
}

func (l *streamListener) isStopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped
}

// stopReading accepts and reads no more; replies still go out until close.
func (l *streamListener) stopReading() {
	l.listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	for st := range l.open {
		_ = st.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// close sends what waits to be sent, closes all connections and waits for them.
func (l *streamListener) close() {
	l.stopReading()
	l.mu.Lock()
	for st := range l.open {
		st.finish()
	}
	l.mu.Unlock()
	l.running.Wait()
}

// stream is one TCP connection. Replies are queued, so that a client that does
// not read them holds up nobody else.
type stream struct {
	server *Server
	conn   *net.TCPConn
	peer   netip.AddrPort
	more   chan struct{} // something is queued, or the end has come

	mu       sync.Mutex
	outgoing net.Buffers
	queued   int // bytes of outgoing, and of what is being written
	finished bool
}

func (st *stream) String() string { return "tcp:" + st.peer.String() }

func (st *stream) address() netip.AddrPort { return st.peer }

// read handles messages until the connection ends or turns out to hold
// something else. The end between two messages is no error; who sends it gets
// no more replies.
func (st *stream) read() error {
	r := bufio.NewReaderSize(st.conn, 4096)
	for {
		if err := st.wait(st.server.cfg.IdleTimeout); err != nil {
			return nil // the server closes
		}
		if _, err := r.Peek(1); err != nil {
			return nil // idle for too long, or the client has gone
		}
		if err := st.wait(messageTimeout); err != nil {
			return nil
		}
		message, err := readMessage(r)
		if err != nil {
			if st.server.ctx.Err() != nil {
				return nil
			}
			return err
		}
		st.server.received.Add(1)
		if !st.server.message(message, st) {
			return errors.New("no room for the command") // TCP clients repeat nothing: tell them now
		}
	}
}

// wait sets the deadline of reading, unless the server closes.
func (st *stream) wait(d time.Duration) error {
	if err := st.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	return st.server.ctx.Err()
}

// readMessage reads one message: a cookie, a space and a bencoded dictionary.
func readMessage(r *bufio.Reader) ([]byte, error) {
	var message []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return nil, partial(err)
		}
		message = append(message, b)
		if b == ' ' {
			break
		}
		if len(message) > ng.MaxCookie {
			return nil, ng.ErrNoCookie
		}
	}
	for f := (frame{}); ; {
		b, err := r.ReadByte()
		if err != nil {
			return nil, partial(err)
		}
		message = append(message, b)
		switch done, err := f.next(b); {
		case err != nil:
			return nil, err
		case done:
			return message, nil
		}
	}
}

func partial(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("within a message: %w", err)
}

// deliver queues a reply. A client that lets too much pile up is cut off.
func (st *stream) deliver(message []byte) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.finished {
		return errClosed
	}
	if st.queued > 0 && st.queued+len(message) > maxOutgoing {
		st.conn.Close() // ends reader and writer
		return errSlowReader
	}
	st.outgoing = append(st.outgoing, message)
	st.queued += len(message)
	st.signal()
	return nil
}

func (st *stream) signal() {
	select {
	case st.more <- struct{}{}:
	default:
	}
}

// finish lets the writer send what is queued and close the connection.
func (st *stream) finish() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.finished = true
	st.signal()
}

// write sends queued replies until finish or an error, and closes.
func (st *stream) write() {
	defer st.conn.Close()
	for range st.more {
		st.mu.Lock()
		out, finished, size := st.outgoing, st.finished, st.queued
		st.outgoing = nil
		st.mu.Unlock()
		if len(out) > 0 {
			_ = st.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := out.WriteTo(st.conn); err != nil {
				st.finish()
				return
			}
		}
		st.mu.Lock()
		st.queued -= size
		st.mu.Unlock()
		if finished {
			return
		}
	}
}

// setTOS sets the TOS octet; a connection without it is better than none.
func (st *stream) setTOS(tos int) {
	raw, err := st.conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if st.peer.Addr().Is6() {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, tos)
		} else {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TOS, tos)
		}
	})
}
