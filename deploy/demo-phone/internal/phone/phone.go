// Package phone is a plain SIP phone: UDP, RTP/AVP, G.711 and telephone-event, several accounts, each with a behaviour.
// It is strict: what it does not understand it refuses with the status that the RFC names.
package phone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/wire"
)

const (
	// maxCalls bounds the calls at one time; more get 486.
	maxCalls = 500
	// maxEnded bounds the ended calls that Calls still shows.
	maxEnded     = 1000
	closeTimeout = 3 * time.Second
	product      = "Tandem demo phone"
)

var (
	// ErrNoCall means that no live call has the id, or that none was named and there is not exactly one.
	ErrNoCall = errors.New("no such call")
	// ErrNoAccount means that the phone has no such user.
	ErrNoAccount = errors.New("no such account")
	// ErrBusy means that the phone has as many calls as it can take, or is closing.
	ErrBusy = errors.New("too many calls")
)

// Config is all that a phone is told at its start.
type Config struct {
	Listen    netip.AddrPort // SIP over UDP; port 0 takes a free one, the address must be a real one
	Media     netip.Addr     // RTP and RTCP; not valid = that of Listen
	Registrar string         // host:port of registrar and outbound proxy; empty = no registration, calls go to the URI's host
	Domain    string         // of the accounts' addresses
	Expires   time.Duration  // asked for when registering; the registrar may shorten it
	Codecs    []string       // PCMA, PCMU in order of preference
	Accounts  []Account
	Record    string    // folder for a WAV file a call; empty = none
	SIPLog    *wire.Log // may be nil
	Log       *zap.Logger
}

// Phone is a running phone.
type Phone struct {
	config  Config
	socket  net.PacketConn
	address netip.AddrPort
	ua      *sipgo.UserAgent
	client  *sipgo.Client
	log     *zap.Logger

	registrations []*registration

	mu      sync.Mutex
	calls   map[string]*Call // by local tag
	ended   []*Call          // oldest first
	closing bool
	work    sync.WaitGroup // handlers and behaviours; only added to while not closing

	stop func() // ends registrations
	regs sync.WaitGroup
}

// Start binds the SIP port, registers the accounts in the background and serves until Close.
func Start(config Config) (*Phone, error) {
	if !config.Listen.Addr().IsValid() || config.Listen.Addr().IsUnspecified() {
		return nil, fmt.Errorf("listen address %v: a phone needs the address that it puts into its Contact", config.Listen)
	}
	if !config.Media.IsValid() {
		config.Media = config.Listen.Addr()
	}
	socket, err := net.ListenPacket("udp", config.Listen.String())
	if err != nil {
		return nil, fmt.Errorf("SIP socket: %w", err)
	}
	p := &Phone{
		config: config, socket: socket, log: config.Log, calls: make(map[string]*Call),
		address: netip.AddrPortFrom(config.Listen.Addr(), uint16(socket.LocalAddr().(*net.UDPAddr).Port)),
	}
	server, err := p.stack()
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	conn := &served{PacketConn: wire.Conn{PacketConn: socket, Log: config.SIPLog}, reading: make(chan struct{})}
	p.regs.Go(func() { _ = server.ServeUDP(conn) })
	<-conn.reading
	if config.Registrar != "" {
		for _, account := range config.Accounts {
			r := newRegistration(account)
			p.registrations = append(p.registrations, r)
			p.regs.Go(func() { p.keepRegistered(ctx, r) })
		}
	}
	return p, nil
}

// served tells when sipgo reads from its socket: only then has it a connection for the requests of the client.
type served struct {
	net.PacketConn
	once    sync.Once
	reading chan struct{}
}

func (s *served) ReadFrom(buffer []byte) (int, net.Addr, error) {
	s.once.Do(func() { close(s.reading) })
	return s.PacketConn.ReadFrom(buffer)
}

