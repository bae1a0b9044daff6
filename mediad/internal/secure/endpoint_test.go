package secure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

// port is a UDP socket that feeds an endpoint, as a stream does.
type port struct {
	conn  *net.UDPConn
	end   atomic.Pointer[Endpoint]
	done  chan struct{}
	lossy bool // every third packet is lost, both ways
	count atomic.Int32
}

func (p *port) loses() bool { return p.lossy && p.count.Add(1)%3 == 0 }

func newPort(t *testing.T) *port {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
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
			if e := p.end.Load(); e != nil && !p.loses() {
				e.HandlePacket(buf[:n], netip.AddrPortFrom(src.Addr().Unmap(), src.Port()))
			}
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-p.done })
	return p
}

func (p *port) Send(pkt []byte, dst netip.AddrPort) error {
	if p.loses() {
		return nil
	}
	_, err := p.conn.WriteToUDPAddrPort(pkt, dst)
	return err
}

func addrOf(c net.PacketConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

type outcome struct {
	keys   chan Keys
	failed chan error
	closed chan struct{}
}

func newTestEndpoint(t *testing.T, p *port, cert *Certificate, change func(*EndpointConfig)) (*Endpoint, outcome) {
	t.Helper()
	o := outcome{make(chan Keys, 1), make(chan error, 1), make(chan struct{}, 1)}
	cfg := EndpointConfig{
		Certificate: cert, Sender: p, Timeout: 5 * time.Second,
		OnKeys: func(k Keys) { o.keys <- k }, OnFailed: func(err error) { o.failed <- err }, OnClosed: func() { o.closed <- struct{}{} },
	}
	if change != nil {
		change(&cfg)
	}
	e := NewEndpoint(cfg)
	p.end.Store(e)
	t.Cleanup(e.Close)
	return e, o
}

func newCert(t testing.TB) *Certificate {
	t.Helper()
	c, err := NewCertificate()
	require.NoError(t, err)
	return c
}

func fingerprint(t testing.TB, c *Certificate, hash string) Fingerprint {
	t.Helper()
	f, err := c.Fingerprint(hash)
	require.NoError(t, err)
	return f
}

// pionPeer is pion/dtls as a browser uses it. It returns the connection and its SRTP keys.
func pionPeer(t *testing.T, conn net.PacketConn, to netip.AddrPort, client bool, cert *Certificate, profiles ...dtls.SRTPProtectionProfile) (*dtls.Conn, *srtp.Config, error) {
	t.Helper()
	config := &dtls.Config{
		Certificates: []tls.Certificate{cert.tls}, InsecureSkipVerify: true, ClientAuth: dtls.RequireAnyClientCert,
		SRTPProtectionProfiles: profiles, FlightInterval: 100 * time.Millisecond,
		VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error { return nil },
	}
	role := dtls.Server
	if client {
		role = dtls.Client
	}
	c, err := role(conn, net.UDPAddrFromAddrPort(to), config)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	selected, ok := c.SelectedSRTPProtectionProfile()
	require.True(t, ok)
	keys := &srtp.Config{Profile: srtp.ProtectionProfile(selected)}
	state, ok := c.ConnectionState()
	require.True(t, ok)
	require.NoError(t, keys.ExtractSessionKeysFromDTLS(&state, client))
	return c, keys, nil
}

// TestHandshake runs both roles and all SRTP profiles against pion/dtls and proves the keys by a packet each way.
func TestHandshake(t *testing.T) {
	for _, profile := range []dtls.SRTPProtectionProfile{
		dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AES128_CM_HMAC_SHA1_32,
	} {
		suite, err := suiteOf(profile)
		require.NoError(t, err)
		for _, role := range []Role{Active, Passive} {
			for _, verified := range []bool{true, false} {
				name := suite.String() + map[Role]string{Active: " active", Passive: " passive"}[role] + map[bool]string{true: " verified", false: ""}[verified]
				t.Run(name, func(t *testing.T) {
					peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
					require.NoError(t, err)
					defer peer.Close()
					ours, theirs := newCert(t), newCert(t)
					p := newPort(t)
					e, o := newTestEndpoint(t, p, ours, func(c *EndpointConfig) {
						c.Verified = verified
						if role == Active {
							c.Remote = func() netip.AddrPort { return addrOf(peer) }
						}
					})
					hash := "sha-256"
					if verified {
						hash = "sha-1"
					}
					require.NoError(t, e.Start(role, []Fingerprint{{"md-99", "00"}, fingerprint(t, newCert(t), "sha-256"), fingerprint(t, theirs, hash)}))
					require.ErrorIs(t, e.Start(role, nil), ErrStarted)
					conn, keys, err := pionPeer(t, peer, addrOf(p.conn), role == Passive, theirs, profile)
					require.NoError(t, err)
					defer conn.Close()
					var k Keys
					select {
					case k = <-o.keys:
					case err := <-o.failed:
						t.Fatal(err)
					case <-time.After(5 * time.Second):
						t.Fatal("no keys")
					}
					require.True(t, e.Established())
					require.Equal(t, suite, k.In.Suite)
					in, err := NewInbound(k.In)
					require.NoError(t, err)
					out, err := NewOutbound(k.Out)
					require.NoError(t, err)
					plain := packet(t, 1, 1)
					theirOut, err := srtp.CreateContext(keys.Keys.LocalMasterKey, keys.Keys.LocalMasterSalt, keys.Profile)
					require.NoError(t, err)
					protected, err := theirOut.EncryptRTP(nil, plain, nil)
					require.NoError(t, err)
					got, err := in.UnprotectRTP(nil, protected)
					require.NoError(t, err)
					require.Equal(t, plain, got)
					theirIn, err := srtp.CreateContext(keys.Keys.RemoteMasterKey, keys.Keys.RemoteMasterSalt, keys.Profile)
					require.NoError(t, err)
					protected, err = out.ProtectRTP(nil, plain)
					require.NoError(t, err)
					got, err = theirIn.DecryptRTP(nil, protected, nil)
					require.NoError(t, err)
					require.Equal(t, plain, got)

					require.NoError(t, conn.Close()) // says close_notify
					select {
					case <-o.closed:
					case <-time.After(3 * time.Second):
						t.Fatal("the peer's close is not reported")
					}
				})
			}
		}
	}
}

// TestRSACertificateInSmallDatagrams: an RSA certificate of 4096 bits does not fit into one of them.
func TestRSACertificateInSmallDatagrams(t *testing.T) {
	ours, err := NewRSACertificate(4096)
	require.NoError(t, err)
	for _, role := range []Role{Active, Passive} {
		peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		theirs := newCert(t)
		p := newPort(t)
		e, o := newTestEndpoint(t, p, ours, func(c *EndpointConfig) {
			c.MTU = 576
			c.Remote = func() netip.AddrPort { return addrOf(peer) }
		})
		require.NoError(t, e.Start(role, []Fingerprint{fingerprint(t, theirs, "sha-256")}))
		conn, _, err := pionPeer(t, peer, addrOf(p.conn), role == Passive, theirs, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
		require.NoError(t, err)
		select {
		case <-o.keys:
		case err := <-o.failed:
			t.Fatal(err)
		case <-time.After(5 * time.Second):
			t.Fatal("no keys")
		}
		require.NoError(t, conn.Close())
		_ = peer.Close() // conn may have closed it
	}
}

// TestHandshakeOverLossyPath: flights are sent again until they come through.
func TestHandshakeOverLossyPath(t *testing.T) {
	for _, role := range []Role{Active, Passive} {
		peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		theirs := newCert(t)
		p := newPort(t)
		p.lossy = true
		e, o := newTestEndpoint(t, p, newCert(t), func(c *EndpointConfig) {
			c.Remote = func() netip.AddrPort { return addrOf(peer) }
		})
		require.NoError(t, e.Start(role, []Fingerprint{fingerprint(t, theirs, "sha-256")}))
		conn, _, err := pionPeer(t, peer, addrOf(p.conn), role == Passive, theirs, dtls.SRTP_AEAD_AES_128_GCM)
		require.NoError(t, err)
		select {
		case <-o.keys:
		case err := <-o.failed:
			t.Fatal(err)
		}
		_ = conn.Close()
	}
}

// TestCloseTellsThePeer: our Close sends close_notify.
func TestCloseTellsThePeer(t *testing.T) {
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer peer.Close()
	theirs := newCert(t)
	p := newPort(t)
	e, o := newTestEndpoint(t, p, newCert(t), nil)
	require.NoError(t, e.Start(Passive, []Fingerprint{fingerprint(t, theirs, "sha-256")}))
	conn, _, err := pionPeer(t, peer, addrOf(p.conn), true, theirs, dtls.SRTP_AEAD_AES_128_GCM)
	require.NoError(t, err)
	<-o.keys
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 100))
		ended <- err
	}()
	e.Close()
	e.Close()
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-time.After(3 * time.Second):
		t.Fatal("the peer was not told")
	}
	_ = conn.Close()
	require.Empty(t, o.failed)
	require.Empty(t, o.closed, "our own Close is not news")
}

