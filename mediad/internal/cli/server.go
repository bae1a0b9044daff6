package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/pkg/telemetry"
)

// Bounds of the listener.
const (
	maxConnections = 64
	maxLine        = 32 << 10         // bytes
	lineTimeout    = 10 * time.Second // from the connection to the end of its line
	writeTimeout   = 10 * time.Second // for the whole answer
)

// ServerConfig holds what a Server listens on. At least one address is required.
type ServerConfig struct {
	Listen  []netip.AddrPort
	Execute func(line string) string
	// Allow, if set, tells who may connect; others are cut off unheard.
	Allow func(netip.AddrPort) bool
	Log   *zap.Logger
}

// Server takes one line from each connection, answers it and closes. Make it
// with NewServer, then Start, then Close.
type Server struct {
	cfg       ServerConfig
	noisy     *zap.Logger // for what anyone who reaches the port can cause
	listeners []*net.TCPListener
	running   sync.WaitGroup

	mu     sync.Mutex
	open   map[*net.TCPConn]struct{}
	closed bool
}

// NewServer binds the addresses. Connections wait until Start.
func NewServer(cfg ServerConfig) (*Server, error) {
	s := &Server{cfg: cfg, noisy: telemetry.Sampled(cfg.Log, 10, time.Second), open: make(map[*net.TCPConn]struct{})}
	if len(cfg.Listen) == 0 {
		return nil, errors.New("listen-cli: no address")
	}
	for _, addr := range cfg.Listen {
		network := "tcp4"
		switch {
		case addr.Addr() == netip.IPv6Unspecified():
			network = "tcp" // both families
		case addr.Addr().Is6():
			network = "tcp6"
		}
		l, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(addr))
		if err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("listen-cli: %w", err)
		}
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

// Addrs are the bound addresses, with the ports that were chosen for port 0.
func (s *Server) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr().(*net.TCPAddr).AddrPort()
	}
	return addrs
}

// Start begins to serve.
func (s *Server) Start() {
	for _, l := range s.listeners {
		s.running.Go(func() { s.accept(l) })
	}
}

// Close accepts no more, cuts off all connections and waits for their lines to
// be executed.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for conn := range s.open {
		_ = conn.Close()
	}
	s.mu.Unlock()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.running.Wait()
	return nil
}

func (s *Server) accept(l *net.TCPListener) {
	for {
		conn, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			s.noisy.Warn("accept failed", zap.Error(err))
			time.Sleep(10 * time.Millisecond) // out of descriptors: must not spin
			continue
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		switch {
		case s.cfg.Allow != nil && !s.cfg.Allow(from):
			s.noisy.Warn("client not allowed", zap.Stringer("peer", from))
			_ = conn.Close()
		case !s.enter(conn):
			s.noisy.Warn("connection refused: too many", zap.Stringer("peer", from))
			_ = conn.Close()
		default:
			s.running.Go(func() {
				defer s.leave(conn)
				s.serve(conn)
			})
		}
	}
}

func (s *Server) enter(conn *net.TCPConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= maxConnections {
		return false
	}
	s.open[conn] = struct{}{}
	return true
}

func (s *Server) leave(conn *net.TCPConn) {
	_ = conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}

// serve answers the first line that is not empty. A last line needs no end.
func (s *Server) serve(conn *net.TCPConn) {
	_ = conn.SetReadDeadline(time.Now().Add(lineTimeout))
	r := bufio.NewReaderSize(conn, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		text := string(line)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			s.noisy.Warn("line too long", zap.Stringer("peer", conn.RemoteAddr()))
			return
		case isBlank(text):
			if err != nil {
				return
			}
			continue
		case err != nil && !isEnd(err):
			return
		}
		_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, _ = conn.Write([]byte(s.cfg.Execute(text)))
		return
	}
}

func isBlank(line string) bool { return line == "" || line == "\n" || line == "\r\n" }

func isEnd(err error) bool { return errors.Is(err, io.EOF) }
