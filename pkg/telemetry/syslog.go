package telemetry

import (
	"bytes"
	"fmt"
	"log/syslog"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// SyslogConfig says what is written to syslog and how.
type SyslogConfig struct {
	Level    zap.AtomicLevel // may be changed while running
	Facility string          // a name that ParseFacility knows
	Name     string          // of the program
	Format   Format
	MaxLine  int // breaks lines that are longer, in bytes; 0 = never
}

// NewSyslogLogger returns a logger that writes to the local syslog daemon, with
// the severity of each line, and a function that closes the connection.
func NewSyslogLogger(c SyslogConfig) (*zap.Logger, func() error, error) {
	priority, err := ParseFacility(c.Facility)
	if err != nil {
		return nil, nil, err
	}
	w, err := syslog.New(priority|syslog.LOG_INFO, c.Name)
	if err != nil {
		return nil, nil, fmt.Errorf("syslog: %w", err)
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.TimeKey, encoding.LevelKey = zapcore.OmitKey, zapcore.OmitKey // syslog has both
	encoding.ConsoleSeparator = " "
	encoding.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewConsoleEncoder(encoding)
	if c.Format == FormatJSON {
		encoder = zapcore.NewJSONEncoder(encoding)
	}
	return zap.New(&syslogCore{AtomicLevel: c.Level, encoder: encoder, writer: w, maxLine: c.MaxLine}), w.Close, nil
}

// ParseFacility reads the name of a syslog facility (RFC 5424 §6.2.1).
func ParseFacility(s string) (syslog.Priority, error) {
	s = strings.ToLower(s)
	named := map[string]syslog.Priority{
		"kern": syslog.LOG_KERN, "user": syslog.LOG_USER, "mail": syslog.LOG_MAIL, "daemon": syslog.LOG_DAEMON,
		"auth": syslog.LOG_AUTH, "security": syslog.LOG_AUTH, "syslog": syslog.LOG_SYSLOG, "lpr": syslog.LOG_LPR,
		"news": syslog.LOG_NEWS, "uucp": syslog.LOG_UUCP, "cron": syslog.LOG_CRON, "authpriv": syslog.LOG_AUTHPRIV,
		"ftp": syslog.LOG_FTP,
	}
	if priority, ok := named[s]; ok {
		return priority, nil
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
	maxLine int
}

func (c *syslogCore) With(fields []zapcore.Field) zapcore.Core {
	encoder := c.encoder.Clone()
	for i := range fields {
		fields[i].AddTo(encoder)
	}
	return &syslogCore{AtomicLevel: c.AtomicLevel, encoder: encoder, writer: c.writer, maxLine: c.maxLine}
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
	for _, part := range breakLine(bytes.TrimSuffix(line.Bytes(), []byte("\n")), c.maxLine) {
		if err := c.put(e.Level, string(part)); err != nil {
			return err
		}
	}
	return nil
}

func (c *syslogCore) put(level zapcore.Level, text string) error {
	switch {
	case level >= zapcore.ErrorLevel:
		return c.writer.Err(text)
	case level == zapcore.WarnLevel:
		return c.writer.Warning(text)
	case level == zapcore.InfoLevel:
		return c.writer.Info(text)
	default:
		return c.writer.Debug(text)
	}
}

func (c *syslogCore) Sync() error { return nil }
