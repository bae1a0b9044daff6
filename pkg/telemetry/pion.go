package telemetry

import (
	"fmt"

	"github.com/pion/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// PionFactory makes loggers for pion's libraries that write through zap, one
// name a scope.
//
// What these libraries report is mostly caused by the peer (checks that fail,
// records that do not decrypt), or is a matter of course (reads that end when
// an agent closes), so their errors are our warnings, their warnings and
// information our debugging, and the rest only appears if Trace is set.
type PionFactory struct {
	Log   *zap.Logger
	Trace bool
}

// NewLogger implements logging.LoggerFactory.
func (f PionFactory) NewLogger(scope string) logging.LeveledLogger {
	return pionLogger{log: f.Log.Named(scope), trace: f.Trace}
}

type pionLogger struct {
	log   *zap.Logger
	trace bool
}

func (l pionLogger) Trace(msg string) { l.tracing(msg) }
func (l pionLogger) Debug(msg string) { l.tracing(msg) }
func (l pionLogger) Info(msg string)  { l.write(zapcore.DebugLevel, msg) }
func (l pionLogger) Warn(msg string)  { l.write(zapcore.DebugLevel, msg) }
func (l pionLogger) Error(msg string) { l.write(zapcore.WarnLevel, msg) }

func (l pionLogger) Tracef(format string, args ...any) { l.tracing(format, args...) }
func (l pionLogger) Debugf(format string, args ...any) { l.tracing(format, args...) }
func (l pionLogger) Infof(format string, args ...any)  { l.write(zapcore.DebugLevel, format, args...) }
func (l pionLogger) Warnf(format string, args ...any)  { l.write(zapcore.DebugLevel, format, args...) }
func (l pionLogger) Errorf(format string, args ...any) { l.write(zapcore.WarnLevel, format, args...) }

func (l pionLogger) tracing(format string, args ...any) {
	if l.trace {
		l.write(zapcore.DebugLevel, format, args...)
	}
}

// write formats only what will be written: the libraries log on every packet.
func (l pionLogger) write(level zapcore.Level, format string, args ...any) {
	line := l.log.Check(level, "")
	if line == nil {
		return
	}
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	line.Message = format
	line.Write()
}
