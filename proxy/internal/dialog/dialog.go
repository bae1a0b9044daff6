// Package dialog knows the calls that run through the proxy: for each side its tag, leg profile, connection, route set,
// Contact and CSeq. By that it routes requests within dialogs, and ends calls whose browser has gone.
//
// The knowledge is kept in memory and, sealed with a key, in the proxy's Record-Route entry, so that a call survives a
// restart of the proxy.
package dialog

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Config of the keeper; zero values take the defaults named.
type Config struct {
	// Key seals what is put into Record-Route; it must survive restarts. 32 bytes.
	Key []byte
	// Grace is how long a browser's call survives the loss of its connection (2 s); a negative value means not at all.
	Grace time.Duration
	// Early bounds the life of a dialog without 2xx (10 min), Idle that of one without in-dialog requests (24 h).
	Early, Idle time.Duration
	// Acknowledge is how long a caller who has cancelled may take for the ACK of a 2xx that crossed his CANCEL (4 s, 8·T1).
	// Some browsers' libraries never send it; the callee is then acknowledged and hung up from here.
	Acknowledge time.Duration
	// Calls bounds the dialogs kept (50000).
	Calls int
}

func (c Config) withDefaults() Config {
	switch {
	case c.Grace == 0:
		c.Grace = 2 * time.Second
	case c.Grace < 0:
		c.Grace = 0
	}
	if c.Early <= 0 {
		c.Early = 10 * time.Minute
	}
	if c.Idle <= 0 {
		c.Idle = 24 * time.Hour
	}
	if c.Acknowledge <= 0 {
		c.Acknowledge = 4 * time.Second
	}
	if c.Calls <= 0 {
		c.Calls = 50000
	}
	return c
}

// repetitions is how long a 2xx may be repeated after its call: 64·T1 and some delay.
const repetitions = 40 * time.Second

// forks bounds the dialogs of one call.
const forks = 64

// Leg is one side of a dialog.
type Leg struct {
	// Tag names the party.
	Tag string
	// Identity is its From or To value as received, tag included.
	Identity string
	// Profile is the leg profile it speaks, AoR the address of record it was reached under (may be empty).
	Profile, AoR string
	// Conn is the connection to it, or to the next proxy towards it.
	Conn request.Connection
	// Bound says that it can only be reached by Conn: WebSocket, or behind NAT.
	Bound bool
	// Contact is its remote target, Routes the route set from here towards it.
	Contact string
	Routes  []string
	// CSeq is the last one it used in a request, as it came. Inserted is how many requests were made here in its name: what
	// it sends goes out with a number that is higher by that.
	CSeq, Inserted uint32
	shifts         []shift
}

// Dialog is one dialog of a call; A is the side that sent the INVITE.
type Dialog struct {
	CallID    string
	A, B      Leg
	Confirmed bool
	branch    string    // of the INVITE
	seal      string    // in its Record-Route
	cseq      uint32    // of the INVITE
	since     time.Time // of the INVITE, then of its first 2xx
	expires   time.Time
	unacked   bool // the 2xx to the INVITE has had no ACK yet
	crossed   bool // and the caller had cancelled
	closing   bool // BYE is on its way
	ours      bool // and was made here
	inviting  bool // an INVITE within it has no final response yet
	asking    bool // and one that was made here
	by        string
}

// key identifies a dialog for its users. A call that runs through the proxy twice has two records here.
type key struct{ callID, a, b string }

func (d *Dialog) key() key { return key{d.CallID, d.A.Tag, d.B.Tag} }

// Poster runs a function in the order of a call; the transaction layer is one.
type Poster interface {
	Post(callID string, f func(ctx context.Context)) bool
}

// Owner tells which addresses are the proxy's own; the edge is one.
type Owner interface {
	Owns(host string, port int) bool
}

