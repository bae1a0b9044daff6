package secure

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

const (
	defaultHandshakeTimeout = 30 * time.Second
	// maxEarly bounds the packets kept until Start: a browser may send its first flight before its answer has come in by SIP.
	maxEarly = 8
	// attemptQueue bounds the packets a handshake has not read yet; the longest flight has about six.
	attemptQueue = 16
	// maxAttempts bounds the handshakes under way at once when sources are not verified by ICE. One that is older than
	// patience makes room for another.
	maxAttempts = 4
	patience    = 2 * time.Second
	// flightInterval is the first retransmission delay; media waits for the handshake, so it is short (RFC 8827 §6.5 says nothing,
	// browsers use 50 ms).
	flightInterval = 200 * time.Millisecond
	defaultMTU     = 1200
)

// Endpoint is one DTLS association, seen from mediad: packets come in by HandlePacket, keys go out by OnKeys.
//
// Anybody can send a ClientHello to a port. With ICE (EndpointConfig.Verified) only checked peers get here. Without it each source gets
// a handshake of its own, bounded in number, and the first whose certificate matches the fingerprint wins; so nobody can end a call by
// being faster than the peer.
type Endpoint struct {
	cfg EndpointConfig

	mu       sync.Mutex
	state    endpointState
	early    []earlyPacket
	role     Role
	peer     []Fingerprint
	attempts map[netip.AddrPort]*attempt
	winner   *attempt
	lastSrc  netip.AddrPort
	lastErr  error
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// endpointState: waiting → shaking → done or failed; closed from anywhere.
type endpointState uint8

const (
	waiting endpointState = iota
	shaking
	done
	failed
	closed
)

type earlyPacket struct {
	pkt []byte
	src netip.AddrPort
}

// attempt is one handshake, with one source or (active, verified) with whoever answers.
type attempt struct {
	view  *udp.View
	key   netip.AddrPort
	begun time.Time
	conn  *dtls.Conn // set when it has won
	last  hold       // of the server
}

// NewEndpoint makes an endpoint that queues early packets until Start.
func NewEndpoint(cfg EndpointConfig) *Endpoint {
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultHandshakeTimeout
	}
	if cfg.MTU == 0 {
		cfg.MTU = defaultMTU
	}
	return &Endpoint{cfg: cfg}
}

// Start begins the handshake in a role, with the fingerprints of the peer's SDP. In the active role the peer's address must be known.
func (e *Endpoint) Start(role Role, peer []Fingerprint) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state != waiting {
		return ErrStarted
	}
	e.state = shaking
	e.role, e.peer = role, append([]Fingerprint(nil), peer...)
	e.attempts = make(map[netip.AddrPort]*attempt)
	e.ctx, e.cancel = context.WithTimeout(context.Background(), e.cfg.Timeout)
	e.running.Add(1)
	go e.watchDeadline(e.ctx)
	if role == Active {
		e.beginLocked(netip.AddrPort{})
	}
	early := e.early
	e.early = nil
	for _, p := range early {
		e.handleLocked(p.pkt, p.src)
	}
	return nil
}

// HandlePacket takes a DTLS packet that came in on the stream. It does not block and does not keep pkt.
func (e *Endpoint) HandlePacket(pkt []byte, src netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handleLocked(pkt, src)
}

func (e *Endpoint) handleLocked(pkt []byte, src netip.AddrPort) {
	switch e.state {
	case waiting:
		if len(e.early) < maxEarly {
			e.early = append(e.early, earlyPacket{append([]byte(nil), pkt...), src})
		}
		return
	case shaking, done:
	default:
		return
	}
	if e.winner != nil {
		e.winner.view.Feed(pkt, src)
		return
	}
	key := src
	if e.role == Active || e.cfg.Verified {
		key = netip.AddrPort{}
		e.lastSrc = src
	}
	a := e.attempts[key]
	if a == nil && e.role == Passive && isClientHello(pkt) && e.roomLocked(key, time.Now()) {
		a = e.beginLocked(key)
	}
	if a != nil {
		a.view.Feed(pkt, src)
	}
}

