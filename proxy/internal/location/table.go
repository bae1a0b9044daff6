package location

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// flushEvery is how long a change may be in memory only. What is lost by a
	// crash within it, clients register again.
	flushEvery = 200 * time.Millisecond
	// sweepEvery is how often expired bindings are taken out. Lookup never
	// returns them in any case.
	sweepEvery = 5 * time.Second
	// rememberLost is how long the connection of a device that has gone is
	// remembered, and maxLost how many are.
	rememberLost = 2 * time.Minute
	maxLost      = 50000
	// closeTimeout bounds the last flush.
	closeTimeout = 5 * time.Second
)

// Keeper keeps bindings over a restart.
type Keeper interface {
	// Load returns all kept bindings.
	Load(ctx context.Context) ([]Binding, error)
	// Replace makes the given bindings the only ones of their address of
	// record, all in one step; an empty list removes them.
	Replace(ctx context.Context, changes map[AoR][]Binding) error
}

// Table holds all bindings. It is safe for concurrent use.
type Table struct {
	log    *zap.Logger
	keeper Keeper
	now    func() time.Time
	stop   chan struct{}
	done   chan struct{}

	mu           sync.RWMutex
	bindings     map[AoR][]Binding
	byConnection map[string]map[AoR]struct{}
	dirty        map[AoR]struct{} // changed since the last flush
	lost         map[Device]lostConnection
	onLost       func(AoR)
}

// Device is one instance of a user (+sip.instance and reg-id, RFC 5626), which
// may come back by another connection.
type Device struct {
	AoR             AoR
	Instance, RegID string
}

// lostConnection is the connection that a device had.
type lostConnection struct {
	id string
	at time.Time
}

// NewTable returns an empty table. keeper may be nil: nothing is kept.
func NewTable(keeper Keeper, log *zap.Logger) *Table {
	return &Table{
		log:          log,
		keeper:       keeper,
		now:          time.Now,
		stop:         make(chan struct{}),
		done:         make(chan struct{}),
		bindings:     make(map[AoR][]Binding),
		byConnection: make(map[string]map[AoR]struct{}),
		dirty:        make(map[AoR]struct{}),
		lost:         make(map[Device]lostConnection),
	}
}

// OnLost sets a function that is told of each address of record that has lost a
// binding in another way than by Update: it has run out, or its connection is
// gone.
func (t *Table) OnLost(f func(AoR)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onLost = f
}

func (t *Table) tellLost(list []AoR) {
	t.mu.RLock()
	f := t.onLost
	t.mu.RUnlock()
	for _, aor := range list {
		if f != nil {
			f(aor)
		}
	}
}

// Start loads what was kept and begins to sweep and to flush. Bindings over a
// connection that cannot have outlived the restart are dropped, or lose their
// connection if their contact may be dialled.
func (t *Table) Start(ctx context.Context) error {
	if t.keeper != nil {
		kept, err := t.keeper.Load(ctx)
		if err != nil {
			return err
		}
		t.restore(kept)
	}
	go t.run()
	return nil
}

func (t *Table) restore(kept []Binding) {
	t.mu.Lock()
	defer t.mu.Unlock()
	restored := 0
	for _, b := range kept {
		if b.Expired(t.now()) || (b.Transport != "udp" && !b.Direct) {
			t.dirty[b.AoR] = struct{}{}
			t.remember(Device{b.AoR, b.Instance, b.RegID}, b.Connection)
			continue
		}
		if b.Transport != "udp" {
			b.Connection = ""
		}
		t.setLocked(b.AoR, append(t.bindings[b.AoR], b))
		restored++
	}
	t.log.Info("bindings restored", zap.Int("restored", restored), zap.Int("dropped", len(kept)-restored))
}

// Close flushes the last changes and waits for the background work.
func (t *Table) Close() error {
	close(t.stop)
	<-t.done
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return t.Flush(ctx)
}

func (t *Table) run() {
	defer close(t.done)
	flush, sweep := time.NewTicker(flushEvery), time.NewTicker(sweepEvery)
	defer flush.Stop()
	defer sweep.Stop()
	failing := false
	for {
		select {
		case <-t.stop:
			return
		case <-flush.C:
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			err := t.Flush(ctx)
			cancel()
			switch { // a full disk is told once
			case err != nil && !failing:
				t.log.Error("bindings not kept, they go on in memory", zap.Error(err))
			case err == nil && failing:
				t.log.Info("bindings are kept again")
			}
			failing = err != nil
		case <-sweep.C:
			t.sweep()
		}
	}
}

// Flush hands all changes to the keeper. If that fails they stay to be flushed
// later.
func (t *Table) Flush(ctx context.Context) error {
	t.mu.Lock()
	if t.keeper == nil || len(t.dirty) == 0 {
		clear(t.dirty)
		t.mu.Unlock()
		return nil
	}
	changes := make(map[AoR][]Binding, len(t.dirty))
	for aor := range t.dirty {
		changes[aor] = t.bindings[aor] // lists are replaced, never changed in place
	}
	clear(t.dirty)
	t.mu.Unlock()

	if err := t.keeper.Replace(ctx, changes); err != nil {
		t.mu.Lock()
		for aor := range changes {
			t.dirty[aor] = struct{}{}
		}
		t.mu.Unlock()
		return err
	}
	return nil
}

func (t *Table) sweep() { t.tellLost(t.expire()) }

