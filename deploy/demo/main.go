// Command demo runs everything that one call needs on this machine: mediad, the
// proxy with the web phone, and a plain phone to talk to. `make run` starts it.
// Ctrl-C ends all of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// startLimit is how long a part may take to be ready.
const startLimit = 20 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	bin := flag.String("bin", "bin", "folder of the programs")
	dir := flag.String("var", "var", "folder for the local CA, the store and logs")
	flag.Parse()
	if err := run(ctx, *bin, *dir, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run starts all parts in order, waits for ctx or for the end of a part, and
// stops them in reverse.
func run(ctx context.Context, bin, dir string, out io.Writer) (err error) {
	plan, err := newPlan()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o700); err != nil {
		return err
	}
	config := filepath.Join(dir, "demo.yaml")
	if err := os.WriteFile(config, []byte(plan.proxyConfig(dir)), 0o600); err != nil {
		return err
	}
	g := newGroup(bin, filepath.Join(dir, "log"))
	defer func() { err = errors.Join(err, g.stop()) }()

	fmt.Fprintln(out, "starting mediad, proxy and the demo phone …")
	for _, part := range []struct {
		program string
		args    []string
		ready   func(context.Context) error
	}{
		{"mediad", plan.mediaArgs(), plan.mediaReady},
		{"proxy", []string{"-config", config}, func(ctx context.Context) error { return plan.pageReady(ctx, dir) }},
		{"demo-phone", plan.phoneArgs(), plan.phoneReady},
	} {
		if err := g.start(part.program, part.args); err != nil {
			return err
		}
		if err := g.wait(ctx, part.program, part.ready); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	plan.greet(out, dir)
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "\nstopping …")
		return nil
	case err := <-g.ended:
		return err
	}
}
