package telemetry

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// maxSeverity is the chattiest level: everything.
const maxSeverity = 7

// Levels are the log levels of the subsystems of a program, as numbers of
// syslog (RFC 5424 §6.2.1): 0 emergencies only, 7 everything. They may be read
// and changed at any time.
type Levels struct {
	names []string
	by    map[string]*atomic.Int32 // read-only after NewLevels
	most  atomic.Int32             // the highest of all

	follow   sync.Mutex // one change at a time
	followed atomic.Pointer[map[string]bool]
}

// followKey is the key of the field that tells what a line is about.
const followKey = "call-id"

// maxFollowed bounds how much is followed at a time.
const maxFollowed = 100

// Follow lets all lines about one call pass, whatever the levels, or ends that.
// A line is about a call if its logger was made with the field "call-id". It
// returns false if too many are followed already.
func (l *Levels) Follow(id string, on bool) bool {
	l.follow.Lock()
	defer l.follow.Unlock()
	next := make(map[string]bool)
	if old := l.followed.Load(); old != nil {
		maps.Copy(next, *old)
	}
	delete(next, id)
	if on {
		if len(next) >= maxFollowed {
			return false
		}
		next[id] = true
	}
	if len(next) == 0 {
		l.followed.Store(nil)
		return true
	}
	l.followed.Store(&next)
	return true
}

// NewLevels returns levels for the subsystems names, all of them the same. The
// first one stands for what belongs to none.
func NewLevels(level int, names ...string) *Levels {
	l := &Levels{names: names, by: make(map[string]*atomic.Int32, len(names))}
	for _, name := range names {
		l.by[name] = new(atomic.Int32)
	}
	l.SetAll(level)
	return l
}

// Names returns the subsystems in their order.
func (l *Levels) Names() []string { return slices.Clone(l.names) }

// Get returns the level of a subsystem, false if there is none so called.
func (l *Levels) Get(name string) (int, bool) {
	level, ok := l.by[name]
	if !ok {
		return 0, false
	}
	return int(level.Load()), true
}

// Set changes the level of a subsystem; what is not within 0–7 becomes the
// nearest of them. It returns false if there is no subsystem so called.
func (l *Levels) Set(name string, level int) bool {
	v, ok := l.by[name]
	if ok {
		v.Store(int32(min(max(level, 0), maxSeverity)))
		l.update()
	}
	return ok
}

// SetAll changes all levels.
func (l *Levels) SetAll(level int) {
	for _, name := range l.names {
		l.by[name].Store(int32(min(max(level, 0), maxSeverity)))
	}
	l.update()
}

// Step makes all subsystems chattier by n, quieter if n is negative.
func (l *Levels) Step(n int) {
	for _, name := range l.names {
		v := l.by[name]
		v.Store(min(max(v.Load()+int32(n), 0), maxSeverity))
	}
	l.update()
}

func (l *Levels) update() {
	most := int32(0)
	for _, v := range l.by {
		most = max(most, v.Load())
	}
	l.most.Store(most)
}

// Apply returns a logger that writes through log what the levels let pass. The
// subsystem of a line is found by the name of its logger. log itself should let
// everything pass.
func (l *Levels) Apply(log *zap.Logger, subsystem func(loggerName string) string) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return &levelCore{Core: core, levels: l, subsystem: subsystem}
	}))
}

func (l *Levels) passes(name string, level zapcore.Level) bool {
	v, ok := l.by[name]
	if !ok {
		v = l.by[l.names[0]]
	}
	return severity(level) <= v.Load()
}

// severity is the number of syslog for a level of zap.
func severity(level zapcore.Level) int32 {
	switch {
	case level <= zapcore.DebugLevel:
		return 7
	case level == zapcore.InfoLevel:
		return 6
	case level == zapcore.WarnLevel:
		return 4
	case level == zapcore.ErrorLevel:
		return 3
	}
	return 2
}

// levelCore passes on what the levels allow.
type levelCore struct {
	zapcore.Core
	levels    *Levels
	subsystem func(string) string
	about     string // a call
}

// Enabled reports whether any line of the level may be written.
func (c *levelCore) Enabled(level zapcore.Level) bool {
	return (severity(level) <= c.levels.most.Load() || c.isFollowed()) && c.Core.Enabled(level)
}

func (c *levelCore) isFollowed() bool {
	followed := c.levels.followed.Load()
	return followed != nil && (*followed)[c.about]
}

func (c *levelCore) With(fields []zapcore.Field) zapcore.Core {
	about := c.about
	for _, f := range fields {
		if f.Key == followKey {
			about = f.String
		}
	}
	return &levelCore{Core: c.Core.With(fields), levels: c.levels, subsystem: c.subsystem, about: about}
}

func (c *levelCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.levels.passes(c.subsystem(e.LoggerName), e.Level) && !c.isFollowed() {
		return ce
	}
	return c.Core.Check(e, ce)
}
