package connect

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ice4 "github.com/pion/ice/v4"
	"github.com/stretchr/testify/require"
)

// port is a UDP socket that feeds an agent, as a stream does.
type port struct {
	conn  *net.UDPConn
	agent atomic.Pointer[Agent]
	index int // of the agent's ports
	done  chan struct{}
}

func newPort(t *testing.T, local string) *port {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0)))
	require.NoError(t, err)
	p := &port{conn: c, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		buf := make([]byte, 2000)
		for {
			n, src, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if a := p.agent.Load(); a != nil {
				a.At(p.index).HandlePacket(buf[:n], netip.AddrPortFrom(src.Addr().Unmap(), src.Port()))
			}
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-p.done })
	return p
}

func (p *port) Send(pkt []byte, dst netip.AddrPort) error {
	_, err := p.conn.WriteToUDPAddrPort(pkt, dst)
	return err
}

func (p *port) addr() netip.AddrPort {
	a := p.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// ours is an agent under test with what it said.
type ours struct {
	*Agent
	port     *port
	selected chan netip.AddrPort
	states   chan State
	chosen   atomic.Int32 // port of the last selection
}

func newOurs(t *testing.T, local string, change func(*Config)) *ours {
	t.Helper()
	o := &ours{port: newPort(t, local), selected: make(chan netip.AddrPort, 100), states: make(chan State, 100)}
	cfg := Config{
		Local: o.port.addr(), Credentials: NewCredentials(), Sender: o.port,
		OnSelected: func(port int, r netip.AddrPort) { o.chosen.Store(int32(port)); o.selected <- r }, OnState: func(s State) { o.states <- s },
	}
	if change != nil {
		change(&cfg)
	}
	a, err := NewAgent(cfg)
	require.NoError(t, err)
	o.Agent = a
	o.port.agent.Store(a)
	t.Cleanup(a.Close)
	return o
}

func (o *ours) waitSelected(t *testing.T) netip.AddrPort {
	t.Helper()
	select {
	case r := <-o.selected:
		return r
	case <-time.After(5 * time.Second):
		t.Fatal("nothing selected; state ", o.State())
		return netip.AddrPort{}
	}
}

func (o *ours) waitState(t *testing.T, want State) {
	t.Helper()
	timeout := time.After(5 * time.Second)
	for {
		select {
		case s := <-o.states:
			if s == want {
				return
			}
		case <-timeout:
			t.Fatalf("state %s, not %s", o.State(), want)
		}
	}
}

// peer is an agent of ice/v4, which is what webrtc/v4 uses, on a socket of its own.
type peer struct {
	*ice4.Agent
	conn *net.UDPConn
	mux  *ice4.UDPMuxDefault
	done sync.WaitGroup
	end  context.CancelFunc
	ctx  context.Context
}

func newPeer(t *testing.T, local string, lite bool) *peer {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0)))
	require.NoError(t, err)
	p := &peer{conn: c, mux: ice4.NewUDPMuxDefault(ice4.UDPMuxParams{UDPConn: c})}
	p.ctx, p.end = context.WithCancel(context.Background())
	keepalive, check := 200*time.Millisecond, 20*time.Millisecond
	p.Agent, err = ice4.NewAgent(&ice4.AgentConfig{ //nolint:staticcheck // the options say the same with more words
		UDPMux: p.mux, NetworkTypes: []ice4.NetworkType{ice4.NetworkTypeUDP4, ice4.NetworkTypeUDP6}, IncludeLoopback: true, Lite: lite,
		CandidateTypes: []ice4.CandidateType{ice4.CandidateTypeHost}, MulticastDNSMode: ice4.MulticastDNSModeDisabled,
		KeepaliveInterval: &keepalive, CheckInterval: &check,
	})
	require.NoError(t, err)
	t.Cleanup(func() { p.close(t) })
	p.gather(t)
	return p
}

func (p *peer) gather(t *testing.T) {
	t.Helper()
	gathered := make(chan struct{})
	require.NoError(t, p.OnCandidate(func(c ice4.Candidate) {
		if c == nil {
			close(gathered)
		}
	}))
	require.NoError(t, p.GatherCandidates())
	<-gathered
}

func (p *peer) close(t *testing.T) {
	t.Helper()
	p.end()
	require.NoError(t, p.GracefulClose())
	p.done.Wait()
	_ = p.mux.Close()
	_ = p.conn.Close()
}

