package app

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Run runs the daemon until ctx ends or SIGINT or SIGTERM comes. SIGUSR1 makes
// the log quieter, SIGUSR2 chattier, as with rtpengine; SIGHUP is ignored,
// since there is nothing to reload.
func Run(ctx context.Context, s *settings.Settings, version string) error {
	level := zap.NewAtomicLevelAt(s.Log.Level)
	log, closeLog := newLogger(&s.Log, level)
	defer closeLog()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	others := make(chan os.Signal, 1)
	signal.Notify(others, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(others)

	log.Info("starting", zap.String("version", version), zap.Int("pid", os.Getpid()),
		zap.String("config-file", s.Process.ConfigFile))
	a, err := New(s, log)
	if err != nil {
		log.Error("cannot start", zap.Error(err))
		return err
	}
	if err := writePIDFile(s.Process.PIDFile); err != nil {
		log.Error("cannot start", zap.Error(err))
		_ = a.Close()
		return err
	}
	defer removePIDFile(s.Process.PIDFile)
	if !s.Process.Foreground {
		log.Info("staying in the foreground: going to the background is left to whoever starts this")
	}
	a.Start()
	for {
		select {
		case <-ctx.Done():
			log.Info("stopping")
			err := a.Close()
			log.Info("stopped", zap.Error(err))
			return err
		case sig := <-others:
			heed(sig, level, log)
		}
	}
}

// heed executes a signal that does not end the daemon.
func heed(sig os.Signal, level zap.AtomicLevel, log *zap.Logger) {
	switch sig {
	case syscall.SIGUSR1:
		level.SetLevel(min(level.Level()+1, zapcore.ErrorLevel))
	case syscall.SIGUSR2:
		level.SetLevel(max(level.Level()-1, zapcore.DebugLevel))
	default:
		log.Info("signal ignored", zap.Stringer("signal", sig))
		return
	}
	log.Log(level.Level(), "log level changed", zap.Stringer("level", level.Level()))
}

// newLogger returns the logger and what closes it. Without a syslog daemon to
// write to the log goes to standard error.
func newLogger(l *settings.Log, level zap.AtomicLevel) (*zap.Logger, func()) {
	if !l.ToStderr {
		log, closeLog, err := telemetry.NewSyslogLogger(level, l.Facility, l.Name)
		if err == nil {
			return log, func() { _ = closeLog() }
		}
	}
	format := telemetry.FormatConsole
	if l.JSON {
		format = telemetry.FormatJSON
	}
	log := telemetry.NewLogger(telemetry.LogConfig{Level: level, Format: format, NoTimestamps: l.NoTimestamps})
	return log, func() { _ = log.Sync() }
}

func writePIDFile(name string) error {
	if name == "" {
		return nil
	}
	if err := os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return fmt.Errorf("pidfile: %w", err)
	}
	return nil
}

func removePIDFile(name string) {
	if name != "" {
		_ = os.Remove(name)
	}
}
