package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
	"github.com/tandem-sbc/tandem/integration/traffic"
)

// Figures.
const (
	perCall     = "CPU, µs a call"
	perRegister = "CPU, µs a registration"
	highest     = "highest clean rate, calls a second"
	resident    = "MiB resident after it"
)

// firstRate is where the search for the highest rate begins, in calls a second; stepRate how it goes on.
const firstRate, stepRate = 600, 200

// a bench is one candidate at work.
type bench struct {
	options
	namespace *harness.Namespace
	proxy     *harness.Process
	dir       string
	scenarios string
	who       string
	results   *results
}

// measure takes all figures of one candidate once.
func measure(o options, c candidate, scenarios string, r *results) (err error) {
	n, err := harness.NewNamespace(fmt.Sprintf("Msip%d", os.Getpid()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	dir := filepath.Join(o.work, c.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b := &bench{options: o, namespace: n, dir: dir, scenarios: scenarios, who: c.name, results: r}
	if b.proxy, err = c.start(n, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.proxy.Stop()) }()
	for _, step := range []func() error{b.registrations, b.calls} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// registrations registers all users, each with a password.
func (b *bench) registrations() error {
	file := filepath.Join(b.dir, "users.csv")
	names := make([]string, b.users)
	for i := range names {
		names[i] = fmt.Sprintf("user%d", i)
	}
	if err := accounts(file, callerHost, names...); err != nil {
		return err
	}
	cost, o, err := b.costing(func() (outcome, error) {
		return dialogs(b.namespace, b.dir, b.scenarios, "register", callerHost, b.register, b.users, "-p", sipPort, "-inf", file)
	})
	if err != nil {
		return err
	}
	if o.failed > 0 {
		return fmt.Errorf("%d registrations failed", o.failed)
	}
	b.results.add(b.who, perRegister, perOne(cost, o.successful))
	return nil
}

// calls registers the callee, makes calls at the agreed rate, and then more and more.
func (b *bench) calls() error {
	file := filepath.Join(b.dir, "callee.csv")
	if err := accounts(file, calleeHost, "callee"); err != nil {
		return err
	}
	if o, err := dialogs(b.namespace, b.dir, b.scenarios, "register", calleeHost, 1, 1, "-p", sipPort, "-inf", file); err != nil || o.successful != 1 {
		return errors.Join(err, fmt.Errorf("the callee has not registered: %+v", o))
	}
	callee, err := b.namespace.Start(harness.Spec{Name: "callee", Path: "sipp", Dir: b.dir, Args: []string{
		"-sf", filepath.Join(b.scenarios, "scenarios", "callee.xml"), "-i", calleeHost, "-p", sipPort, "-nostdin",
	}})
	if err != nil {
		return err
	}
	defer callee.Stop()
	run := func(rate int) (outcome, error) {
		return dialogs(b.namespace, b.dir, b.scenarios, "caller", callerHost, rate, rate*b.seconds, "-p", sipPort, "-d", "100")
	}
	if _, err := run(200); err != nil { // warms up
		return err
	}
	cost, o, err := b.costing(func() (outcome, error) { return run(b.rate) })
	if err != nil {
		return err
	}
	if o.successful == 0 || o.failed*100 > o.successful {
		return fmt.Errorf("%d calls failed at %d a second", o.failed, b.rate)
	}
	b.results.add(b.who, perCall, perOne(cost, o.successful))
	return b.search(run)
}

// search finds the highest rate at which nothing fails and nothing has to be sent again.
func (b *bench) search(run func(rate int) (outcome, error)) error {
	best := 0
	for rate, misses := firstRate, 0; rate <= b.top && misses < 2; rate += stepRate {
		o, err := run(rate)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d calls a second: %d failed, %d retransmissions\n", b.who, rate, o.failed, o.retransmitted)
		if o.clean() {
			best, misses = rate, 0
		} else {
			misses++
			time.Sleep(2 * time.Second)
		}
	}
	b.results.add(b.who, highest, float64(best))
	memory, _, err := traffic.Memory(b.proxy.PID())
	if err == nil && b.who != base { // Kamailio's is shared by its processes
		b.results.add(b.who, resident, float64(memory)/(1<<20))
	}
	return err
}

// costing tells what f costs the proxy.
func (b *bench) costing(f func() (outcome, error)) (time.Duration, outcome, error) {
	before, err := cpu(b.proxy.PID())
	if err != nil {
		return 0, outcome{}, err
	}
	o, err := f()
	if err != nil {
		return 0, o, err
	}
	after, err := cpu(b.proxy.PID())
	return after - before, o, err
}

func perOne(cost time.Duration, n int) float64 {
	return float64(cost.Microseconds()) / float64(max(n, 1))
}