func TestFingerprintMismatchIsRefused(t *testing.T) {
	for _, role := range []Role{Active, Passive} {
		peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		p := newPort(t)
		e, o := newTestEndpoint(t, p, newCert(t), func(c *EndpointConfig) {
			c.Verified = true
			c.Remote = func() netip.AddrPort { return addrOf(peer) }
		})
		require.NoError(t, e.Start(role, []Fingerprint{fingerprint(t, newCert(t), "sha-256")}))
		conn, _, err := pionPeer(t, peer, addrOf(p.conn), role == Passive, newCert(t), dtls.SRTP_AEAD_AES_128_GCM)
		if err == nil { // as a server the peer may have finished before it is told
			_ = conn.Close()
		}
		select {
		case err := <-o.failed:
			require.ErrorIs(t, err, ErrFingerprint)
		case <-o.keys:
			t.Fatal("keys with a stranger")
		case <-time.After(5 * time.Second):
			t.Fatal("not reported")
		}
		require.False(t, e.Established())
		_ = peer.Close()
	}
}

// TestNoFingerprintMatchesNothing: an SDP without a usable fingerprint admits nobody.
func TestNoFingerprintMatchesNothing(t *testing.T) {
	require.False(t, matches(newCert(t).tls.Certificate[0], nil))
	require.False(t, matches(newCert(t).tls.Certificate[0], []Fingerprint{{"sha-256", ""}, {"", ""}, {"md5", "00"}}))
}

