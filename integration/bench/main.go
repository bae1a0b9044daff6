// Command bench measures media daemons side by side on one machine: Debian's rtpengine and each engine of mediad, in network namespaces
// of their own, in turn (A B C A B C …), with the same calls and packets from a generator process of ours. It needs root and prints a
// line for each step; with -out it writes docs/performance.md's tables and plots.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == generator {
		exit(generate(os.Args[2], os.Stdout))
	}
	exit(run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options of the command line.
type options struct {
	quick, list   bool
	only, daemons string
	out, render   string
	rounds        int
	repeats       int
	quiet         float64
	work          string
	before        string
}

func parse() *options {
	o := &options{}
	flag.BoolVar(&o.quick, "quick", false, "short steps, one round, three minutes in all")
	flag.BoolVar(&o.list, "list", false, "print the figures and the daemons' command lines, and end")
	flag.StringVar(&o.only, "only", "", "comma-separated `figures`; all if empty")
	flag.StringVar(&o.daemons, "daemons", "", "`names` of those to compare, with semicolons between them; all if empty")
	flag.StringVar(&o.out, "out", "", "`folder` of performance.md, whose tables and plots are written anew")
	flag.StringVar(&o.render, "render", "", "write them from the samples in this `file`, without measuring")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of the figures that are told as medians")
	flag.IntVar(&o.repeats, "repeats", 2, "how often a step is repeated while others load the machine")
	flag.Float64Var(&o.quiet, "quiet", 0.15, "other load above which a step counts as noisy, in `cores`")
	flag.StringVar(&o.work, "work", "integration/out/bench", "`folder` of binaries, logs and samples.json")
	flag.StringVar(&o.before, "before", "", "another `mediad`, measured with each engine beside the present one")
	flag.Parse()
	return o
}

func run() error {
	o := parse()
	if o.render != "" {
		report, err := load(o.render)
		if err != nil {
			return err
		}
		return report.write(o.out, os.Stdout)
	}
	folder, err := filepath.Abs(o.work)
	if err != nil {
		return err
	}
	mediad, err := binary(folder)
	if err != nil {
		return err
	}
	b := &bench{options: o, folder: folder, candidates: chosen(candidates(mediad, o.before), o.daemons, ";", func(c candidate) string { return c.Name })}
	figures := chosen(plan(o.quick, o.rounds), o.only, ",", func(f figure) string { return f.Name })
	if len(b.candidates) == 0 || len(figures) == 0 {
		return fmt.Errorf("nothing is called %s %s", o.only, o.daemons)
	}
	if o.list {
		return b.list(figures)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	b.interrupted = interrupted
	result, err := b.measure(figures)
	if result == nil {
		return err
	}
	if err := errors.Join(err, result.save(filepath.Join(folder, "samples.json"))); err != nil {
		return err // an interrupted run writes no report; -render does, from its samples
	}
	return result.write(o.out, os.Stdout)
}

// chosen keeps those that a list names.
func chosen[T any](all []T, names, separator string, name func(T) string) []T {
	if names == "" {
		return all
	}
	wanted := strings.Split(names, separator)
	return slices.DeleteFunc(all, func(x T) bool { return !slices.Contains(wanted, name(x)) })
}
