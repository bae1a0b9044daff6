package telemetry

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestParseLevel(t *testing.T) {
	for in, want := range map[string]zapcore.Level{
		"0": zapcore.ErrorLevel, "3": zapcore.ErrorLevel, "4": zapcore.WarnLevel,
		"5": zapcore.InfoLevel, "6": zapcore.InfoLevel, "7": zapcore.DebugLevel,
		"debug": zapcore.DebugLevel, " Warning ": zapcore.WarnLevel, "notice": zapcore.InfoLevel,
	} {
		got, err := ParseLevel(in)
		if err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "8", "-1", "loud"} {
		if _, err := ParseLevel(in); err == nil {
			t.Errorf("ParseLevel(%q) succeeded", in)
		}
	}
}

func TestNewLoggerWritesOneJSONObjectALine(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(LogConfig{Format: FormatJSON, Output: &out})
	log.Debug("hidden")
	log.Info("offer", zap.String("call-id", "a\nb"))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 1 {
		t.Fatalf("got %d lines: %q", len(lines), lines)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
		t.Fatal(err)
	}
	if line["call-id"] != "a\nb" || line["msg"] != "offer" || line["level"] != "info" {
		t.Errorf("got %v", line)
	}
}

func TestLevelMayBeChangedWhileRunning(t *testing.T) {
	var out bytes.Buffer
	level := zap.NewAtomicLevelAt(zapcore.WarnLevel)
	log := NewLogger(LogConfig{Level: level, Output: &out, NoTimestamps: true})
	log.Info("one")
	level.SetLevel(zapcore.InfoLevel)
	log.Info("two")
	if got := out.String(); got != "INFO two\n" {
		t.Errorf("got %q", got)
	}
}

func TestSampledDropsRepeats(t *testing.T) {
	var out bytes.Buffer
	log := Sampled(NewLogger(LogConfig{Output: &out}), 2, time.Hour)
	for range 10 {
		log.Warn("bad packet")
	}
	log.Warn("other")
	if got := strings.Count(out.String(), "\n"); got != 3 {
		t.Errorf("%d lines, want 3:\n%s", got, out.String())
	}
}

func TestPionFactoryLowersLevels(t *testing.T) {
	var out bytes.Buffer
	level := zap.NewAtomicLevelAt(zapcore.DebugLevel)
	f := PionFactory{Log: NewLogger(LogConfig{Level: level, Output: &out, NoTimestamps: true})}
	l := f.NewLogger("ice")
	l.Errorf("check %d failed", 7)
	l.Warn("100% sure")
	l.Debug("noise")
	l.Tracef("noise %d", 1)
	want := "WARN ice check 7 failed\nDEBUG ice 100% sure\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	f.Trace = true
	out.Reset()
	f.NewLogger("dtls").Trace("flight")
	if out.String() != "DEBUG dtls flight\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestSlogWritesThroughZap(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(LogConfig{Output: &out, NoTimestamps: true})
	Slog(log).With("call-id", "x").Info("sent")
	if got := out.String(); got != "INFO sent {\"call-id\": \"x\"}\n" {
		t.Errorf("got %q", got)
	}
}

func TestParseFacility(t *testing.T) {
	for _, good := range []string{"daemon", "local0", "LOCAL7", "user"} {
		if _, err := ParseFacility(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "local8", "local", "local10", "mail2"} {
		if _, err := ParseFacility(bad); err == nil {
			t.Errorf("ParseFacility(%q) succeeded", bad)
		}
	}
}