// Keeper keeps the dialogs. It is a request.Step, a request.Observer and a request.Dialogs.
type Keeper struct {
	cfg   Config
	own   Owner
	conns request.Connections
	post  Poster
	log   *zap.Logger
	// send hands a request made here to the part of the chain behind this step.
	send func(ctx context.Context, r *request.Request)

	mu      sync.Mutex
	dialogs map[*Dialog]struct{}
	byCall  map[string][]*Dialog
	ended   map[key]time.Time // dialogs that are over, while repetitions of their 2xx may still come
	byConn  map[request.ConnectionID]map[*Dialog]struct{}
	timers  map[*time.Timer]struct{} // of connections in their grace time, and of answers without ACK

	stop chan struct{}
	wg   sync.WaitGroup
}

// New makes a keeper and starts its sweeper; Close ends it. send takes the BYE and ACK requests the keeper makes.
func New(cfg Config, own Owner, conns request.Connections, post Poster, send func(context.Context, *request.Request), log *zap.Logger) *Keeper {
	k := &Keeper{
		cfg: cfg.withDefaults(), own: own, conns: conns, post: post, send: send, log: log,
		dialogs: map[*Dialog]struct{}{}, byCall: map[string][]*Dialog{}, ended: map[key]time.Time{},
		byConn: map[request.ConnectionID]map[*Dialog]struct{}{}, timers: map[*time.Timer]struct{}{},
		stop: make(chan struct{}),
	}
	k.wg.Go(k.sweep)
	return k
}

// Close stops the sweeper and pending graces.
func (k *Keeper) Close() {
	close(k.stop)
	k.mu.Lock()
	for t := range k.timers {
		t.Stop()
	}
	clear(k.timers)
	k.mu.Unlock()
	k.wg.Wait()
}

// Count is the number of confirmed and early dialogs.
func (k *Keeper) Count() (confirmed, early int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for d := range k.dialogs {
		if d.Confirmed {
			confirmed++
		} else {
			early++
		}
	}
	return confirmed, early
}

// sweep drops dialogs nobody has ended.
func (k *Keeper) sweep() {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-k.stop:
			return
		case now := <-tick.C:
			k.mu.Lock()
			for d := range k.dialogs {
				if now.After(d.expires) {
					k.drop(d)
				}
			}
			for id, until := range k.ended {
				if now.After(until) {
					delete(k.ended, id)
				}
			}
			k.mu.Unlock()
		}
	}
}

// find looks a dialog up by the tags of a message in either direction; fromA tells which. A call over an upstream proxy
// may pass twice with the same tags (a spiral): the seal in Route tells the passes apart. It returns the first one with
// exact false when none has that seal. The lock is held.
func (k *Keeper) find(callID, from, to, seal string) (d *Dialog, fromA, exact bool) {
	for _, o := range k.byCall[callID] {
		forth := o.A.Tag == from && o.B.Tag == to
		if !forth && (o.A.Tag != to || o.B.Tag != from) {
			continue
		}
		if o.seal == seal {
			return o, forth, true
		}
		if d == nil {
			d, fromA = o, forth
		}
	}
	return d, fromA, false
}

// made looks up the dialog that a response to an INVITE's branch has made; the lock is held.
func (k *Keeper) made(callID, branch, tag string) *Dialog {
	for _, d := range k.byCall[callID] {
		if d.branch == branch && d.B.Tag == tag {
			return d
		}
	}
	return nil
}

// enter adds a dialog; false when there are too many. The lock is held.
func (k *Keeper) enter(d *Dialog) bool {
	if len(k.dialogs) >= k.cfg.Calls || len(k.byCall[d.CallID]) >= forks {
		k.log.Warn("dialog not kept, too many", zap.String("call-id", d.CallID))
		return false
	}
	k.dialogs[d] = struct{}{}
	k.byCall[d.CallID] = append(k.byCall[d.CallID], d)
	k.watch(d, d.A.Conn)
	k.watch(d, d.B.Conn)
	return true
}

