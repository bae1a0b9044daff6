package settings

import (
	"time"

	"github.com/tandem-sbc/tandem/pkg/conf"
)

// Dialogs says how calls are kept and ended.
type Dialogs struct {
	Store        string        `yaml:"store"`       // sqlite or none
	Grace        conf.Duration `yaml:"grace"`       // a browser's call without its connection
	Return       conf.Duration `yaml:"return"`      // the same after a restart of the proxy
	MediaCheck   conf.Duration `yaml:"media_check"` // how often media daemons are asked for a call; 0: never
	SessionTimer SessionTimer  `yaml:"session_timer"`
	Limits       CallLimits    `yaml:"limits"`
}

// SessionTimer is the policy about RFC 4028.
type SessionTimer struct {
	Min      conf.Duration `yaml:"min"`      // a shorter interval gets 422
	Interval conf.Duration `yaml:"interval"` // asked for where nobody does, and the longest; 0: none
}

// CallLimits bound concurrent calls; 0: no limit.
type CallLimits struct {
	PerUser    int `yaml:"per_user"`
	PerTrunk   int `yaml:"per_trunk"` // where trunks[].max_calls says nothing
	PerAddress int `yaml:"per_address"`
}

// Values of Dialogs.Store.
const (
	StoreSQLite = "sqlite"
	StoreNone   = "none"
)

func defaultDialogs() Dialogs {
	return Dialogs{
		Store: StoreSQLite,
		// JsSIP connects again after 2 s and has registered some 300 ms later.
		Grace:        conf.Duration(3 * time.Second),
		Return:       conf.Duration(time.Minute),
		MediaCheck:   conf.Duration(30 * time.Second),
		SessionTimer: SessionTimer{Min: conf.Duration(90 * time.Second)},
	}
}

func (s *Settings) validateDialogs(doc *conf.Document) {
	d := s.Dialogs
	if d.Store != StoreSQLite && d.Store != StoreNone {
		doc.Fault("dialogs.store", "%q is neither sqlite nor none", d.Store)
	}
	span := func(key string, d conf.Duration, low, high time.Duration, zero bool) {
		if t := time.Duration(d); (t < low || t > high) && !(zero && t == 0) {
			doc.Fault("dialogs."+key, "%s is not from %s to %s", t, low, high)
		}
	}
	span("grace", d.Grace, 100*time.Millisecond, 10*time.Minute, true)
	span("return", d.Return, time.Second, 10*time.Minute, true)
	span("media_check", d.MediaCheck, time.Second, time.Hour, true)
	// RFC 4028 §5: never below 90 s.
	span("session_timer.min", d.SessionTimer.Min, 90*time.Second, 24*time.Hour, false)
	span("session_timer.interval", d.SessionTimer.Interval, time.Duration(d.SessionTimer.Min), 24*time.Hour, true)
	for key, n := range map[string]int{
		"per_user": d.Limits.PerUser, "per_trunk": d.Limits.PerTrunk, "per_address": d.Limits.PerAddress,
	} {
		within(doc, "dialogs.limits."+key, n, 0, 1_000_000)
	}
}