// roomLocked reports whether another handshake may begin. When all places are taken, the oldest is given up for the address that SDP
// named, and for any other one if it is out of patience; so nobody keeps the peer out by taking all places and going silent.
func (e *Endpoint) roomLocked(key netip.AddrPort, now time.Time) bool {
	if len(e.attempts) < maxAttempts {
		return true
	}
	var expected netip.Addr
	if e.cfg.Remote != nil {
		expected = e.cfg.Remote().Addr()
	}
	var oldest *attempt
	for _, a := range e.attempts {
		if a.key.Addr() != expected && (oldest == nil || a.begun.Before(oldest.begun)) {
			oldest = a
		}
	}
	if oldest == nil || (key.Addr() != expected && now.Sub(oldest.begun) < patience) {
		return false
	}
	_ = oldest.view.Close()
	delete(e.attempts, oldest.key)
	return true
}

// isClientHello looks at a record's type and its handshake message's type (RFC 6347 §4.1, §4.2.2).
func isClientHello(pkt []byte) bool {
	return len(pkt) > 13 && pkt[0] == 22 && pkt[13] == 1
}

// beginLocked starts a handshake.
func (e *Endpoint) beginLocked(key netip.AddrPort) *attempt {
	a, role := &attempt{key: key, begun: time.Now()}, e.role
	a.view = udp.NewView(netip.AddrPortFrom(netip.IPv4Unspecified(), 9), attemptQueue, func(pkt []byte, _ netip.AddrPort) error {
		dst := e.destination(key)
		if role == Passive && a.last.keeps(pkt, dst) {
			return nil
		}
		// A datagram that cannot be sent (no destination yet, no route) is as good as lost on the way: DTLS repeats it, while an
		// error would end the handshake.
		_ = e.cfg.Sender.Send(pkt, dst)
		return nil
	})
	e.attempts[key] = a
	e.running.Add(1)
	go e.run(e.ctx, a, role)
	return a
}

