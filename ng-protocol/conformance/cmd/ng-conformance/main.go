// Command ng-conformance plays the scenarios of package conformance to one or
// more daemons that serve the ng control protocol.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/tandem-sbc/tandem/ng-protocol/conformance"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

type options struct {
	scenarios, only, reference, exceptions, local, record string
	verbose                                               bool
	targets                                               []string
}

// run returns 0 if all passed, 1 if something differed, 2 for wrong usage.
func run(args []string, out, errOut io.Writer) int {
	var o options
	f := flag.NewFlagSet("ng-conformance", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.StringVar(&o.scenarios, "scenarios", "", "folder of scenario files (default: the built-in ones)")
	f.StringVar(&o.only, "only", "", "play only scenarios whose name contains this")
	f.StringVar(&o.reference, "reference", "", "compare with this daemon (udp:host:port) instead of the scenarios' replies")
	f.StringVar(&o.exceptions, "exceptions", "", "file of accepted differences; one that is not needed is a failure")
	f.StringVar(&o.local, "local", "127.0.0.9", "address of the media sockets of the parties")
	f.StringVar(&o.record, "record", "", "scenario file: print it with the target's replies where it expects none")
	f.BoolVar(&o.verbose, "v", false, "list scenarios that pass, too")
	f.Usage = func() {
		fmt.Fprintln(errOut, "usage: ng-conformance [flags] udp:host:port…")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil || f.NArg() == 0 {
		if err == nil {
			f.Usage()
		}
		return 2
	}
	o.targets = f.Args()
	ok, err := o.run(out)
	switch {
	case err != nil:
		fmt.Fprintln(errOut, "ng-conformance:", err)
		return 2
	case !ok:
		return 1
	}
	return 0
}

func (o options) run(out io.Writer) (bool, error) {
	if o.record != "" {
		return true, o.recordFile(out)
	}
	scenarios, err := o.load()
	if err != nil {
		return false, err
	}
	all := true
	for _, target := range o.targets {
		accepted, err := o.accepted()
		if err != nil {
			return false, err
		}
		passed := 0
		for _, s := range scenarios {
			outcome := o.play(target, s, accepted)
			if outcome.Passed() {
				passed++
				if o.verbose {
					fmt.Fprintln(out, "pass", s.Name)
				}
				continue
			}
			fmt.Fprintln(out, "FAIL", s.Name)
			for _, line := range outcome.Diff {
				fmt.Fprintln(out, "    "+line)
			}
			if outcome.Err != nil {
				fmt.Fprintln(out, "    "+outcome.Err.Error())
			}
		}
		fmt.Fprintf(out, "%s: %d of %d scenarios pass\n", target, passed, len(scenarios))
		all = all && passed == len(scenarios)
		if o.only != "" {
			continue // a part of the scenarios does not need every exception
		}
		if err := accepted.Stale(); err != nil {
			fmt.Fprintln(out, err)
			all = false
		}
	}
	return all, nil
}

func (o options) play(target string, s conformance.Scenario, accepted conformance.Exceptions) conformance.Outcome {
	runner := conformance.Runner{Target: target, Local: o.local}
	if o.reference != "" {
		return conformance.Compare(conformance.Runner{Target: o.reference, Local: o.local}, runner, s, accepted)
	}
	return conformance.Check(runner, s, accepted)
}

func (o options) load() ([]conformance.Scenario, error) {
	list, err := conformance.Builtin()
	if o.scenarios != "" {
		list, err = conformance.Load(os.DirFS(o.scenarios))
	}
	if err != nil {
		return nil, err
	}
	var chosen []conformance.Scenario
	for _, s := range list {
		if strings.Contains(s.Name, o.only) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no scenarios: %w", fs.ErrNotExist)
	}
	return chosen, nil
}

func (o options) accepted() (conformance.Exceptions, error) {
	if o.exceptions == "" {
		return nil, nil
	}
	f, err := os.Open(o.exceptions)
	if err != nil {
		return nil, err
	}
	list, err := conformance.ParseExceptions(f)
	return list, errors.Join(err, f.Close())
}

func (o options) recordFile(out io.Writer) error {
	source, err := os.ReadFile(o.record)
	if err != nil {
		return err
	}
	list, err := conformance.Parse(o.record, strings.NewReader(string(source)))
	if err != nil {
		return err
	}
	var events []conformance.Event
	for _, s := range list {
		e, err := (conformance.Runner{Target: o.targets[0], Local: o.local}).Play(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		events = append(events, e...)
	}
	return conformance.Write(out, string(source), events)
}
