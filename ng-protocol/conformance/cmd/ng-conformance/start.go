package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tandem-sbc/tandem/ng-protocol/conformance"
)

// isProgram tells whether a target is a program to start and not the address of
// a daemon that runs.
func isProgram(target string) bool { return !strings.Contains(target, ":") }

// findProgram looks for a name beside this command, then in PATH.
func findProgram(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	return exec.LookPath(name)
}

// isolate moves the whole run into a network namespace if a daemon is to be
// started and the privilege is there. code is -1 if the caller has to go on.
func isolate(errOut io.Writer, targets ...string) (code int) {
	for _, t := range targets {
		if t == "" || !isProgram(t) {
			continue
		}
		code, err := conformance.Isolate()
		if err != nil && !errors.Is(err, conformance.ErrNoNamespace) {
			fmt.Fprintln(errOut, "ng-conformance:", err)
			return 2
		}
		return code
	}
	return -1
}

// daemons starts programs and stops them all at the end.
type daemons struct {
	log       string // folder for their logs, "" = none
	transport string
	running   []*conformance.Daemon
	files     []*os.File
}

// target returns the address of a daemon, which is started if it is a program.
func (d *daemons) target(name string) (string, error) {
	if !isProgram(name) {
		return name, nil
	}
	program, err := findProgram(name)
	if err != nil {
		return "", err
	}
	log := io.Discard
	if d.log != "" {
		f, err := os.CreateTemp(d.log, filepath.Base(program)+"-*.log")
		if err != nil {
			return "", err
		}
		d.files, log = append(d.files, f), f
	}
	daemon, err := conformance.Start(program, log)
	if err != nil {
		return "", err
	}
	d.running = append(d.running, daemon)
	target, ok := daemon.Targets[d.transport]
	if !ok {
		return "", fmt.Errorf("unknown transport %q", d.transport)
	}
	return target, nil
}

func (d *daemons) stop() {
	for _, daemon := range d.running {
		daemon.Stop()
	}
	for _, f := range d.files {
		_ = f.Close() // written by the daemon itself
	}
	d.running, d.files = nil, nil
}
