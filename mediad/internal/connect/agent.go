package connect

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v3"
	"github.com/pion/stun/v2"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

const (
	defaultDisconnected = 10 * time.Second
	defaultFailed       = 30 * time.Second
	// keepalive is how often consent is renewed on a selected pair (RFC 7675 §5.1 says 5 s at most).
	keepalive = 2 * time.Second
	// checkInterval is the time between checks of a pair, and maxChecks their number: enough for a peer that begins three seconds
	// later than we, for the answer has to reach it by SIP; few enough not to flood whom a candidate names.
	checkInterval = 100 * time.Millisecond
	maxChecks     = 30
	// queueDepth bounds the checks kept while the peer's credentials are not known yet, or its agent is busy. A browser sends about
	// twenty a second and candidate pair.
	queueDepth = 16
	// maxChecked bounds the sources remembered as checked, and with them the peer-reflexive candidates of pion's agent. A peer has a
	// few; when there are so many, further ones are not heard until the next ICE session.
	maxChecked = 32
)

// Agent is the ICE agent of one component. pion's agent behind it lives from one ICE restart to the next.
type Agent struct {
	cfg   Config
	ports []Port

	guard   atomic.Pointer[guard]            // what the packet path needs of the present generation
	checked atomic.Pointer[[]netip.AddrPort] // sources whose checks have passed, copied on write

	mu         sync.Mutex
	generation *generation
	state      State
	selected   pair
	closed     bool
	turning    sync.WaitGroup // goroutines that change the role
}

// pair is a local port, by number, and a remote address.
type pair struct {
	port   int
	remote netip.AddrPort
}

// generation is pion's agent with the credentials of one ICE session (RFC 8445 §9).
type generation struct {
	agent       *ice.Agent
	views       []*udp.View // one for each port
	credentials Credentials
	conflict    *conflict
	started     bool
	remote      Remote // given to Start, with candidates that were added
	nomination  nomination
}

// NewAgent makes an agent that connects once Start has told it about its peer. Checks that come in before are answered and, within bounds,
// kept.
func NewAgent(cfg Config) (*Agent, error) {
	if cfg.Disconnected == 0 {
		cfg.Disconnected = defaultDisconnected
	}
	if cfg.Failed == 0 {
		cfg.Failed = defaultFailed
	}
	if cfg.Logger == nil {
		cfg.Logger = silence{}
	}
	if cfg.Component == 0 {
		cfg.Component = 1
	}
	a := &Agent{cfg: cfg, ports: append([]Port{{cfg.Local, cfg.Sender}}, cfg.Further...)}
	g, err := a.newGeneration(cfg.Credentials)
	if err != nil {
		return nil, err
	}
	a.generation = g
	a.guard.Store(a.newGuard(g))
	return a, nil
}

