// Package limits holds the timers and bounds of the daemon. They can be
// changed while it runs, by a reload of the file or from the CLI, and bound
// calls that are there already.
package limits

import (
	"sync"
	"sync/atomic"
	"time"
)

// Values are timers and bounds. A duration of 0 means never, except
// DeleteDelay, where it means at once. A bound of 0 is none, except
// MaxSessions.
type Values struct {
	Timeout       time.Duration // without media
	SilentTimeout time.Duration // without media, if a side is on hold
	OfferTimeout  time.Duration // without an answer
	FinalTimeout  time.Duration // whatever happens
	DeleteDelay   time.Duration // from the command delete to the end

	MaxSessions  int     // calls at a time; -1 = no limit, 0 = refuse every new one
	MaxLoad      float64 // load average of the last minute
	MaxCPU       float64 // of all processors, 0–100
	MaxBandwidth uint64  // received media, in bytes a second
}

// Live is the values in force. A snapshot never changes; to change a value is
// to swap the snapshot, so readers need no lock.
type Live struct {
	change  sync.Mutex // one change at a time
	current atomic.Pointer[Values]
}

// NewLive returns the values in force at the start.
func NewLive(v Values) *Live {
	l := &Live{}
	l.current.Store(&v)
	return l
}

// Load returns the values in force, not to be modified. Equal pointers mean
// that nothing has changed.
func (l *Live) Load() *Values { return l.current.Load() }

// Change lets f modify a copy of the values and puts it in force.
func (l *Live) Change(f func(*Values)) {
	l.change.Lock()
	defer l.change.Unlock()
	v := *l.current.Load()
	f(&v)
	l.current.Store(&v)
}
