// Package dialog knows the calls that run through the proxy: for each side its tag, leg profile, connection, route set,
// Contact and CSeq. By that it routes requests within dialogs, and ends calls whose browser has gone.
//
// The knowledge is kept in memory, in a store, and, sealed with a key, in the proxy's Record-Route entry, so that a call
// survives a restart of the proxy: by the seal alone requests find their way; by the store the proxy can end the call itself.
package dialog

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

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
	// Profile is the leg profile it speaks; AoR the address of record it was reached under, Trunk the trunk it belongs to
	// and Device what is registered over its connection (each may be empty).
	Profile, AoR, Trunk string
	Device              request.Device
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
	jump           uint32 // of the next number, as those used before a restart are not all known
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
	away      *Leg // could not be told of the end
	session   sessionTimer
	slot      *slot     // of the limits
	asked     time.Time // for its media
	media     bool      // the media daemon has known it
	unknown   int       // or how often it did not
	id        uint64    // of its record
	stored    bool      // it may have one
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
	cfg   atomic.Pointer[Config]
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
	counts  map[string]int           // calls by key of the limits
	dirty   map[*Dialog]struct{}     // to be written; nil without a store
	lastID  uint64

	close sync.Once
	stop  chan struct{}
	wg    sync.WaitGroup
}

// New makes a keeper and starts its sweeper; Close ends it. send takes the BYE and ACK requests the keeper makes.
func New(cfg Config, own Owner, conns request.Connections, post Poster, send func(context.Context, *request.Request), log *zap.Logger) *Keeper {
	k := &Keeper{
		own: own, conns: conns, post: post, send: send, log: log,
		dialogs: map[*Dialog]struct{}{}, byCall: map[string][]*Dialog{}, ended: map[key]time.Time{},
		byConn: map[request.ConnectionID]map[*Dialog]struct{}{}, timers: map[*time.Timer]struct{}{},
		counts: map[string]int{}, stop: make(chan struct{}),
	}
	cfg = cfg.withDefaults()
	k.cfg.Store(&cfg)
	k.wg.Go(k.sweep)
	if cfg.Store != nil {
		k.dirty = map[*Dialog]struct{}{}
		k.wg.Go(k.write)
	}
	if cfg.Media != nil {
		k.wg.Go(k.watchMedia)
	}
	return k
}

// Close stops the sweeper and pending graces, and writes what is not written yet.
func (k *Keeper) Close() {
	k.close.Do(func() { close(k.stop) })
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
	tick := time.NewTicker(k.cfg.Load().Sweep)
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
			k.overdue(now)
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
	if len(k.dialogs) >= k.cfg.Load().Calls || len(k.byCall[d.CallID]) >= forks {
		k.log.Warn("dialog not kept, too many", zap.String("call-id", d.CallID))
		return false
	}
	if d.id == 0 {
		k.lastID++
		d.id = k.lastID
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
	if d.Confirmed && len(k.ended) < k.cfg.Load().Calls {
		k.ended[d.key()] = time.Now().Add(repetitions)
	}
	k.unwatch(d, d.A.Conn)
	k.unwatch(d, d.B.Conn)
	k.release(d.slot)
	d.slot = nil
	k.changed(d)
}

// watch notes that a dialog uses a connection which may end; the lock is held.
func (k *Keeper) watch(d *Dialog, c request.Connection) {
	if c == nil || c.Transport() == request.UDP {
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
	life := k.cfg.Load().Early
	if d.Confirmed {
		life = k.cfg.Load().Idle
	}
	d.expires = time.Now().Add(life)
}
