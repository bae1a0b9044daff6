package call

import (
	"bytes"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/tandem-sbc/tandem/mediad/internal/connect"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
)

// Components of a media (RFC 8445 §5.1.1), as indices.
const (
	componentRTP = iota
	componentRTCP
	components
)

// media is the local side of one m= line of a party: what mediad holds to talk
// to the party. A command works on copies and swaps them in when it has
// succeeded; what only the old ones hold is closed then.
type media struct {
	side   *negotiate.Side // what this was made for: that of the snapshot beside it
	facing netip.AddrPort  // where the other side is that the party was told of

	wild    bool        // the ports were made for ICE
	pair    *ports.Pair // nil: nothing is relayed
	streams [components]*flow.Stream
	further []place // the other addresses of the interface, while ICE offers them

	ice  *iceSession
	dtls *association
	sdes *sdesKeys
}

// place is a pair of ports on one local address, and the streams on it.
type place struct {
	pair    *ports.Pair
	streams [components]*flow.Stream
	main    bool // named in the m= line; its counters are those of all places
}

// places returns all pairs of ports of the media, the one that is named in its
// m= line first.
func (m *media) places() []place {
	if m.pair == nil {
		return nil
	}
	return append([]place{{m.pair, m.streams, true}}, m.further...)
}

// iceSession is our half of an ICE session (RFC 8445 §9) and the agents that
// run it.
type iceSession struct {
	generation  int
	mode        negotiate.ICEMode
	credentials connect.Credentials
	agents      [components]*iceAgent // nil for a component that is not in use
}

// iceAgent is the agent of one component. It outlives an ICE restart.
type iceAgent struct {
	*connect.Agent
	generation int             // ICE session that it runs
	given      map[string]bool // candidates of the peer that it knows of this session

	// handshake waits for a pair to be selected. The agent's callback reads
	// it, without the lock of the call.
	handshake atomic.Pointer[handshake]
}

// association is the DTLS association of a media, one handshake for each
// component in use.
type association struct {
	generation  int
	byComponent [components]*handshake
}

// handshake is one DTLS handshake and what came of it. Its contexts are
// guarded by the lock of the call.
type handshake struct {
	endpoint *secure.Endpoint
	path     *path
	in       *secure.Inbound
	out      *secure.Outbound
	suite    string

	mu        sync.Mutex // guards what follows
	agreed    bool       // role and fingerprints are known
	role      secure.Role
	peer      []secure.Fingerprint
	reachable bool // there is an address to talk to
	started   bool
}

// path is how the packets of a handshake go, when a component has a port on
// each of several addresses.
type path struct {
	first *flow.Stream // the one in the m= line
	all   []*flow.Stream
	heard atomic.Pointer[flow.Stream] // where the peer's last packet came in
}

// Send sends from the port of the pair that ICE has chosen, and before there is
// one from where the peer was heard.
func (p *path) Send(pkt []byte, dst netip.AddrPort) error {
	s := p.first.Outlet()
	if heard := p.heard.Load(); heard != nil && s.Destination() != dst {
		s = heard
	}
	return s.Send(pkt, dst)
}

func (p *path) remote() netip.AddrPort { return p.first.Outlet().Destination() }

// arrival takes the packets of a handshake that come in on one of the ports.
type arrival struct {
	*handshake
	stream *flow.Stream
}

// HandlePacket implements flow.Handler.
func (a arrival) HandlePacket(pkt []byte, src netip.AddrPort) {
	if a.path.heard.Load() != a.stream {
		a.path.heard.Store(a.stream)
	}
	a.endpoint.HandlePacket(pkt, src)
}

// agree tells the handshake its role and whose certificate to expect. It
// starts as soon as the peer can be reached, too. Only the first agreement
// counts: a new one needs a new association.
func (h *handshake) agree(role secure.Role, peer []secure.Fingerprint) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.agreed {
		return nil
	}
	h.agreed, h.role, h.peer = true, role, peer
	return h.startLocked()
}

// reach tells that there is an address to talk to.
func (h *handshake) reach() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reachable = true
	return h.startLocked()
}

func (h *handshake) startLocked() error {
	if h.started || !h.agreed || !h.reachable {
		return nil
	}
	h.started = true
	return h.endpoint.Start(h.role, h.peer)
}

// sdesKeys are the keys that we have offered to a party, and the contexts of
// those in use.
type sdesKeys struct {
	lines []sdesKey

	peer  negotiate.Crypto // line that in was made of
	own   secure.Key       // key that out was made of
	given bool             // own is the other party's, handed through
	in    *secure.Inbound
	out   *secure.Outbound
}

// sdesKey is our key for one a=crypto line.
type sdesKey struct {
	tag   int
	round int
	key   secure.Key
	given bool // by the other party
}

// key returns the key that we have made for a line that has been offered
// before, false if there is none.
func (k *sdesKeys) key(line negotiate.SDESLine, suite secure.Suite) (secure.Key, bool) {
	if k == nil {
		return secure.Key{}, false
	}
	for _, l := range k.lines {
		if l.tag == line.Tag && l.round == line.Round && l.key.Suite == suite && !l.given {
			return l.key, true
		}
	}
	return secure.Key{}, false
}

func sameCrypto(a, b negotiate.Crypto) bool {
	return a.Suite == b.Suite && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.MKI, b.MKI) &&
		a.UnencryptedSRTP == b.UnencryptedSRTP && a.UnencryptedSRTCP == b.UnencryptedSRTCP &&
		a.UnauthenticatedSRTP == b.UnauthenticatedSRTP
}

func sameKey(a, b secure.Key) bool {
	return a.Suite == b.Suite && bytes.Equal(a.Master, b.Master) && bytes.Equal(a.MKI, b.MKI) &&
		a.UnencryptedSRTP == b.UnencryptedSRTP && a.UnencryptedSRTCP == b.UnencryptedSRTCP &&
		a.UnauthenticatedSRTP == b.UnauthenticatedSRTP
}

// contexts returns what protects a component of the media, nil if nothing is
// agreed yet.
func (m *media) contexts(security negotiate.Security, component int) (*secure.Inbound, *secure.Outbound) {
	switch {
	case security == negotiate.SecurityDTLS && m.dtls != nil:
		if h := m.dtls.byComponent[component]; h != nil {
			return h.in, h.out
		}
	case security == negotiate.SecuritySDES && m.sdes != nil:
		return m.sdes.in, m.sdes.out
	}
	return nil, nil
}

// chosen returns our key of the line in use.
func (k *sdesKeys) chosen(tag int) (sdesKey, bool) {
	for _, l := range k.lines {
		if l.tag == tag && tag != 0 {
			return l, true
		}
	}
	return sdesKey{}, false
}