// stack builds sipgo's layers so that every request leaves by the one socket.
func (p *Phone) stack() (*sipgo.Server, error) {
	quiet := slog.New(slog.DiscardHandler)
	ua, err := sipgo.NewUA(
		sipgo.WithUserAgent(product),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(quiet)),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(quiet)),
	)
	if err != nil {
		return nil, fmt.Errorf("SIP stack: %w", err)
	}
	p.ua = ua
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		return nil, fmt.Errorf("SIP server: %w", err)
	}
	address := p.address.String()
	p.client, err = sipgo.NewClient(ua, sipgo.WithClientLogger(quiet), sipgo.WithClientAddr(address),
		sipgo.WithClientConnectionAddr(address), sipgo.WithClientNAT())
	if err != nil {
		return nil, fmt.Errorf("SIP client: %w", err)
	}
	server.OnInvite(p.tracked(p.onInvite))
	server.OnAck(p.onAck)
	server.OnBye(p.tracked(p.onBye))
	server.OnUpdate(p.tracked(p.onUpdate))
	server.OnNotify(p.tracked(p.onNotify))
	server.OnCancel(p.onLateCancel)
	server.OnOptions(p.onOptions)
	server.OnNoRoute(p.onOther)
	return server, nil
}

// tracked makes Close wait for a handler.
func (p *Phone) tracked(handler sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		if !p.begin() {
			p.respond(tx, req, sip.StatusServiceUnavailable, "Closing", nil)
			return
		}
		defer p.work.Done()
		handler(req, tx)
	}
}

// begin books work that Close waits for, unless the phone is closing.
func (p *Phone) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.work.Add(1)
	return true
}

// Address is where the phone listens for SIP.
func (p *Phone) Address() netip.AddrPort { return p.address }

// What Close allows for messages that sipgo was handling.
const (
	closeRounds = 4
	closePause  = 25 * time.Millisecond
)

// Close hangs up, de-registers and waits until nothing of the phone runs any more.
func (p *Phone) Close() error {
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return nil
	}
	p.closing = true
	live := make([]*Call, 0, len(p.calls))
	for _, call := range p.calls {
		live = append(live, call)
	}
	p.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var hangups sync.WaitGroup
	for _, call := range live {
		hangups.Go(func() { _ = call.Hangup(ctx) })
	}
	hangups.Wait()
	p.stop()
	for _, r := range p.registrations {
		<-r.left
	}
	for _, call := range live { // those that did not answer the BYE in time
		call.end(0, "phone closed")
	}
	p.work.Wait()
	err := p.socket.Close()
	p.regs.Wait()
	p.work.Wait()
	// sipgo handles what it had read before in goroutines that nobody can wait for, and opens another connection for it:
	// those are closed in further rounds.
	for range closeRounds {
		err = errors.Join(err, p.ua.Close())
		time.Sleep(closePause)
	}
	return err
}

// add books a call, unless there are too many.
func (p *Phone) add(call *Call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing || len(p.calls) >= maxCalls {
		return ErrBusy
	}
	p.calls[call.dialog.localTag] = call
	return nil
}

func (p *Phone) remove(call *Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, live := p.calls[call.dialog.localTag]; !live {
		return
	}
	delete(p.calls, call.dialog.localTag)
	p.ended = append(p.ended, call)
	if len(p.ended) > maxEnded {
		p.ended = p.ended[len(p.ended)-maxEnded:]
	}
}

// Calls lists the live calls and the newest of the ended ones, in the order of their start.
func (p *Phone) Calls() []Snapshot {
	p.mu.Lock()
	calls := append([]*Call(nil), p.ended...)
	for _, call := range p.calls {
		calls = append(calls, call)
	}
	p.mu.Unlock()
	slices.SortStableFunc(calls, func(a, b *Call) int { return a.started.Compare(b.started) })
	out := make([]Snapshot, 0, len(calls))
	for _, call := range calls {
		out = append(out, call.Snapshot())
	}
	return out
}

// Find gives the live call with this Call-ID, or the only live one when id is empty.
func (p *Phone) Find(id string) (*Call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id == "" && len(p.calls) != 1 {
		return nil, fmt.Errorf("%w: %d are live, name one", ErrNoCall, len(p.calls))
	}
	for _, call := range p.calls {
		if id == "" || call.dialog.callID == id {
			return call, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoCall, id)
}

func (p *Phone) account(user string) (Account, error) {
	for _, a := range p.config.Accounts {
		if a.User == user {
			return a, nil
		}
	}
	return Account{}, fmt.Errorf("%w: %q", ErrNoAccount, user)
}

// contact is this phone's Contact for an account.
func (p *Phone) contact(user string) *sip.ContactHeader {
	return &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: user, Host: host(p.address.Addr()), Port: int(p.address.Port())}}
}

func host(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