// drop removes a dialog; the lock is held.
func (k *Keeper) drop(d *Dialog) {
	if _, kept := k.dialogs[d]; !kept {
		return
	}
	delete(k.dialogs, d)
	if d.Confirmed {
		by := d.by
		if by == "" {
			by = "proxy: nothing heard"
		}
		k.log.Info("call ended", zap.String("call-id", d.CallID), zap.String("from-tag", d.A.Tag), zap.String("to-tag", d.B.Tag),
			zap.Duration("duration", time.Since(d.since).Round(time.Millisecond)), zap.String("by", by))
	}
	if rest := slices.DeleteFunc(k.byCall[d.CallID], func(o *Dialog) bool { return o == d }); len(rest) > 0 {
		k.byCall[d.CallID] = rest
	} else {
		delete(k.byCall, d.CallID)
	}
	if d.Confirmed && len(k.ended) < k.cfg.Calls {
		k.ended[d.key()] = time.Now().Add(repetitions)
	}
	k.unwatch(d, d.A.Conn)
	k.unwatch(d, d.B.Conn)
}

// watch notes that a dialog depends on a WebSocket connection; the lock is held.
func (k *Keeper) watch(d *Dialog, c request.Connection) {
	if c == nil || !c.Transport().WebSocket() {
		return
	}
	if k.byConn[c.ID()] == nil {
		k.byConn[c.ID()] = map[*Dialog]struct{}{}
	}
	k.byConn[c.ID()][d] = struct{}{}
}

func (k *Keeper) unwatch(d *Dialog, c request.Connection) {
	if c == nil {
		return
	}
	if set := k.byConn[c.ID()]; set != nil {
		delete(set, d)
		if len(set) == 0 {
			delete(k.byConn, c.ID())
		}
	}
}

// move gives a leg another connection; the lock is held.
func (k *Keeper) move(d *Dialog, leg *Leg, c request.Connection) {
	if leg.Conn != nil && leg.Conn.ID() == c.ID() {
		return
	}
	k.unwatch(d, leg.Conn)
	leg.Conn = c
	k.watch(d, d.A.Conn)
	k.watch(d, d.B.Conn)
}

// touch prolongs a dialog; the lock is held.
func (k *Keeper) touch(d *Dialog) {
	life := k.cfg.Early
	if d.Confirmed {
		life = k.cfg.Idle
	}
	d.expires = time.Now().Add(life)
}

// Move transfers the legs of one connection to another one: the same browser (by +sip.instance) has come back.
func (k *Keeper) Move(from request.ConnectionID, to request.Connection) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for d := range k.byConn[from] {
		for _, leg := range []*Leg{&d.A, &d.B} {
			if leg.Conn != nil && leg.Conn.ID() == from {
				k.move(d, leg, to)
			}
		}
	}
}

// Lost is told of each connection that is gone. Calls of a browser end when it is not back after the grace.
func (k *Keeper) Lost(conn request.Connection) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.byConn[conn.ID()]) == 0 {
		return
	}
	select {
	case <-k.stop:
		return
	default:
	}
	k.after(k.cfg.Grace, func() { k.abandoned(conn.ID()) })
}

// after runs f later, unless the keeper is closed before; the lock is held.
func (k *Keeper) after(d time.Duration, f func()) {
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		k.mu.Lock()
		delete(k.timers, t)
		k.mu.Unlock()
		f()
	})
	k.timers[t] = struct{}{}
}

// abandoned ends the confirmed dialogs that still hang on a lost connection.
func (k *Keeper) abandoned(id request.ConnectionID) {
	k.mu.Lock()
	var gone []*Dialog
	for d := range k.byConn[id] {
		if d.Confirmed {
			gone = append(gone, d)
		}
	}
	k.mu.Unlock()
	for _, d := range gone {
		k.post.Post(d.CallID, func(ctx context.Context) {
			k.mu.Lock()
			lostA := d.A.Conn != nil && d.A.Conn.ID() == id
			lostB := d.B.Conn != nil && d.B.Conn.ID() == id
			k.mu.Unlock()
			if lostA || lostB {
				k.log.Info("browser gone, ending its call", zap.String("call-id", d.CallID), zap.String("connection", string(id)))
				k.end(ctx, d, "proxy: connection lost", !lostA, !lostB)
			}
		})
	}
}

