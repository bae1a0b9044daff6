// Package telemetry sets up logging: zap for our own code, adapters for the
// libraries that log through other interfaces (log/slog, pion/logging).
//
// Secrets (passwords, keys, nonces) are never given to a logger; nothing here
// filters them.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"
)

// Format is how a log line is written.
type Format uint8

// Formats of log lines.
const (
	FormatConsole Format = iota // for people: time, level, name, message, fields as JSON
	FormatJSON                  // one JSON object a line
)

// LogConfig says what is logged, how and where to.
type LogConfig struct {
	Level  zap.AtomicLevel // may be changed while running; the zero value logs from Info on
	Format Format
	Output io.Writer // nil = standard error; writes are serialized

	// MaxLine breaks lines that are longer, in bytes; 0 = never. For receivers
	// that cut them off.
	MaxLine int

	// NoTimestamps leaves out the time, where the receiver of the lines adds
	// its own (journald).
	NoTimestamps bool
}

// NewLogger returns the logger described by c.
func NewLogger(c LogConfig) *zap.Logger {
	if c.Level == (zap.AtomicLevel{}) {
		c.Level = zap.NewAtomicLevel()
	}
	if c.Output == nil {
		c.Output = os.Stderr
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z07:00")
	encoding.EncodeDuration = zapcore.StringDurationEncoder
	if c.NoTimestamps {
		encoding.TimeKey = zapcore.OmitKey
	}
	var encoder zapcore.Encoder
	if c.Format == FormatJSON {
		encoder = zapcore.NewJSONEncoder(encoding)
	} else {
		encoding.EncodeLevel = zapcore.CapitalLevelEncoder
		encoding.ConsoleSeparator = " "
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	if c.MaxLine > 0 {
		c.Output = lineBreaker{c.Output, c.MaxLine}
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(c.Output)), c.Level)
	return zap.New(core, zap.ErrorOutput(zapcore.Lock(zapcore.AddSync(os.Stderr))))
}

// ParseLevel reads a level: a syslog number 0–7 (RFC 5424 §6.2.1, as
// rtpengine's log-level takes it) or one of debug, info, notice, warning,
// warn, error, err, crit, alert, emerg. zap has no level between info and
// warning, so notice counts as info; all above error count as error.
func ParseLevel(s string) (zapcore.Level, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	if n, err := strconv.Atoi(s); err == nil {
		switch {
		case n < 0 || n > 7:
			return 0, fmt.Errorf("log level %d is not within 0–7", n)
		case n <= 3:
			return zapcore.ErrorLevel, nil
		case n == 4:
			return zapcore.WarnLevel, nil
		case n <= 6:
			return zapcore.InfoLevel, nil
		}
		return zapcore.DebugLevel, nil
	}
	switch s {
	case "debug":
		return zapcore.DebugLevel, nil
	case "info", "notice":
		return zapcore.InfoLevel, nil
	case "warning", "warn":
		return zapcore.WarnLevel, nil
	case "error", "err", "crit", "critical", "alert", "emerg", "emergency":
		return zapcore.ErrorLevel, nil
	}
	return 0, fmt.Errorf("%q is not a log level", s)
}

// ParseSeverity reads a level as ParseLevel does, and returns it as a number
// of syslog: 0 emergencies only, 7 everything. Numbers up to 9 are taken for 7.
func ParseSeverity(s string) (int, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 9 {
			return 0, fmt.Errorf("log level %d is not within 0–7", n)
		}
		return min(n, 7), nil
	}
	for i, names := range [...]string{"emerg emergency", "alert", "crit critical", "error err", "warning warn", "notice", "info", "debug"} {
		if slices.Contains(strings.Fields(names), s) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q is not a log level", s)
}

// Sampled returns a logger that passes, of lines with the same level and
// message, the first n in each interval of length every and drops the rest.
// It is for faults that the outside can provoke at will.
func Sampled(log *zap.Logger, n int, every time.Duration) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, every, n, 0)
	}))
}

// Slog returns a log/slog logger that writes through log.
func Slog(log *zap.Logger) *slog.Logger {
	return slog.New(zapslog.NewHandler(log.Core(), zapslog.WithName(log.Name())))
}
