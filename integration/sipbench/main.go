// Command sipbench measures SIP proxies side by side on one machine: Debian's Kamailio and Tandem's proxy, each in a network namespace of
// its own, in turn, with the same SIPp scenarios and the same job (kamailio.cfg, proxy.yaml). It needs root. With -out it writes the table
// of docs/performance.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// options of the command line.
type options struct {
	rounds   int
	seconds  int // of a step
	rate     int // of the step that tells the cost of a call
	users    int
	register int // registrations a second
	top      int // rate at which the search for the highest ends
	out      string
	work     string
}

func main() {
	o := options{}
	flag.IntVar(&o.rounds, "rounds", 3, "`rounds`; medians are told")
	flag.IntVar(&o.seconds, "seconds", 10, "length of a step in `seconds`")
	flag.IntVar(&o.rate, "rate", 1000, "`calls` a second, where the cost of a call is measured")
	flag.IntVar(&o.users, "users", 20000, "`users` that register")
	flag.IntVar(&o.register, "register", 2000, "registrations a `second`")
	flag.IntVar(&o.top, "top", 4000, "`calls` a second, where the search for the highest rate ends")
	flag.StringVar(&o.out, "out", "", "`folder` of performance.md, whose table is written anew")
	flag.StringVar(&o.work, "work", "integration/out/sipbench", "`folder` of binaries and logs")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "sipbench:", err)
		os.Exit(1)
	}
}

var errInterrupted = errors.New("interrupted")

func run(o options) (err error) {
	if o.work, err = filepath.Abs(o.work); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.work, "bin"), 0o755); err != nil {
		return err
	}
	proxy, err := harness.Build(filepath.Join(o.work, "bin"), "proxy")
	if err != nil {
		return err
	}
	scenarios, err := filepath.Abs("integration/sipbench")
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	r := &results{options: o}
	for round := range o.rounds {
		for _, c := range candidates(scenarios, proxy, o.users) {
			select {
			case <-stop:
				return errors.Join(errInterrupted, r.write(os.Stdout))
			default:
			}
			if err := measure(o, c, scenarios, r); err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, c.name, err)
			}
		}
	}
	return r.write(os.Stdout)
}