// remote is what the peer's SDP would say.
func (p *peer) remote(t *testing.T, controlling, candidates bool) Remote {
	t.Helper()
	ufrag, pwd, err := p.GetLocalUserCredentials()
	require.NoError(t, err)
	r := Remote{Credentials: Credentials{ufrag, pwd}, Controlling: controlling}
	if candidates {
		list, err := p.GetLocalCandidates()
		require.NoError(t, err)
		for _, c := range list {
			r.Candidates = append(r.Candidates, c.Marshal())
		}
	}
	return r
}

// start connects the peer to an agent.
func (p *peer) start(t *testing.T, o *ours, controlling bool) {
	t.Helper()
	c, err := ice4.UnmarshalCandidate(o.Candidate().String())
	require.NoError(t, err)
	require.NoError(t, p.AddRemoteCandidate(c))
	run := p.Accept
	if controlling {
		run = p.Dial
	}
	creds := o.Credentials()
	p.done.Add(1)
	go func() {
		defer p.done.Done()
		_, _ = run(p.ctx, creds.Ufrag, creds.Password)
	}()
}

func (p *peer) addr() netip.AddrPort {
	a := p.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// TestSeveralPorts: an agent with a port on each of several addresses talks from the one that the peer can reach, with media and answers
// alike, and moves when the peer does.
func TestSeveralPorts(t *testing.T) {
	for _, controlling := range []bool{false, true} {
		for want, local := range []string{"127.0.0.1", "::1"} {
			t.Run(fmt.Sprintf("controlling=%v,%s", controlling, local), func(t *testing.T) {
				second := newPort(t, "::1")
				second.index = 1
				o := newOurs(t, "127.0.0.1", func(c *Config) { c.Further = []Port{{second.addr(), second}} })
				second.agent.Store(o.Agent)
				p := newPeer(t, local, false)
				for _, port := range []*port{o.port, second} {
					c, err := ice4.UnmarshalCandidate(HostCandidate(port.addr(), 1).String())
					require.NoError(t, err)
					require.NoError(t, p.AddRemoteCandidate(c))
				}
				p.start(t, o, !controlling)
				require.NoError(t, o.Start(p.remote(t, controlling, true)))
				require.Equal(t, p.addr(), o.waitSelected(t))
				require.Equal(t, int32(want), o.chosen.Load())
				require.True(t, o.At(want).Allows(p.addr()))
				o.waitState(t, Connected)
			})
		}
	}
}

func TestConnect(t *testing.T) {
	for _, tc := range []struct {
		name                   string
		lite, peerLite         bool
		controlling, withCands bool
		local, remote          string
	}{
		{"full, controlled", false, false, false, true, "127.0.0.1", "127.0.0.2"},
		{"full, controlling", false, false, true, true, "127.0.0.1", "127.0.0.2"},
		{"lite, controlled", true, false, false, true, "127.0.0.1", "127.0.0.2"},
		{"full, the peer is lite", false, true, true, true, "127.0.0.1", "127.0.0.2"},
		{"full, controlled, the peer is known by its checks only", false, false, false, false, "127.0.0.1", "127.0.0.2"},
		{"full, controlling, the peer is known by its checks only", false, false, true, false, "127.0.0.1", "127.0.0.2"},
		{"lite, the peer is known by its checks only", true, false, false, false, "127.0.0.1", "127.0.0.2"},
		{"IPv6", false, false, false, true, "::1", "::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newOurs(t, tc.local, func(c *Config) { c.Lite = tc.lite })
			p := newPeer(t, tc.remote, tc.peerLite)
			require.False(t, o.Allows(p.addr()))
			begin := time.Now()
			require.NoError(t, o.Start(p.remote(t, tc.controlling, tc.withCands)))
			p.start(t, o, !tc.controlling)
			require.Equal(t, p.addr(), o.waitSelected(t))
			t.Logf("connected in %s", time.Since(begin))
			o.waitState(t, Connected)
			require.Equal(t, p.addr(), o.Selected())
			require.True(t, o.Allows(p.addr()))
			require.False(t, o.Allows(netip.MustParseAddrPort("127.0.0.66:1")))
		})
	}
}

