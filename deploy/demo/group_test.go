package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script writes a shell script where the group looks for its programs.
func script(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestGroupEndsInReverse(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"first", "second"} {
		script(t, dir, name, `trap 'echo `+name+` >> `+dir+`/order; exit 0' TERM; echo ready; while :; do sleep 0.05; done`)
	}
	g := newGroup(dir, dir)
	for _, name := range []string{"first", "second"} {
		if err := g.start(name, nil); err != nil {
			t.Fatal(err)
		}
		if err := g.wait(t.Context(), name, func(context.Context) error {
			log, err := os.ReadFile(filepath.Join(dir, name+".log"))
			if err == nil && !strings.Contains(string(log), "ready") {
				err = errors.New("silent")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil || string(order) != "second\nfirst\n" {
		t.Errorf("ended in the order %q (%v)", order, err)
	}
}

func TestProgramThatEndsAtOnceIsNamed(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "broken", "exit 3")
	g := newGroup(dir, dir)
	if err := g.start("broken", nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err := g.wait(t.Context(), "broken", func(context.Context) error { return errors.New("no") })
	if err == nil || !strings.Contains(err.Error(), "broken ended (exit status 3)") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > startLimit/2 {
		t.Errorf("it took %v to notice", took)
	}
	if err := g.stop(); err != nil {
		t.Error(err)
	}
}

func TestTakenPortIsReplaced(t *testing.T) {
	free, err := freePort("tcp", "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if port, err := freePort("tcp", "127.0.0.1", free); err != nil || port != free {
		t.Errorf("the free port %d became %d (%v)", free, port, err)
	}
	holder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	taken := holder.Addr().(*net.TCPAddr).Port
	if port, err := freePort("tcp", "127.0.0.1", taken); err != nil || port == taken || port == 0 {
		t.Errorf("the taken port %d became %d (%v)", taken, port, err)
	}
}
