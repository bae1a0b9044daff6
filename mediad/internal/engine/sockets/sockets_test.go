package sockets

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/exam"
	"github.com/tandem-sbc/tandem/pkg/uring"
)

// bothLoops runs a test over epoll and over io_uring. Where the machine forbids the latter that half is skipped, but not in CI.
func bothLoops(t *testing.T, test func(t *testing.T, ring Ring)) {
	t.Run("epoll", func(t *testing.T) { test(t, Off) })
	t.Run("io_uring", func(t *testing.T) {
		needRing(t)
		test(t, On)
	})
}

func needRing(t testing.TB) {
	t.Helper()
	e, err := New(Config{Ring: On, Workers: 1})
	switch {
	case err == nil:
		err = e.Close()
	case errors.Is(err, uring.ErrUnsupported) && os.Getenv("CI") == "":
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// opener starts what exam examines.
func opener(ring Ring) exam.Open {
	return func(t *testing.T, workers int, onPanic func(any, []byte)) engine.Engine {
		e, err := New(Config{Ring: ring, Workers: workers, OnPanic: onPanic})
		require.NoError(t, err)
		require.Equal(t, "sockets", e.Name())
		return e
	}
}

func TestEngine(t *testing.T) {
	bothLoops(t, func(t *testing.T, ring Ring) { exam.Run(t, opener(ring)) })
}

func newEngine(t *testing.T, ring Ring) *Engine {
	t.Helper()
	e, err := New(Config{Ring: ring, Workers: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// phone is a socket that sends to streams and hears them.
type phone struct {
	conn *net.UDPConn
}

func newPhone(t *testing.T, local string) *phone {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &phone{c}
}

func (p *phone) addr() netip.AddrPort { return p.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (p *phone) send(t *testing.T, pkt []byte, to netip.AddrPort) {
	t.Helper()
	_, err := p.conn.WriteToUDPAddrPort(pkt, to)
	require.NoError(t, err)
}

func (p *phone) expect(t *testing.T, want []byte) {
	t.Helper()
	buf := make([]byte, 3000)
	require.NoError(t, p.conn.SetReadDeadline(time.Now().Add(3*time.Second)))
	n, err := p.conn.Read(buf)
	require.NoError(t, err)
	require.Equal(t, want, buf[:n])
}

// rtpPacket is a packet of PCMU.
func rtpPacket(ssrc uint32, seq uint16, payload string) []byte {
	b := append([]byte{0x80, 0}, byte(seq>>8), byte(seq), 0, 0, 0, 0, byte(ssrc>>24), byte(ssrc>>16), byte(ssrc>>8), byte(ssrc))
	return append(b, payload...)
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/" + strconv.Itoa(os.Getpid()) + "/fd")
	require.NoError(t, err)
	return len(d)
}
