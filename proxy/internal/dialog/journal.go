package dialog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

const (
	// flushEvery is how long a change may be in memory only. A call that is shorter is never written.
	flushEvery = time.Second
	// flushTime bounds one write: a disk that is slower counts as failed.
	flushTime = 5 * time.Second
	// batch bounds the records of one write.
	batch = 1000
)

// Load brings back the dialogs that were kept; call it before messages come. The devices of connections that are gone are
// handed to remember, so that they are known when they come back.
func (k *Keeper) Load(ctx context.Context, remember func(request.Device, request.ConnectionID)) error {
	cfg := k.cfg.Load()
	if cfg.Store == nil {
		return nil
	}
	records, err := cfg.Store.Dialogs(ctx)
	if err != nil && len(records) == 0 {
		return fmt.Errorf("dialogs of the earlier run: %w", err)
	}
	if err != nil {
		k.log.Error("some dialogs of the earlier run are lost", zap.Error(err))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	gone := map[request.ConnectionID]struct{}{}
	kept := 0
	for _, r := range records {
		k.lastID = max(k.lastID, r.ID)
		d := k.revive(r)
		if !time.Now().Before(d.expires) || !k.enter(d) {
			k.dirty[d] = struct{}{}
			continue
		}
		kept++
		d.slot = k.hold(r.Counted)
		for _, leg := range []*Leg{&d.A, &d.B} {
			if c, ok := leg.Conn.(lost); ok {
				gone[c.id] = struct{}{}
				if leg.Device != (request.Device{}) {
					remember(leg.Device, c.id)
				}
			}
		}
	}
	for id := range gone {
		k.after(cfg.Return, func() { k.abandoned(id) })
	}
	k.log.Info("dialogs of the earlier run", zap.Int("kept", kept), zap.Int("over", len(records)-kept))
	return nil
}

// changed notes that a dialog has to be written; the lock is held. What a store that fails lets pile up is bounded: a
// dialog that is not noted is found at its next change, or ended by its timers after a restart.
func (k *Keeper) changed(d *Dialog) {
	if (d.Confirmed || d.stored) && k.dirty != nil && len(k.dirty) < 2*k.cfg.Load().Calls {
		k.dirty[d] = struct{}{}
	}
}

// write flushes what has changed until the keeper is closed, and a last time then.
func (k *Keeper) write() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	failing := false
	for closing := false; !closing; {
		select {
		case <-tick.C:
		case <-k.stop:
			closing = true
		}
		err := k.flush()
		switch {
		case err != nil && !failing:
			k.log.Error("dialogs are not kept, calls go on without; a restart now would lose what is not in Record-Route", zap.Error(err))
		case err == nil && failing:
			k.log.Info("dialogs are kept again")
		}
		failing = err != nil
	}
}

// flush writes what has changed. What could not be written stays noted.
func (k *Keeper) flush() error {
	for {
		put, drop, of := k.unwritten()
		if len(of) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), flushTime)
		err := k.cfg.Load().Store.KeepDialogs(ctx, put, drop)
		cancel()
		if err != nil {
			k.mu.Lock()
			for _, d := range of {
				k.changed(d)
			}
			k.mu.Unlock()
			return err
		}
	}
}

// unwritten takes a batch of what has changed.
func (k *Keeper) unwritten() (put []Record, drop []uint64, of []*Dialog) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for d := range k.dirty {
		delete(k.dirty, d)
		_, kept := k.dialogs[d]
		switch {
		case kept && d.Confirmed:
			put = append(put, d.record())
			d.stored = true
		case d.stored:
			drop = append(drop, d.id)
		default:
			continue // begun and ended between two writes
		}
		if of = append(of, d); len(of) == batch {
			break
		}
	}
	slices.SortFunc(put, func(a, b Record) int { return int(a.ID) - int(b.ID) }) // neighbours on the disk
	return put, drop, of
}
