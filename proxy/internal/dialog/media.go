package dialog

import (
	"context"
	"sync"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

const (
	// askAtOnce bounds the questions to media daemons that run side by side.
	askAtOnce = 4
	// askTime bounds one of them.
	askTime = 3 * time.Second
	// askTries is how often a call is asked for that the daemon has never known: it may have no media there.
	askTries = 3
)

// watchMedia asks for the media of each call now and then. A call that the daemon has known and knows no more has lost its
// media for the time that is set there: it is ended on both sides.
func (k *Keeper) watchMedia() {
	tick := time.NewTicker(k.cfg.Load().Sweep)
	defer tick.Stop()
	for {
		select {
		case <-k.stop:
			return
		case now := <-tick.C:
			k.ask(k.due(now))
		}
	}
}

// due are the calls to be asked for now.
func (k *Keeper) due(now time.Time) []*Dialog {
	every := k.cfg.Load().MediaCheck
	if every <= 0 {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var due []*Dialog
	for d := range k.dialogs {
		switch {
		case !d.Confirmed || d.closing || d.unknown >= askTries:
		case d.asked.IsZero():
			d.asked = now
		case now.Sub(d.asked) >= every:
			d.asked = now
			due = append(due, d)
		}
	}
	return due
}

func (k *Keeper) ask(due []*Dialog) {
	work := make(chan *Dialog)
	var wg sync.WaitGroup
	for range min(askAtOnce, len(due)) {
		wg.Go(func() {
			for d := range work {
				k.askFor(d)
			}
		})
	}
	defer wg.Wait()
	defer close(work)
	for _, d := range due {
		select {
		case work <- d:
		case <-k.stop:
			return
		}
	}
}

func (k *Keeper) askFor(d *Dialog) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	known, err := k.cfg.Load().Media(ctx, request.MediaID(d.CallID, passOf(d.seal)))
	if err != nil {
		k.log.Debug("media daemon not asked", zap.String("call-id", d.CallID), zap.Error(err))
		return
	}
	k.mu.Lock()
	_, kept := k.dialogs[d]
	gone := kept && !known && d.media && !d.closing
	switch {
	case known && !d.media:
		d.media = true
		k.changed(d)
		k.log.Debug("media of the call are watched", zap.String("call-id", d.CallID))
	case !known && !d.media:
		d.unknown++
	}
	k.mu.Unlock()
	if gone {
		k.log.Info("media of the call are gone, ending it", zap.String("call-id", d.CallID))
		k.post.Post(d.CallID, func(ctx context.Context) { k.end(ctx, d, "proxy: media timeout", true, true) })
	}
}