// destination is where a handshake's packets go: its own source, or else the peer as far as it is known.
func (e *Endpoint) destination(key netip.AddrPort) netip.AddrPort {
	if key.IsValid() {
		return key
	}
	if e.cfg.Remote != nil {
		if r := e.cfg.Remote(); r.IsValid() {
			return r
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lastSrc
}

// watchDeadline reports the failure when the time for the handshake is over.
func (e *Endpoint) watchDeadline(ctx context.Context) {
	defer e.running.Done()
	<-ctx.Done()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.fail(fmt.Errorf("%w: no peer within %s", ErrHandshake, e.cfg.Timeout))
	}
}

// run is the goroutine of one handshake, and of the association when it has won.
func (e *Endpoint) run(ctx context.Context, a *attempt, role Role) {
	defer e.running.Done()
	conn, keys, err := e.handshake(ctx, a, role)
	if err != nil {
		_ = a.view.Close()
		e.attemptFailed(a, err)
		return
	}
	if !e.win(a, conn) {
		_ = conn.Close()
		return
	}
	e.cfg.OnKeys(keys)
	a.last.release(e.cfg.Sender.Send)
	e.drain(conn)
}

// handshake runs one handshake to its end and derives the SRTP keys.
func (e *Endpoint) handshake(ctx context.Context, a *attempt, role Role) (*dtls.Conn, Keys, error) {
	var mismatch atomic.Bool
	config := &dtls.Config{
		Certificates:       []tlsCertificate{e.cfg.Certificate.tls},
		InsecureSkipVerify: true, // certificates are self-signed; the fingerprint is what counts (RFC 5763 §5)
		ClientAuth:         dtls.RequireAnyClientCert,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 || !matches(raw[0], e.peer) {
				mismatch.Store(true)
				return ErrFingerprint
			}
			return nil
		},
		ExtendedMasterSecret: dtls.RequestExtendedMasterSecret,
		SRTPProtectionProfiles: []dtls.SRTPProtectionProfile{
			dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AES128_CM_HMAC_SHA1_32,
		},
		FlightInterval:          flightInterval,
		MTU:                     e.cfg.MTU,
		InsecureSkipVerifyHello: e.cfg.Verified,
		LoggerFactory:           e.cfg.Logger,
	}
	if config.LoggerFactory == nil {
		config.LoggerFactory = silence{}
	}
	var conn *dtls.Conn
	var err error
	peer := peerAddr{}
	if role == Active {
		conn, err = dtls.Client(a.view, peer, config)
	} else {
		conn, err = dtls.Server(a.view, peer, config)
	}
	if err != nil {
		return nil, Keys{}, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	err = conn.HandshakeContext(ctx)
	var keys Keys
	if err == nil {
		keys, err = deriveKeys(conn, role)
	}
	if err != nil {
		_ = conn.Close()
		if mismatch.Load() {
			return nil, Keys{}, ErrFingerprint
		}
		return nil, Keys{}, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return conn, keys, nil
}

// deriveKeys exports the SRTP keys (RFC 5764 §4.2).
func deriveKeys(conn *dtls.Conn, role Role) (Keys, error) {
	profile, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return Keys{}, errors.New("no SRTP profile negotiated")
	}
	suite, err := suiteOf(profile)
	if err != nil {
		return Keys{}, err
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return Keys{}, errors.New("no connection state")
	}
	c := srtp.Config{Profile: suite.facts().profile}
	if err := c.ExtractSessionKeysFromDTLS(&state, role == Active); err != nil {
		return Keys{}, err
	}
	join := func(key, salt []byte) Key {
		return Key{Suite: suite, Master: append(append([]byte(nil), key...), salt...)}
	}
	return Keys{
		In:  join(c.Keys.RemoteMasterKey, c.Keys.RemoteMasterSalt),
		Out: join(c.Keys.LocalMasterKey, c.Keys.LocalMasterSalt),
	}, nil
}

func suiteOf(p dtls.SRTPProtectionProfile) (Suite, error) {
	switch p {
	case dtls.SRTP_AEAD_AES_256_GCM:
		return AEADAES256GCM, nil
	case dtls.SRTP_AEAD_AES_128_GCM:
		return AEADAES128GCM, nil
	case dtls.SRTP_AES128_CM_HMAC_SHA1_80:
		return AESCM12880, nil
	case dtls.SRTP_AES128_CM_HMAC_SHA1_32:
		return AESCM12832, nil
	default:
		return NoSuite, fmt.Errorf("%w: DTLS profile %#x", ErrSuite, uint16(p))
	}
}

// win makes a finished handshake the association, unless another was faster, and ends the others.
func (e *Endpoint) win(a *attempt, conn *dtls.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state != shaking {
		return false
	}
	e.state = done
	a.conn = conn
	e.winner = a
	for key, other := range e.attempts {
		if other != a {
			_ = other.view.Close()
		}
		delete(e.attempts, key)
	}
	e.cancel() // the handshake's deadline; a finished association does not look at the context any more
	return true
}

// attemptFailed forgets a handshake. In the active role, and when the source was verified, it was the only one that counts.
func (e *Endpoint) attemptFailed(a *attempt, err error) {
	e.mu.Lock()
	if e.attempts[a.key] == a {
		delete(e.attempts, a.key)
	}
	if e.lastErr == nil || errors.Is(err, ErrFingerprint) {
		e.lastErr = err
	}
	final := e.role == Active || e.cfg.Verified
	e.mu.Unlock()
	if final {
		e.fail(err)
	}
}

// fail reports the end of an endpoint that has no keys. The reason of the last attempt says more than that time has run out.
func (e *Endpoint) fail(err error) {
	e.mu.Lock()
	if e.state != shaking {
		e.mu.Unlock()
		return
	}
	e.state = failed
	if e.lastErr != nil {
		err = e.lastErr
	}
	e.cancel()
	e.mu.Unlock()
	e.cfg.OnFailed(err)
}

// drain reads the association to its end: mediad has no use for application data, but alerts and late retransmissions are answered. The
// view stays open: the close_notify of a Close under way has to get through.
func (e *Endpoint) drain(conn *dtls.Conn) {
	defer conn.Close()
	buf := make([]byte, 2048)
	for {
		if _, err := conn.Read(buf); err != nil {
			break
		}
	}
	e.mu.Lock()
	byPeer := e.state == done
	e.mu.Unlock()
	if byPeer && e.cfg.OnClosed != nil {
		e.cfg.OnClosed()
	}
}

// Established reports whether keys were derived.
func (e *Endpoint) Established() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state == done
}

// Close ends the association, with a close_notify if there is one, and waits for its goroutines and for a callback under way: do not
// hold a lock that callbacks take. Further calls do nothing.
func (e *Endpoint) Close() {
	e.mu.Lock()
	e.state = closed
	e.early = nil
	if e.cancel != nil {
		e.cancel()
	}
	for _, a := range e.attempts {
		_ = a.view.Close()
	}
	winner := e.winner
	e.mu.Unlock()
	if winner != nil {
		_ = winner.conn.Close() // says close_notify, which needs the lock for the destination
		_ = winner.view.Close()
	}
	e.running.Wait()
}