// TestPeerBehindNAT: the peer's candidate cannot be reached and its checks come from elsewhere.
func TestPeerBehindNAT(t *testing.T) {
	for _, lite := range []bool{false, true} {
		o := newOurs(t, "127.0.0.1", func(c *Config) { c.Lite = lite })
		p := newPeer(t, "127.0.0.2", false)
		nat := newNAT(t, "127.0.0.3", o.port.addr())
		r := p.remote(t, false, false)
		r.Candidates = []string{"1 1 udp 2130706431 127.0.0.66 9 typ host", "2 1 udp 2130706431 4a1e8cd0-1234-4f6a-9a52-7b1b1a1c1e1f.local 9 typ host"}
		require.NoError(t, o.Start(r))
		c, err := ice4.UnmarshalCandidate(fmt.Sprintf("1 1 udp 2130706431 127.0.0.2 %d typ host", nat.inside.LocalAddr().(*net.UDPAddr).Port))
		require.NoError(t, err)
		require.NoError(t, p.AddRemoteCandidate(c))
		creds := o.Credentials()
		p.done.Add(1)
		go func() {
			defer p.done.Done()
			_, _ = p.Dial(p.ctx, creds.Ufrag, creds.Password)
		}()
		require.Equal(t, nat.outsideAddr(), o.waitSelected(t))
	}
}

// nat forwards between a socket the peer sends to and one that our agent sees.
type nat struct{ inside, outside *net.UDPConn }

func newNAT(t *testing.T, public string, to netip.AddrPort) *nat {
	t.Helper()
	listen := func(a string) *net.UDPConn {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(a), 0)))
		require.NoError(t, err)
		return c
	}
	n := &nat{listen("127.0.0.2"), listen(public)}
	var client atomic.Pointer[netip.AddrPort]
	var wg sync.WaitGroup
	wg.Add(2)
	go func() {
		defer wg.Done()
		buf := make([]byte, 2000)
		for {
			k, src, err := n.inside.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			client.Store(&src)
			_, _ = n.outside.WriteToUDPAddrPort(buf[:k], to)
		}
	}()
	go func() {
		defer wg.Done()
		buf := make([]byte, 2000)
		for {
			k, _, err := n.outside.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if c := client.Load(); c != nil {
				_, _ = n.inside.WriteToUDPAddrPort(buf[:k], *c)
			}
		}
	}()
	t.Cleanup(func() { _ = n.inside.Close(); _ = n.outside.Close(); wg.Wait() })
	return n
}