func (a *Agent) newGeneration(c Credentials) (*generation, error) {
	if len(c.Ufrag) < minUfrag || len(c.Password) < minPassword {
		return nil, ErrCredentials
	}
	g := &generation{credentials: c}
	g.conflict = &conflict{credentials: c, turn: func() bool { return a.turn(g) }}
	for _, port := range a.ports {
		g.views = append(g.views, udp.NewView(port.Local, queueDepth, func(pkt []byte, dst netip.AddrPort) error {
			g.conflict.sees(pkt)
			if isSuccess(pkt) { // pion tells of the check only after this, and media may come at once
				a.remember(dst)
			}
			return port.Sender.Send(pkt, dst)
		}))
	}
	agent, err := ice.NewAgent(&ice.AgentConfig{
		LocalUfrag: c.Ufrag, LocalPwd: c.Password,
		Lite:                   a.cfg.Lite,
		UDPMux:                 &ownPorts{views: g.views},
		NetworkTypes:           []ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6},
		CandidateTypes:         []ice.CandidateType{ice.CandidateTypeHost},
		MulticastDNSMode:       ice.MulticastDNSModeDisabled,
		IncludeLoopback:        true,
		DisconnectedTimeout:    &a.cfg.Disconnected,
		FailedTimeout:          &a.cfg.Failed,
		KeepaliveInterval:      ptr(keepalive),
		CheckInterval:          ptr(checkInterval),
		MaxBindingRequests:     ptr(uint16(maxChecks)),
		HostAcceptanceMinWait:  ptr(time.Duration(0)),
		PrflxAcceptanceMinWait: ptr(100 * time.Millisecond),
		SrflxAcceptanceMinWait: ptr(100 * time.Millisecond),
		RelayAcceptanceMinWait: ptr(500 * time.Millisecond),
		Net:                    noInterfaces{},
		LoggerFactory:          a.cfg.Logger,
		BindingRequestHandler: func(m *stun.Message, _, remote ice.Candidate, _ *ice.CandidatePair) bool {
			return a.requestPassed(g, m, remote)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("connect: agent: %w", err)
	}
	g.agent = agent
	_ = agent.OnCandidate(func(ice.Candidate) {})
	_ = agent.OnConnectionStateChange(func(s ice.ConnectionState) { a.stateChanged(g, s) })
	_ = agent.OnSelectedCandidatePairChange(func(local, remote ice.Candidate) { a.pairSelected(g, local, remote) })
	if err := agent.GatherCandidates(); err != nil {
		_ = agent.GracefulClose()
		return nil, fmt.Errorf("connect: agent: %w", err)
	}
	return g, nil
}

func ptr[T any](v T) *T { return &v }

// Start tells the agent about its peer, or, in the same ICE session, about changes: further candidates count, others are ignored.
// Until it is called for a generation, checks are answered but start none of ours.
func (a *Agent) Start(r Remote) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrClosed
	}
	return a.startLocked(r)
}

func (a *Agent) startLocked(r Remote) error {
	if len(r.Credentials.Ufrag) < minUfrag || len(r.Credentials.Password) < minPassword {
		return ErrCredentials
	}
	g := a.generation
	a.addCandidatesLocked(r.Candidates)
	if g.started {
		return nil
	}
	g.started = true
	g.remote.Credentials, g.remote.Controlling = r.Credentials, r.Controlling
	g.conflict.role.Store(controlled)
	if r.Controlling {
		g.conflict.role.Store(controlling)
	}
	if err := g.start(r); err != nil {
		return fmt.Errorf("connect: start: %w", err)
	}
	return nil
}

// AddCandidates gives the agent further candidates of its peer (trickle ICE, RFC 8838).
func (a *Agent) AddCandidates(lines []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.addCandidatesLocked(lines)
	}
}

func (a *Agent) addCandidatesLocked(lines []string) {
	g := a.generation
	for _, line := range lines {
		if len(g.remote.Candidates) == maxRemotes {
			return
		}
		c, err := ParseCandidate(line)
		if err != nil || c.Component != a.cfg.Component || !a.hasFamily(c.Address) {
			continue
		}
		remote, err := c.pion()
		if err != nil {
			continue
		}
		g.remote.Candidates = append(g.remote.Candidates, line)
		_ = g.agent.AddRemoteCandidate(remote)
	}
}

// hasFamily reports whether one of the ports can reach an address.
func (a *Agent) hasFamily(remote netip.AddrPort) bool {
	return slices.ContainsFunc(a.ports, func(p Port) bool { return p.Local.Addr().Is4() == remote.Addr().Is4() })
}

// Restart begins a new ICE session with new credentials (RFC 8445 §9); Start has to follow. Media goes on over the pair selected before
// until a new one is. It waits for a callback under way: do not hold a lock that callbacks take.
func (a *Agent) Restart(c Credentials) error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return ErrClosed
	}
	a.mu.Unlock()
	next, err := a.newGeneration(c)
	if err != nil {
		return err
	}
	a.mu.Lock()
	old := a.generation
	if a.closed {
		a.mu.Unlock()
		next.close()
		return ErrClosed
	}
	a.generation = next
	a.forgetChecked(a.selected.remote)
	a.guard.Store(a.newGuard(next))
	a.mu.Unlock()
	old.close()
	return nil
}

func (a *Agent) newGuard(g *generation) *guard {
	auth := make([]*authenticator, len(a.ports))
	for i := range auth {
		auth[i] = newAuthenticator(g.credentials.Password)
	}
	return &guard{ufrag: g.credentials.Ufrag, views: g.views, ports: a.ports, auth: auth, checked: &a.checked, conflict: g.conflict}
}

