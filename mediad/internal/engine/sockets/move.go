package sockets

import (
	"errors"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
)

// Move lets the worker of another shard serve streams. What comes in the meantime waits in their sockets.
func (e *Engine) Move(shard uint64, streams ...*flow.Stream) error {
	e.moving.Lock()
	defer e.moving.Unlock()
	if len(streams) == 0 {
		return nil
	}
	old := streams[0].Shard()
	from, to := e.workerOf(old), e.workerOf(shard)
	if from == to {
		reshard(streams, shard)
		return nil
	}
	attached, err := from.leave(streams)
	if err != nil {
		return err
	}
	reshard(streams, shard)
	if err := to.attach(attached); err != nil {
		_, back := to.leave(attached)
		reshard(streams, old)
		return errors.Join(err, back, from.attach(attached))
	}
	return nil
}

func reshard(streams []*flow.Stream, shard uint64) {
	for _, s := range streams {
		s.SetShard(shard)
	}
}

// leave takes streams out of the loop, to be attached to another, and returns those that were there.
func (w *worker) leave(streams []*flow.Stream) (attached []*flow.Stream, err error) {
	err = w.queue.Do(func() error {
		attached = w.mover.detach(streams)
		return nil
	})
	return attached, err
}
