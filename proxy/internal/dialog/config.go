package dialog

import (
	"context"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Config of the keeper; zero values take the defaults named.
type Config struct {
	// Key seals what is put into Record-Route; it must survive restarts. 32 bytes.
	Key []byte
	// Grace is how long a browser's call survives the loss of its connection (2 s); a negative value means not at all.
	Grace time.Duration
	// Return is the same after a restart of the proxy, when all browsers connect anew (60 s).
	Return time.Duration
	// Early bounds the life of a dialog without 2xx (10 min), Idle that of one without in-dialog requests (24 h).
	Early, Idle time.Duration
	// Acknowledge is how long a caller who has cancelled may take for the ACK of a 2xx that crossed his CANCEL (4 s, 8·T1).
	// Some browsers' libraries never send it; the callee is then acknowledged and hung up from here.
	Acknowledge time.Duration
	// Calls bounds the dialogs kept (50000).
	Calls int
	// Sweep is how often timers of dialogs are looked at (2 s, at most MediaCheck).
	Sweep time.Duration
	// Session is the policy about session timers.
	Session Session
	// Limits bound concurrent calls.
	Limits Limits
	// MediaCheck is how often the media of each call are asked for (30 s); a negative value means never.
	MediaCheck time.Duration

	// Store keeps dialogs over a restart; nil: the seals alone do.
	Store Store
	// Device tells who is reached over a connection; nil: nobody is known.
	Device func(request.ConnectionID) request.Device
	// Media reports whether the media daemon still has a call, by its request.MediaID; nil: it is not asked. An error says that
	// this is not known.
	Media func(ctx context.Context, mediaID string) (bool, error)
}

func (c Config) withDefaults() Config {
	set := func(v *time.Duration, d time.Duration) {
		switch {
		case *v == 0:
			*v = d
		case *v < 0:
			*v = 0
		}
	}
	set(&c.Grace, 2*time.Second)
	set(&c.Return, time.Minute)
	set(&c.Early, 10*time.Minute)
	set(&c.Idle, 24*time.Hour)
	set(&c.Acknowledge, 4*time.Second)
	set(&c.MediaCheck, 30*time.Second)
	set(&c.Sweep, 2*time.Second)
	if c.MediaCheck > 0 {
		c.Sweep = min(c.Sweep, c.MediaCheck)
	}
	if c.Calls <= 0 {
		c.Calls = 50000
	}
	c.Session = c.Session.withDefaults()
	return c
}

// Configure changes the policy: Grace, Session, Limits, MediaCheck and the bounds. It takes effect for what comes; the rest
// stays as it was at New.
func (k *Keeper) Configure(cfg Config) error {
	old := *k.cfg.Load()
	cfg = cfg.withDefaults()
	cfg.Key, cfg.Store, cfg.Device, cfg.Media, cfg.Sweep = old.Key, old.Store, old.Device, old.Media, old.Sweep
	k.cfg.Store(&cfg)
	return nil
}
