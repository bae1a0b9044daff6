package telemetry

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestLevelsBySubsystem(t *testing.T) {
	var out bytes.Buffer
	levels := NewLevels(6, "core", "ice", "http")
	log := levels.Apply(NewLogger(LogConfig{Level: zap.NewAtomicLevelAt(zapcore.DebugLevel), Output: &out, NoTimestamps: true}),
		func(name string) string { return name })
	say := func() string {
		out.Reset()
		for _, name := range []string{"", "ice", "unknown"} {
			l := log.With(zap.Int("n", 1)).Named(name)
			l.Debug("d")
			l.Info("i")
			l.Warn("w")
			l.Error("e")
		}
		return strings.NewReplacer(" {\"n\": 1}\n", ";", "DEBUG", "D", "INFO", "I", "WARN", "W", "ERROR", "E").Replace(out.String())
	}
	if got, want := say(), "I i;W w;E e;I ice i;W ice w;E ice e;I unknown i;W unknown w;E unknown e;"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	levels.SetAll(3)
	if !levels.Set("ice", 99) || levels.Set("video", 1) {
		t.Error("Set does not tell what there is")
	}
	if got, want := say(), "E e;D ice d;I ice i;W ice w;E ice e;E unknown e;"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if !log.Core().Enabled(zapcore.DebugLevel) {
		t.Error("debugging of one subsystem is not enabled")
	}
	levels.Set("ice", 3)
	if log.Core().Enabled(zapcore.WarnLevel) {
		t.Error("warnings are enabled")
	}
	levels.Step(2)
	if n, ok := levels.Get("http"); n != 5 || !ok {
		t.Errorf("http = %d, %v", n, ok)
	}
	levels.Step(-9)
	if n, _ := levels.Get("core"); n != 0 || say() != "" {
		t.Errorf("core = %d", n)
	}
	if _, ok := levels.Get("video"); ok || len(levels.Names()) != 3 {
		t.Error("names")
	}
}

func TestLongLinesAreBroken(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(LogConfig{Output: &out, NoTimestamps: true, MaxLine: 10})
	log.Info("short")
	log.Info("0123456789äöü")
	want := "INFO short\nINFO 01234 ...\n... 56789äö ...\n... ü\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestParseSeverity(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "7": 7, "8": 7, " debug": 7, "Notice": 5, "emerg": 0, "err": 3} {
		if got, err := ParseSeverity(text); err != nil || got != want {
			t.Errorf("%q = %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "10", "loud"} {
		if _, err := ParseSeverity(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestFollowedCallsSayEverything(t *testing.T) {
	var out bytes.Buffer
	levels := NewLevels(3, "core")
	log := levels.Apply(NewLogger(LogConfig{Level: zap.NewAtomicLevelAt(zapcore.DebugLevel), Output: &out, NoTimestamps: true}),
		func(name string) string { return name })
	a, b := log.With(zap.String("call-id", "a")), log.With(zap.String("call-id", "b"))
	say := func() string {
		out.Reset()
		for _, l := range []*zap.Logger{log, a.With(zap.Int("n", 1)), b} {
			l.Debug("x")
		}
		return out.String()
	}
	if say() != "" || !levels.Follow("a", true) {
		t.Error("followed from the start")
	}
	if got, want := say(), "DEBUG x {\"call-id\": \"a\", \"n\": 1}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := range maxFollowed {
		if ok := levels.Follow(strings.Repeat("c", i+1), true); ok != (i < maxFollowed-1) {
			t.Errorf("call %d is followed: %v", i, ok)
		}
	}
	levels.Follow("a", false)
	if got := say(); got != "" {
		t.Errorf("still says %q", got)
	}
}
