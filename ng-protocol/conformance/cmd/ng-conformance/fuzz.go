package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/ng-protocol/conformance"
)

// fuzz is "ng-conformance fuzz": random conversations to two daemons. It
// returns 0 if they never differ, 1 if they do, 2 if it could not run.
func fuzz(args []string, out, errOut io.Writer) int {
	f := flag.NewFlagSet("ng-conformance fuzz", flag.ContinueOnError)
	f.SetOutput(errOut)
	from := f.String("reference", "rtpengine", "the daemon that is right: an address or a program to start")
	seed := f.Uint64("seed", 1, "of the conversations")
	first := f.Int("first", 0, "number of the first conversation")
	count := f.Int("count", 500, "how many conversations")
	limit := f.Duration("for", time.Hour, "end after this time")
	commands := f.Bool("commands", false, "commands of all kinds with keys and types of all kinds, instead of calls")
	examples := f.Int("examples", 3, "minimal cases of each kind of difference")
	exceptions := f.String("exceptions", "", "file of accepted differences")
	local := f.String("local", "127.0.0.9", "address of the media sockets of the parties")
	loose := f.Bool("unordered", false, "take no offence at another order of attributes")
	logs := f.String("logs", "", "folder for the logs of the daemons that are started")
	f.Usage = func() {
		fmt.Fprintln(errOut, "usage: ng-conformance fuzz [flags] TARGET")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil || f.NArg() != 1 {
		if err == nil {
			f.Usage()
		}
		return 2
	}
	if code := isolate(errOut, *from, f.Arg(0)); code >= 0 {
		return code
	}
	started := daemons{log: *logs, transport: "udp"}
	defer started.stop()
	accepted, err := options{exceptions: *exceptions}.accepted("")
	if err != nil {
		fmt.Fprintln(errOut, "ng-conformance:", err)
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	generate := conformance.Generator{Seed: *seed}.Scenario
	if *commands {
		generate = conformance.Generator{Seed: *seed}.Requests
	}
	found, err := conformance.Fuzzer{
		Connect: func() (reference, target conformance.Runner, err error) {
			started.stop()
			theirs, err := started.target(*from)
			if err != nil {
				return reference, target, err
			}
			ours, err := started.target(f.Arg(0))
			return conformance.Runner{Target: theirs, Local: *local},
				conformance.Runner{Target: ours, Local: *local, Unordered: *loose}, err
		},
		Accepted: accepted, Scenario: generate, Examples: *examples,
	}.Run(ctx, *first, *count)
	report(out, found.Clusters)
	fmt.Fprintf(out, "%d of %d conversations differ, %d kinds of difference\n", found.Differing, found.Played, len(found.Clusters))
	if err != nil {
		fmt.Fprintln(errOut, "ng-conformance:", err)
		return 2
	}
	if found.Differing > 0 {
		return 1
	}
	return 0
}

func report(out io.Writer, clusters []conformance.Cluster) {
	for _, c := range clusters {
		fmt.Fprintf(out, "%6d  %s\n", c.Count, c.Kind)
	}
	for _, c := range clusters {
		fmt.Fprintf(out, "\n==== %s (%d) ====\n", c.Kind, c.Count)
		for _, example := range c.Cases {
			fmt.Fprintf(out, "\n%s\n%s\n", conformance.Format(example.Scenario), strings.Join(example.Diff, "\n"))
		}
	}
}