// expire takes out what has run out and returns whose bindings it were.
func (t *Table) expire() []AoR {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	var changed []AoR
	for d, l := range t.lost {
		if now.Sub(l.at) > rememberLost {
			delete(t.lost, d)
		}
	}
	for aor, list := range t.bindings {
		if !slices.ContainsFunc(list, func(b Binding) bool { return b.Expired(now) }) {
			continue
		}
		var left []Binding
		for _, b := range list {
			if b.Expired(now) {
				t.log.Info("binding expired", zap.String("aor", string(aor)), zap.String("contact", b.Contact))
				continue
			}
			left = append(left, b)
		}
		t.setLocked(aor, left)
		t.dirty[aor] = struct{}{}
		changed = append(changed, aor)
	}
	return changed
}

// Lookup returns the bindings of aor that have not expired. The list is not to
// be changed.
func (t *Table) Lookup(aor AoR) []Binding {
	now := t.now()
	t.mu.RLock()
	list := t.bindings[aor]
	t.mu.RUnlock()
	if !slices.ContainsFunc(list, func(b Binding) bool { return b.Expired(now) }) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(b Binding) bool { return b.Expired(now) })
}

// ErrUnchanged may be returned by the function given to Update to leave the
// bindings as they are.
var ErrUnchanged = errors.New("bindings unchanged")

// Update replaces the bindings of aor by what change makes of them, in one
// step. change gets a copy of those that have not expired. Its error is
// returned and nothing is changed; ErrUnchanged is no error.
func (t *Table) Update(aor AoR, change func(current []Binding) ([]Binding, error)) error {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	current := slices.DeleteFunc(slices.Clone(t.bindings[aor]), func(b Binding) bool { return b.Expired(now) })
	next, err := change(current)
	if errors.Is(err, ErrUnchanged) {
		return nil
	}
	if err != nil {
		return err
	}
	t.setLocked(aor, next)
	t.dirty[aor] = struct{}{}
	return nil
}

// ConnectionClosed takes out the bindings that were reached over the
// connection with this id, and returns how many. Those whose contact may be
// dialled stay.
func (t *Table) ConnectionClosed(id string) int {
	changed, removed := t.unbind(id)
	t.tellLost(changed)
	return removed
}

func (t *Table) unbind(id string) (changed []AoR, removed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for aor := range t.byConnection[id] {
		var left []Binding
		for _, b := range t.bindings[aor] {
			if b.Connection == id && !b.Direct {
				removed++
				t.remember(Device{b.AoR, b.Instance, b.RegID}, b.Connection)
				t.log.Info("binding removed with its connection",
					zap.String("aor", string(aor)), zap.String("contact", b.Contact), zap.String("connection", id))
				continue
			}
			if b.Connection == id {
				b.Connection = ""
			}
			left = append(left, b)
		}
		t.setLocked(aor, left)
		t.dirty[aor] = struct{}{}
		changed = append(changed, aor)
	}
	return changed, removed
}

// Previous returns the connection by which a device was reached before, if all
// that is bound to that connection belongs to the same address of record, or if
// it has just closed; "" if there is none.
func (t *Table) Previous(aor AoR, instance, regID string) string {
	if instance == "" {
		return ""
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, b := range t.bindings[aor] {
		if b.Instance == instance && b.RegID == regID && b.Connection != "" && len(t.byConnection[b.Connection]) == 1 {
			return b.Connection
		}
	}
	return t.lost[Device{aor, instance, regID}].id
}

// On returns the device that is reached over a connection, if it is one alone.
func (t *Table) On(connection string) (Device, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.byConnection[connection]) != 1 {
		return Device{}, false
	}
	for aor := range t.byConnection[connection] {
		for _, b := range t.bindings[aor] {
			if b.Connection == connection && b.Instance != "" {
				return Device{aor, b.Instance, b.RegID}, true
			}
		}
	}
	return Device{}, false
}

// Remember notes the connection that a device had before a restart.
func (t *Table) Remember(d Device, connection string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remember(d, connection)
}

func (t *Table) remember(d Device, connection string) {
	if d.Instance != "" && connection != "" && len(t.lost) < maxLost {
		t.lost[d] = lostConnection{connection, t.now()}
	}
}

// Len returns the number of addresses of record with a binding.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.bindings)
}

// All returns every binding that has not expired.
func (t *Table) All() []Binding {
	now := t.now()
	t.mu.RLock()
	defer t.mu.RUnlock()
	var all []Binding
	for _, list := range t.bindings {
		for _, b := range list {
			if !b.Expired(now) {
				all = append(all, b)
			}
		}
	}
	return all
}

// setLocked stores list for aor and keeps the index by connection. t.mu is
// held.
func (t *Table) setLocked(aor AoR, list []Binding) {
	for _, b := range t.bindings[aor] {
		if set := t.byConnection[b.Connection]; set != nil {
			delete(set, aor)
			if len(set) == 0 {
				delete(t.byConnection, b.Connection)
			}
		}
	}
	if len(list) == 0 {
		delete(t.bindings, aor)
		return
	}
	t.bindings[aor] = slices.Clip(list)
	for _, b := range list {
		if b.Connection == "" {
			continue
		}
		set := t.byConnection[b.Connection]
		if set == nil {
			set = make(map[AoR]struct{}, 1)
			t.byConnection[b.Connection] = set
		}
		set[aor] = struct{}{}
	}
}
