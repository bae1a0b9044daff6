package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// stopLimit is how long a program may take to end by itself.
const stopLimit = 5 * time.Second

// group is a set of programs that end together.
type group struct {
	bin, logs string
	running   []*program
	ended     chan error // a program that ended unasked; one entry each at most
}

// program is one started program.
type program struct {
	name string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed when it has ended
	err  error         // how; valid when done is closed
}

func newGroup(bin, logs string) *group {
	return &group{bin: bin, logs: logs, ended: make(chan error, 8)}
}

// start runs a program with its output in a log file of its own.
func (g *group) start(name string, args []string) error {
	log, err := os.OpenFile(filepath.Join(g.logs, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(g.bin, name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	// Ctrl-C at the terminal reaches the whole process group; this one alone
	// decides in which order the others end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		log.Close()
		return fmt.Errorf("%s: %w", name, err)
	}
	p := &program{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	g.running = append(g.running, p)
	go func() { // ends with the program, which stop ends and waits for
		p.err = cmd.Wait()
		close(p.done)
		g.ended <- fmt.Errorf("%s ended (%v); see %s", name, p.err, log.Name())
	}()
	return nil
}

// wait asks until the program is ready.
func (g *group) wait(ctx context.Context, name string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		try, cancelTry := context.WithTimeout(ctx, 2*time.Second)
		err := ready(try)
		cancelTry()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; see %s", name, err, filepath.Join(g.logs, name+".log"))
		case ended := <-g.ended:
			return ended
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stop ends all programs, the last one first, and waits for each.
func (g *group) stop() error {
	var errs []error
	for i := len(g.running) - 1; i >= 0; i-- {
		p := g.running[i]
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
		select {
		case <-p.done:
		case <-time.After(stopLimit):
			errs = append(errs, fmt.Errorf("%s did not end, killed", p.name))
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		errs = append(errs, p.log.Close())
	}
	return errors.Join(errs...)
}
