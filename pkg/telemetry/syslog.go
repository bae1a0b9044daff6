package telemetry

import (
	"fmt"
	"log/syslog"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// NewSyslogLogger returns a logger that writes to the local syslog daemon
// under name, with the severity of each line, and a function that closes the
// connection. The facility is a name of RFC 5424 §6.2.1: daemon, user,
// local0 … local7.
func NewSyslogLogger(level zap.AtomicLevel, facility, name string) (*zap.Logger, func() error, error) {
	priority, err := ParseFacility(facility)
	if err != nil {
		return nil, nil, err
	}
	w, err := syslog.New(priority|syslog.LOG_INFO, name)
	if err != nil {
		return nil, nil, fmt.Errorf("syslog: %w", err)
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.TimeKey, encoding.LevelKey = zapcore.OmitKey, zapcore.OmitKey // syslog has both
	encoding.ConsoleSeparator = " "
	core := &syslogCore{AtomicLevel: level, encoder: zapcore.NewConsoleEncoder(encoding), writer: w}
	return zap.New(core), w.Close, nil
}

// ParseFacility reads the name of a syslog facility.
func ParseFacility(s string) (syslog.Priority, error) {
	switch s = strings.ToLower(s); s {
	case "daemon":
		return syslog.LOG_DAEMON, nil
	case "user":
		return syslog.LOG_USER, nil
	}
	if len(s) == len("local0") && strings.HasPrefix(s, "local") && s[5] >= '0' && s[5] <= '7' {
		return syslog.LOG_LOCAL0 + syslog.Priority(s[5]-'0')<<3, nil
	}
	return 0, fmt.Errorf("%q is not a syslog facility", s)
}

// syslogCore gives each line the severity that belongs to its level, which a
// plain writer could not.
type syslogCore struct {
	zap.AtomicLevel
	encoder zapcore.Encoder
	writer  *syslog.Writer
}

func (c *syslogCore) With(fields []zapcore.Field) zapcore.Core {
	encoder := c.encoder.Clone()
	for i := range fields {
		fields[i].AddTo(encoder)
	}
	return &syslogCore{AtomicLevel: c.AtomicLevel, encoder: encoder, writer: c.writer}
}

func (c *syslogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *syslogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	line, err := c.encoder.EncodeEntry(e, fields)
	if err != nil {
		return err
	}
	defer line.Free()
	switch text := line.String(); {
	case e.Level >= zapcore.ErrorLevel:
		return c.writer.Err(text)
	case e.Level == zapcore.WarnLevel:
		return c.writer.Warning(text)
	case e.Level == zapcore.InfoLevel:
		return c.writer.Info(text)
	default:
		return c.writer.Debug(text)
	}
}

func (c *syslogCore) Sync() error { return nil }
