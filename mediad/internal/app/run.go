package app

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	"go.uber.org/zap"
)

// Run runs the daemon until ctx ends or SIGINT or SIGTERM comes. SIGHUP reads
// the settings again with load and puts them in force. SIGUSR1 makes the log
// quieter, SIGUSR2 chattier, as with rtpengine.
func Run(ctx context.Context, s *settings.Settings, version string, load func() (*settings.Settings, error)) error {
	log, levels, closeLog := newLogger(&s.Log)
	defer closeLog()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	others := make(chan os.Signal, 1)
	signal.Notify(others, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(others)

	log.Info("starting", zap.String("version", version), zap.Int("pid", os.Getpid()),
		zap.String("config-file", s.Process.ConfigFile))
	a, err := New(Config{Settings: s, Log: log, Levels: levels, Version: version, Load: load})
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
	a.Start()
	if err := tellReady(s.Log.ToStderr); err != nil {
		log.Warn("cannot let go of the terminal", zap.Error(err))
	}
	for {
		select {
		case <-ctx.Done():
			log.Info("stopping")
			notify("STOPPING=1")
			err := a.Close()
			log.Info("stopped", zap.Error(err))
			return err
		case sig := <-others:
			a.heed(sig)
		}
	}
}

// heed executes a signal that does not end the daemon.
func (a *App) heed(sig os.Signal) {
	switch sig {
	case syscall.SIGHUP:
		_ = a.ReloadFile() // it has logged the error
		return
	case syscall.SIGUSR1:
		a.levels.Step(-1)
	case syscall.SIGUSR2:
		a.levels.Step(1)
	}
	core, _ := a.levels.Get("core")
	a.log.Warn("log level changed", zap.Int("level", core))
}

// writePIDFile writes the number of this process. A file of a process that
// still runs is not overwritten.
func writePIDFile(name string) error {
	if name == "" {
		return nil
	}
	if text, err := os.ReadFile(name); err == nil {
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil && pid > 1 && pid != os.Getpid() && sameProgram(pid) {
			return fmt.Errorf("pidfile: %s: process %d is running", name, pid)
		}
	}
	if err := os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return fmt.Errorf("pidfile: %w", err)
	}
	return nil
}

// sameProgram reports whether a process runs this program.
func sameProgram(pid int) bool {
	mine, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return false
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && mine == theirs
}

func removePIDFile(name string) {
	if name != "" {
		_ = os.Remove(name)
	}
}
