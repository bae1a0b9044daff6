package call

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"go.uber.org/zap"
)

// findAll returns the calls with the ids, each once and locked, the first of them
// first. The error is an ng.Reason; nothing is locked then.
func (r *Registry) findAll(ids []string) ([]*Call, error) {
	for {
		calls, err := r.lookupAll(ids)
		if err != nil {
			return nil, err
		}
		inOrder := slices.SortedFunc(slices.Values(calls), func(a, b *Call) int { return cmp.Compare(a.id, b.id) })
		for _, c := range inOrder { // the same for everybody who locks several
			c.mu.Lock()
		}
		ended := slices.IndexFunc(calls, func(c *Call) bool { return c.ended })
		if ended < 0 {
			return calls, nil
		}
		unlock(calls)
		r.forget(calls[ended])
	}
}

func (r *Registry) lookupAll(ids []string) ([]*Call, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var calls []*Call
	for _, id := range ids {
		c := r.calls[id]
		if c == nil {
			return nil, ng.ReasonUnknownCall
		}
		if !slices.Contains(calls, c) {
			calls = append(calls, c)
		}
	}
	return calls, nil
}

func unlock(calls []*Call) {
	for _, c := range calls {
		c.mu.Unlock()
	}
}

// merge makes the others part of the first of the calls, which are locked: all
// their parties, and their names, by which commands find it from now on. After an
// error, which wraps an ng.Reason, each is what it was, but may be served by
// another worker.
func (r *Registry) merge(calls []*Call) error {
	first := calls[0]
	if err := mergeable(calls); err != nil {
		return err
	}
	for _, c := range calls[1:] {
		if err := r.cfg.Engine.Move(first.shard, c.streams()...); err != nil {
			return fmt.Errorf("%w: %w", ng.ReasonInternal, err)
		}
		c.shard = first.shard // where it is well off alone, too, should the next one fail
	}
	for _, c := range calls[1:] {
		first.absorb(c)
		r.rename(c, first)
	}
	return nil
}

// mergeable reports why calls cannot become one.
func mergeable(calls []*Call) error {
	var tags []string
	count := 0
	for _, c := range calls {
		count += len(c.parties)
		tags = append(tags, c.tags()...)
	}
	slices.Sort(tags)
	switch {
	case count > maxParties:
		return fmt.Errorf("%w: too many parties", ng.ReasonInvalidAssociation)
	case len(slices.Compact(slices.Clone(tags))) < len(tags):
		return fmt.Errorf("%w: both calls have a party of the same tag", ng.ReasonInvalidAssociation)
	}
	return nil
}

// streams are all that the call holds.
func (c *Call) streams() []*flow.Stream {
	var out []*flow.Stream
	seen := make(map[*flow.Stream]bool)
	for _, p := range c.parties {
		for _, m := range p.all() {
			for _, at := range m.places() {
				for _, s := range at.streams {
					if !seen[s] {
						seen[s] = true
						out = append(out, s)
					}
				}
			}
		}
	}
	return out
}

// absorb takes over everything of another call, which has ended then. Both are
// locked.
func (c *Call) absorb(o *Call) {
	for _, p := range o.parties {
		p.turn += c.turns
		p.blocks = p.blocks.with(o.blocks)
		c.add(p)
	}
	c.turns += o.turns
	c.quality.Absorb(o.quality)
	if o.created.Before(c.created) {
		c.created = o.created
	}
	if o.lastSignal.After(c.lastSignal) {
		c.lastSignal = o.lastSignal
	}
	switch { // a party of the one that goes on is not to lose its call
	case o.deleteAt.IsZero():
		c.deleteAt = time.Time{}
	case !c.deleteAt.IsZero() && o.deleteAt.After(c.deleteAt):
		c.deleteAt = o.deleteAt
	}
	c.answered, c.dropped = c.answered || o.answered, c.dropped || o.dropped
	c.cname = cmp.Or(c.cname, o.cname)
	c.metadata = cmp.Or(c.metadata, o.metadata)
	c.quietAt = time.Time{}
	o.parties, o.ended, o.into = nil, true, c
	c.log.Info("merged", zap.String("with", o.id))
}

// rename lets the ids of a call that has been merged mean the other one.
func (r *Registry) rename(old, into *Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range append([]string{old.id}, old.others...) {
		r.calls[id] = into
		into.others = append(into.others, id)
	}
}

// lock locks the call, or the one that it has been merged into.
func (c *Call) lock() *Call {
	for {
		c.mu.Lock()
		if c.into == nil {
			return c
		}
		next := c.into
		c.mu.Unlock()
		c = next
	}
}