// forgetChecked leaves but one checked source, that of the pair in use.
func (a *Agent) forgetChecked(selected netip.AddrPort) {
	var list []netip.AddrPort
	if selected.IsValid() {
		list = []netip.AddrPort{selected}
	}
	a.checked.Store(&list)
}

// HandlePacket takes a STUN packet that came in on the first port. It does not block and does not keep pkt.
func (a *Agent) HandlePacket(pkt []byte, src netip.AddrPort) { a.handle(pkt, 0, src) }

func (a *Agent) handle(pkt []byte, port int, src netip.AddrPort) {
	if g := a.guard.Load(); g != nil {
		g.pass(pkt, port, src)
	}
}

// Arrival is the agent for packets that come in on one of its ports.
type Arrival struct {
	*Agent
	port int
}

// At returns the agent for packets that come in on a port: 0 is Config.Local, further ones count on in Config.Further.
func (a *Agent) At(port int) *Arrival { return &Arrival{a, port} }

// HandlePacket takes a STUN packet that came in on the port. It does not block and does not keep pkt.
func (a *Arrival) HandlePacket(pkt []byte, src netip.AddrPort) { a.handle(pkt, a.port, src) }

// Allows reports whether a check from a source has passed in this ICE session; the pair selected in the last one goes on to count.
func (a *Agent) Allows(src netip.AddrPort) bool {
	list := a.checked.Load()
	return list != nil && slices.Contains(*list, src)
}

// Selected is the remote address of the chosen pair, unset if there is none.
func (a *Agent) Selected() netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.selected.remote
}

// State the agent is in.
func (a *Agent) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// Credentials of ours in the present ICE session.
func (a *Agent) Credentials() Credentials {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.generation.credentials
}

// remember adds a checked source. Only goroutines of pion's agents call it.
func (a *Agent) remember(src netip.AddrPort) {
	for {
		old := a.checked.Load()
		var list []netip.AddrPort
		if old != nil {
			if slices.Contains(*old, src) {
				return
			}
			list = *old
			if len(list) >= maxChecked {
				return
			}
		}
		next := append(slices.Clone(list), src)
		if a.checked.CompareAndSwap(old, &next) {
			return
		}
	}
}

func (a *Agent) pairSelected(g *generation, local, remote ice.Candidate) {
	dst, ok := addrPortOf(remote)
	own, okLocal := addrPortOf(local)
	port := slices.IndexFunc(a.ports, func(p Port) bool { return p.Local == own })
	if !ok || !okLocal || port < 0 {
		return
	}
	chosen := pair{port, dst}
	g.nomination.selected(dst, remote.Priority(), time.Now())
	a.mu.Lock()
	if a.closed || a.generation != g || a.selected == chosen {
		a.mu.Unlock()
		return
	}
	a.selected = chosen
	a.mu.Unlock()
	a.remember(dst)
	if a.cfg.OnSelected != nil {
		a.cfg.OnSelected(port, dst)
	}
}

func (a *Agent) stateChanged(g *generation, s ice.ConnectionState) {
	next, ok := stateOf(s)
	if !ok {
		return
	}
	a.mu.Lock()
	if a.closed || a.generation != g || a.state == next {
		a.mu.Unlock()
		return
	}
	a.state = next
	a.mu.Unlock()
	if a.cfg.OnState != nil {
		a.cfg.OnState(next)
	}
}

func stateOf(s ice.ConnectionState) (State, bool) {
	switch s {
	case ice.ConnectionStateChecking:
		return Checking, true
	case ice.ConnectionStateConnected, ice.ConnectionStateCompleted:
		return Connected, true
	case ice.ConnectionStateDisconnected:
		return Disconnected, true
	case ice.ConnectionStateFailed:
		return Failed, true
	default:
		return New, false
	}
}

// Close ends the agent and waits for its goroutines and for a callback under way: do not hold a lock that callbacks take. Further calls
// do nothing.
func (a *Agent) Close() {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	a.closed = true
	a.state = Closed
	g := a.generation
	a.guard.Store(nil)
	a.mu.Unlock()
	g.close()
	a.turning.Wait()
}