// End sends BYE to both sides of all confirmed dialogs of a call (media timeout, administrator).
func (k *Keeper) End(callID string) {
	k.post.Post(callID, func(ctx context.Context) {
		k.mu.Lock()
		var all []*Dialog
		for _, d := range k.byCall[callID] {
			if d.Confirmed {
				all = append(all, d)
			}
		}
		k.mu.Unlock()
		for _, d := range all {
			k.end(ctx, d, "proxy: on demand", true, true)
		}
	})
}

// end sends BYE to the sides wanted, as if it came from the other one. by is for the log.
func (k *Keeper) end(ctx context.Context, d *Dialog, by string, toA, toB bool) {
	k.mu.Lock()
	if d.closing {
		k.mu.Unlock()
		return
	}
	d.closing, d.ours, d.by = true, true, by
	acknowledge := d.unacked && toB
	k.mu.Unlock()
	if acknowledge { // or B repeats its 2xx, whatever BYE says
		k.send(ctx, k.make(d, sip.ACK, true))
	}
	if toB || !toA {
		k.send(ctx, k.make(d, sip.BYE, true))
	}
	if toA {
		k.send(ctx, k.make(d, sip.BYE, false))
	}
}

// make builds a request within a dialog from A to B or the other way (RFC 3261 §12.2.1.1).
func (k *Keeper) make(d *Dialog, method sip.RequestMethod, fromA bool) *request.Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	from, to := &d.A, &d.B
	if !fromA {
		from, to = to, from
	}
	var uri sip.Uri
	if err := request.ParseURI(to.Contact, &uri); err != nil {
		uri = sip.Uri{Scheme: "sip", Host: "invalid"} // a bound leg is reached all the same
	}
	msg := sip.NewRequest(method, uri)
	msg.AppendHeader(sip.NewHeader("From", from.Identity))
	msg.AppendHeader(sip.NewHeader("To", to.Identity))
	callID := sip.CallIDHeader(d.CallID)
	msg.AppendHeader(&callID)
	seq := d.cseq
	if method != sip.ACK {
		seq = from.next()
	}
	if method == sip.INVITE && from.Contact != "" {
		msg.AppendHeader(sip.NewHeader("Contact", "<"+from.Contact+">"))
	}
	msg.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	request.SetRoutes(msg, to.Routes)
	msg.SetBody(nil)
	var source netip.AddrPort
	if from.Conn != nil {
		source = from.Conn.Remote()
	}
	return &request.Request{
		Msg: msg, Original: msg, Source: source, Received: time.Now(), InDialog: true, Profile: from.Profile, Shared: k.shared(d),
		Pass:    passOf(d.seal),
		Targets: []request.Target{target(to, uri)}, Observers: []request.Observer{&within{Keeper: k, d: d, fromA: fromA}}, Responder: nobody{},
		Log: k.log.With(zap.String("call-id", d.CallID), zap.String("from-tag", from.Tag), zap.String("method", string(method))),
	}
}

// acknowledge builds the ACK of a 2xx to the INVITE with that number that was made here.
func (k *Keeper) acknowledge(d *Dialog, fromA bool, seq uint32) *request.Request {
	r := k.make(d, sip.ACK, fromA)
	r.Msg.ReplaceHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: sip.ACK})
	return r
}

// shared reports another dialog of the same pass of the call that goes on; early ones do not outlive a confirmed one. The lock is held.
func (k *Keeper) shared(d *Dialog) bool {
	return slices.ContainsFunc(k.byCall[d.CallID], func(o *Dialog) bool {
		return o != d && !o.closing && passOf(o.seal) == passOf(d.seal) && (o.Confirmed || !d.Confirmed)
	})
}

// nobody is the responder of requests made here.
type nobody struct{}

func (nobody) Send(*sip.Response) error { return nil }

// target says how a leg is reached.
func target(leg *Leg, uri sip.Uri) request.Target {
	t := request.Target{URI: uri, Profile: leg.Profile, AoR: leg.AoR}
	c := leg.Conn
	if c == nil {
		return t
	}
	switch {
	case c.Transport().WebSocket(), leg.Bound && c.Transport() == request.UDP:
		t.Conn = c
	case c.Transport() == request.UDP:
	case request.Alive(c), leg.Bound:
		t.Conn = c
	}
	t.Listener = c.Listener()
	return t
}
