package app

import (
	"strings"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger returns the logger, the levels it obeys, and what closes it.
// Without a syslog daemon to write to the log goes to standard error.
func newLogger(l *settings.Log) (*zap.Logger, *telemetry.Levels, func()) {
	levels := newLevels(l)
	everything := zap.NewAtomicLevelAt(zapcore.DebugLevel)
	format := telemetry.FormatConsole
	if l.JSON {
		format = telemetry.FormatJSON
	}
	if !l.ToStderr {
		log, closeLog, err := telemetry.NewSyslogLogger(telemetry.SyslogConfig{
			Level: everything, Facility: l.Facility, Name: l.Name, Format: format, MaxLine: l.MaxLine,
		})
		if err == nil {
			return levels.Apply(log, subsystem), levels, func() { _ = closeLog() }
		}
	}
	log := telemetry.NewLogger(telemetry.LogConfig{
		Level: everything, Format: format, NoTimestamps: l.NoTimestamps, MaxLine: l.MaxLine,
	})
	return levels.Apply(log, subsystem), levels, func() { _ = log.Sync() }
}

// newLevels returns the levels that are set.
func newLevels(l *settings.Log) *telemetry.Levels {
	levels := telemetry.NewLevels(l.Level, settings.Subsystems()...)
	setLevels(levels, l)
	return levels
}

func setLevels(levels *telemetry.Levels, l *settings.Log) {
	levels.SetAll(l.Level)
	for name, level := range l.Levels {
		levels.Set(name, level)
	}
}

// subsystem finds the subsystem of a line by the first part of its logger's
// name: one of ours, or a scope of pion's libraries.
func subsystem(logger string) string {
	name, _, _ := strings.Cut(logger, ".")
	switch name {
	case "ng", "cli", "legacy":
		return "control"
	case "https", "websocket":
		return "http"
	case "connect", "turn", "stun", "mdns":
		return "ice"
	case "dtls", "sdes", "secure":
		return "crypto"
	}
	return name // what is none of the subsystems counts as core
}