// TestRacingStrangerDoesNotWin: without ICE anybody may send a ClientHello first; the peer still gets through.
func TestRacingStrangerDoesNotWin(t *testing.T) {
	theirs := newCert(t)
	p := newPort(t)
	e, o := newTestEndpoint(t, p, newCert(t), nil)
	require.NoError(t, e.Start(Passive, []Fingerprint{fingerprint(t, theirs, "sha-256")}))

	stranger, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer stranger.Close()
	_, _, err = pionPeer(t, stranger, addrOf(p.conn), true, newCert(t), dtls.SRTP_AEAD_AES_128_GCM)
	require.Error(t, err)
	hello := clientHello(t)
	for range 2 { // and two that begin and never go on
		silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		defer silent.Close()
		_, err = silent.WriteToUDPAddrPort(hello, addrOf(p.conn))
		require.NoError(t, err)
	}

	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer peer.Close()
	conn, _, err := pionPeer(t, peer, addrOf(p.conn), true, theirs, dtls.SRTP_AEAD_AES_128_GCM)
	require.NoError(t, err)
	defer conn.Close()
	select {
	case <-o.keys:
	case <-time.After(5 * time.Second):
		t.Fatal("no keys")
	}
	require.Empty(t, o.failed)
}

// TestSilentStrangersMakeRoom: handshakes that began and went silent do not keep the peer out.
func TestSilentStrangersMakeRoom(t *testing.T) {
	e := NewEndpoint(EndpointConfig{Remote: func() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:9") }})
	now := time.Now()
	e.attempts = make(map[netip.AddrPort]*attempt)
	begin := func(key string, at time.Time) {
		k := netip.MustParseAddrPort(key)
		e.attempts[k] = &attempt{key: k, begun: at, view: udp.NewView(k, 1, nil)}
	}
	begin("203.0.113.1:1", now)
	begin("203.0.113.2:1", now.Add(time.Millisecond))
	begin("203.0.113.3:1", now.Add(time.Millisecond))
	begin("192.0.2.1:1", now.Add(-time.Second))
	stranger, peer := netip.MustParseAddrPort("203.0.113.9:1"), netip.MustParseAddrPort("192.0.2.1:5000")
	require.False(t, e.roomLocked(stranger, now.Add(time.Second)), "all are young")
	require.True(t, e.roomLocked(peer, now.Add(time.Second)), "SDP names this address")
	require.NotContains(t, e.attempts, netip.MustParseAddrPort("203.0.113.1:1"), "the oldest is given up")
	begin("192.0.2.1:5000", now)
	require.True(t, e.roomLocked(stranger, now.Add(3*time.Second)), "out of patience")
	require.Contains(t, e.attempts, netip.MustParseAddrPort("192.0.2.1:1"))
	require.Contains(t, e.attempts, peer)
}

// clientHello is the first packet of a pion client.
func clientHello(t *testing.T) []byte {
	t.Helper()
	catcher, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer catcher.Close()
	sender, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer sender.Close()
	c, err := dtls.Client(sender, catcher.LocalAddr(), &dtls.Config{InsecureSkipVerify: true, SRTPProtectionProfiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AES128_CM_HMAC_SHA1_80}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.HandshakeContext(ctx) }()
	buf := make([]byte, 2000)
	n, _, err := catcher.ReadFromUDPAddrPort(buf)
	require.NoError(t, err)
	cancel()
	<-ended
	_ = c.Close()
	return buf[:n]
}

// TestEarlyPacketsWaitForStart: a browser may begin before its answer has come in.
func TestEarlyPacketsWaitForStart(t *testing.T) {
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer peer.Close()
	theirs := newCert(t)
	p := newPort(t)
	e, o := newTestEndpoint(t, p, newCert(t), func(c *EndpointConfig) { c.Verified = true })
	for range 100 {
		e.HandlePacket([]byte{22, 0xfe, 0xfd}, addrOf(peer))
	}
	e.mu.Lock()
	require.Len(t, e.early, maxEarly)
	e.early = nil
	e.mu.Unlock()
	started := make(chan error, 1)
	go func() {
		time.Sleep(50 * time.Millisecond)
		started <- e.Start(Passive, []Fingerprint{fingerprint(t, theirs, "sha-256")})
	}()
	begin := time.Now()
	conn, _, err := pionPeer(t, peer, addrOf(p.conn), true, theirs, dtls.SRTP_AEAD_AES_128_GCM)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, <-started)
	<-o.keys
	require.Less(t, time.Since(begin), 2*time.Second)
}

func TestTimeoutIsReported(t *testing.T) {
	for _, role := range []Role{Active, Passive} {
		p := newPort(t)
		hole, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		e, o := newTestEndpoint(t, p, newCert(t), func(c *EndpointConfig) {
			c.Timeout = 150 * time.Millisecond
			c.Remote = func() netip.AddrPort { return addrOf(hole) }
		})
		require.NoError(t, e.Start(role, nil))
		select {
		case err := <-o.failed:
			require.ErrorIs(t, err, ErrHandshake)
		case <-time.After(3 * time.Second):
			t.Fatal("not reported")
		}
		require.NoError(t, hole.Close())
	}
}

// TestCloseAtAnyTime: Close ends an endpoint that waits, shakes hands or has failed, and says nothing.
func TestCloseAtAnyTime(t *testing.T) {
	p := newPort(t)
	hole, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer hole.Close()
	remote := func(c *EndpointConfig) { c.Remote = func() netip.AddrPort { return addrOf(hole) } }
	idle, _ := newTestEndpoint(t, p, newCert(t), remote)
	idle.Close()
	require.ErrorIs(t, idle.Start(Active, nil), ErrStarted)
	busy, o := newTestEndpoint(t, p, newCert(t), remote)
	require.NoError(t, busy.Start(Active, nil))
	time.Sleep(20 * time.Millisecond)
	begin := time.Now()
	busy.Close()
	require.Less(t, time.Since(begin), time.Second)
	require.Empty(t, o.failed)
	busy.HandlePacket([]byte{22}, addrOf(hole))
}

// TestGarbage: no handshake packet, whole or mangled, may panic or block.
func TestGarbage(t *testing.T) {
	hello := clientHello(t)
	p := newPort(t)
	e, _ := newTestEndpoint(t, p, newCert(t), nil)
	require.NoError(t, e.Start(Passive, nil))
	src := netip.MustParseAddrPort("127.0.0.1:9")
	for i := range hello {
		mangled := append([]byte(nil), hello...)
		mangled[i] ^= 0xff
		e.HandlePacket(mangled, src)
		e.HandlePacket(hello[:i], netip.AddrPortFrom(src.Addr(), uint16(i+1)))
	}
	e.mu.Lock()
	n := len(e.attempts)
	e.mu.Unlock()
	require.LessOrEqual(t, n, maxAttempts)
}

func TestCertificate(t *testing.T) {
	c := newCert(t)
	for hash, n := range map[string]int{"sha-1": 20, "SHA-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64} {
		f := fingerprint(t, c, hash)
		require.Len(t, f.Value, 3*n-1)
		require.True(t, matches(c.tls.Certificate[0], []Fingerprint{f}))
		f.Value = f.Value[:len(f.Value)-1] + "?"
		require.False(t, matches(c.tls.Certificate[0], []Fingerprint{f}))
	}
	_, err := c.Fingerprint("md5")
	require.True(t, errors.Is(err, ErrHash))
}
