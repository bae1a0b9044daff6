package app

import (
	"context"
	"errors"
	"time"

	"github.com/tandem-sbc/tandem/pkg/conf"
	"github.com/tandem-sbc/tandem/proxy/internal/chain"
	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
	"github.com/tandem-sbc/tandem/proxy/internal/store/sqlite"
)

// dialogPolicy is what of the dialogs' configuration may change while the proxy runs.
func dialogPolicy(s *settings.Settings) dialog.Config {
	never := func(d conf.Duration) time.Duration { // dialog's zero is its default
		if d == 0 {
			return -1
		}
		return time.Duration(d)
	}
	d := s.Dialogs
	trunks := map[string]int{}
	for _, t := range s.Trunks {
		if t.MaxCalls > 0 {
			trunks[t.Name] = t.MaxCalls
		}
	}
	return dialog.Config{
		Calls: s.Limits.Calls, Grace: never(d.Grace), Return: never(d.Return), MediaCheck: never(d.MediaCheck),
		Session: dialog.Session{Min: time.Duration(d.SessionTimer.Min), Interval: time.Duration(d.SessionTimer.Interval)},
		Limits: dialog.Limits{
			PerUser: d.Limits.PerUser, PerTrunk: d.Limits.PerTrunk, PerAddress: d.Limits.PerAddress, Trunks: trunks,
		},
	}
}

// newKeeper makes the keeper of dialogs; behind is the chain that takes the requests it makes.
func (a *App) newKeeper(ctx context.Context, behind func() *chain.Chain) (*dialog.Keeper, error) {
	s := a.settings.Load()
	cfg := dialogPolicy(s)
	var err error
	if cfg.Key, err = a.db.Key(ctx, "record-route"); err != nil {
		return nil, err
	}
	if s.Dialogs.Store == settings.StoreSQLite && s.Storage.Path != sqlite.Memory {
		cfg.Store = a.db
	}
	cfg.Device = func(id request.ConnectionID) request.Device {
		d, _ := a.table.On(string(id))
		return request.Device{AoR: string(d.AoR), Instance: d.Instance, RegID: d.RegID}
	}
	if a.media != nil {
		cfg.Media = a.mediaKnows
	}
	return dialog.New(cfg, a.edge, a.edge, a.layer, func(ctx context.Context, r *request.Request) { behind().Resume(ctx, r) }, a.log), nil
}

// loadDialogs brings back the calls of an earlier run.
func (a *App) loadDialogs(ctx context.Context) error {
	return a.keeper.Load(ctx, func(d request.Device, id request.ConnectionID) {
		a.table.Remember(location.Device{AoR: location.AoR(d.AoR), Instance: d.Instance, RegID: d.RegID}, string(id))
	})
}

// errNodeDown says that a node which may have the call cannot be asked.
var errNodeDown = errors.New("a media node is down")

// mediaKnows asks the media daemons for a call.
func (a *App) mediaKnows(ctx context.Context, callID string) (bool, error) {
	known, err := a.media.Knows(ctx, callID) // else its node has begun anew, and the call moves
	if known || err != nil {
		return known, err
	}
	for _, n := range a.media.Nodes() {
		if !n.Up() {
			return false, errNodeDown
		}
	}
	return false, nil
}