func (n *nat) outsideAddr() netip.AddrPort {
	a := n.outside.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// TestChecksBeforeAnswer: a called browser checks before its answer has come through SIP; that must not cost time afterwards.
func TestChecksBeforeAnswer(t *testing.T) {
	for _, lite := range []bool{false, true} {
		o := newOurs(t, "127.0.0.1", func(c *Config) { c.Lite = lite })
		p := newPeer(t, "127.0.0.2", false)
		p.start(t, o, true)
		time.Sleep(300 * time.Millisecond)
		require.Empty(t, o.selected)
		begin := time.Now()
		require.NoError(t, o.Start(p.remote(t, false, true)))
		require.Equal(t, p.addr(), o.waitSelected(t))
		took := time.Since(begin)
		t.Logf("lite %t: connected %s after the answer", lite, took)
		require.Less(t, took, 500*time.Millisecond)
	}
}

// TestPeerThatBeginsLater: SIP may take its time to tell the peer that it may begin.
func TestPeerThatBeginsLater(t *testing.T) {
	t.Parallel()
	for _, controlling := range []bool{false, true} {
		t.Run(fmt.Sprintf("controlling %t", controlling), func(t *testing.T) {
			t.Parallel()
			o := newOurs(t, "127.0.0.1", nil)
			p := newPeer(t, "127.0.0.2", false)
			require.NoError(t, o.Start(p.remote(t, controlling, true)))
			time.Sleep(1500 * time.Millisecond)
			begin := time.Now()
			p.start(t, o, !controlling)
			require.Equal(t, p.addr(), o.waitSelected(t))
			require.Less(t, time.Since(begin), time.Second)
		})
	}
}

func TestRestart(t *testing.T) {
	for _, lite := range []bool{false, true} {
		o := newOurs(t, "127.0.0.1", func(c *Config) { c.Lite = lite })
		p := newPeer(t, "127.0.0.2", false)
		require.NoError(t, o.Start(p.remote(t, false, true)))
		p.start(t, o, true)
		first := o.waitSelected(t)
		o.waitState(t, Connected)
		old := o.Credentials()

		require.NoError(t, o.Restart(NewCredentials()))
		require.NotEqual(t, old, o.Credentials())
		require.Equal(t, first, o.Selected(), "media goes on over the old pair")
		require.True(t, o.Allows(first))

		moved := newPeer(t, "127.0.0.4", false) // the browser has changed networks
		require.NoError(t, o.Start(moved.remote(t, false, true)))
		moved.start(t, o, true)
		require.Equal(t, moved.addr(), o.waitSelected(t))
		require.Equal(t, moved.addr(), o.Selected())
		o.waitState(t, Connected)
		require.True(t, o.Allows(moved.addr()))
	}
}

// TestConsentIsWatched: a peer that is gone is noticed.
func TestConsentIsWatched(t *testing.T) {
	t.Parallel()
	for _, lite := range []bool{false, true} {
		t.Run(fmt.Sprintf("lite %t", lite), func(t *testing.T) {
			t.Parallel()
			o := newOurs(t, "127.0.0.1", func(c *Config) {
				c.Lite, c.Disconnected, c.Failed = lite, 700*time.Millisecond, 700*time.Millisecond
			})
			p := newPeer(t, "127.0.0.2", false)
			require.NoError(t, o.Start(p.remote(t, false, true)))
			p.start(t, o, true)
			o.waitState(t, Connected)
			time.Sleep(1200 * time.Millisecond)
			require.Equal(t, Connected, o.State(), "a peer that checks on is alive")
			p.close(t)
			o.waitState(t, Disconnected)
			o.waitState(t, Failed)
		})
	}
}

// TestStrangersAreNotAnswered: checks with our ufrag and a wrong password get nothing back and open nothing.
func TestStrangersAreNotAnswered(t *testing.T) {
	o := newOurs(t, "127.0.0.1", nil)
	friend, stranger := newPeer(t, "127.0.0.2", false), newPeer(t, "127.0.0.5", false)
	require.NoError(t, o.Start(friend.remote(t, false, false)))
	c, err := ice4.UnmarshalCandidate(o.Candidate().String())
	require.NoError(t, err)
	require.NoError(t, stranger.AddRemoteCandidate(c))
	stranger.done.Add(1)
	go func() {
		defer stranger.done.Done()
		_, _ = stranger.Dial(stranger.ctx, o.Credentials().Ufrag, NewCredentials().Password)
	}()
	time.Sleep(300 * time.Millisecond)
	require.Empty(t, o.selected)
	require.False(t, o.Allows(stranger.addr()))
	friend.start(t, o, true)
	require.Equal(t, friend.addr(), o.waitSelected(t))
}

func TestCloseAtAnyTime(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Millisecond, 30 * time.Millisecond} {
		o := newOurs(t, "127.0.0.1", nil)
		p := newPeer(t, "127.0.0.2", false)
		require.NoError(t, o.Start(p.remote(t, true, true)))
		p.start(t, o, false)
		time.Sleep(wait)
		o.Close()
		o.Close()
		require.Equal(t, Closed, o.State())
		require.ErrorIs(t, o.Start(p.remote(t, true, true)), ErrClosed)
		require.ErrorIs(t, o.Restart(NewCredentials()), ErrClosed)
		o.AddCandidates([]string{"1 1 udp 1 127.0.0.1 9 typ host"})
		o.HandlePacket(make([]byte, 20), p.addr())
	}
	never := newOurs(t, "127.0.0.1", nil)
	never.Close()
}

func TestCredentialsAreChecked(t *testing.T) {
	_, err := NewAgent(Config{Local: netip.MustParseAddrPort("127.0.0.1:9"), Credentials: Credentials{"abc", "short"}})
	require.ErrorIs(t, err, ErrCredentials)
	o := newOurs(t, "127.0.0.1", nil)
	require.ErrorIs(t, o.Start(Remote{}), ErrCredentials)
	a, b := NewCredentials(), NewCredentials()
	require.NotEqual(t, a, b)
	require.GreaterOrEqual(t, len(a.Ufrag), minUfrag)
	require.GreaterOrEqual(t, len(a.Password), minPassword)
}

func TestRemoteCandidatesAreBounded(t *testing.T) {
	o := newOurs(t, "127.0.0.1", nil)
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("%d 1 udp 2130706431 127.0.1.%d %d typ host", i, i%250+1, 1000+i))
	}
	require.NoError(t, o.Start(Remote{Credentials: NewCredentials(), Candidates: many}))
	o.AddCandidates(many)
	require.Eventually(t, func() bool {
		list, err := o.generation.agent.GetRemoteCandidates()
		return err == nil && len(list) == maxRemotes
	}, time.Second, 10*time.Millisecond)
}
