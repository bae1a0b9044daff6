package ngserver

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// logPause is the shortest time between two messages about faults that anyone
// who reaches the socket can cause.
const logPause = time.Second

// maxStack bounds the stack trace in a log line, in bytes.
const maxStack = 4096

// limitedLog logs at most one message a pause and says how many it left out.
type limitedLog struct {
	log *slog.Logger

	mu      sync.Mutex
	last    time.Time
	leftOut int
}

func (l *limitedLog) warn(message string, attrs ...slog.Attr) {
	l.mu.Lock()
	now := time.Now()
	if now.Sub(l.last) < logPause {
		l.leftOut++
		l.mu.Unlock()
		return
	}
	leftOut := l.leftOut
	l.last, l.leftOut = now, 0
	l.mu.Unlock()
	if leftOut > 0 {
		attrs = append(attrs, slog.Int("left-out", leftOut))
	}
	l.log.LogAttrs(context.Background(), slog.LevelWarn, message, attrs...)
}

func stack() string {
	s := debug.Stack()
	return string(s[:min(len(s), maxStack)])
}
