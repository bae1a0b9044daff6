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
	"slices"
	"strings"

	"github.com/tandem-sbc/tandem/ng-protocol/conformance"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

type options struct {
	scenarios, only, reference, exceptions, local, record, logs, transport string
	verbose, unordered, again, here                                        bool
	targets                                                                []string // addresses of daemons and programs
	daemons                                                                *daemons
}

// run returns 0 if all passed, 1 if something differed, 2 for wrong usage.
func run(args []string, out, errOut io.Writer) int {
	if len(args) > 0 && args[0] == "fuzz" {
		return fuzz(args[1:], out, errOut)
	}
	var o options
	if err := o.parse(args, errOut); err != nil {
		return 2
	}
	if !o.here {
		if code := isolate(errOut, append(o.targets, o.reference)...); code >= 0 {
			return code
		}
	}
	o.daemons = &daemons{log: o.logs, transport: o.transport}
	defer o.daemons.stop()
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

func (o *options) parse(args []string, errOut io.Writer) error {
	f := flag.NewFlagSet("ng-conformance", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.Func("against", "start this daemon (rtpengine, mediad or a path), examine and stop it; may be repeated", func(name string) error {
		o.targets = append(o.targets, name)
		return nil
	})
	f.StringVar(&o.scenarios, "scenarios", "", "folder of scenario files (default: the built-in ones)")
	f.StringVar(&o.only, "only", "", "play only scenarios whose name contains this")
	f.StringVar(&o.reference, "reference", "", "compare with this daemon, an address or a program to start, instead of the scenarios' replies")
	f.StringVar(&o.exceptions, "exceptions", "", "file of accepted differences (default: the built-in list of a daemon that is started)")
	f.StringVar(&o.local, "local", "127.0.0.9", "address of the media sockets of the parties")
	f.StringVar(&o.record, "record", "", "scenario file: print it with the target's replies where it expects none")
	f.StringVar(&o.transport, "transport", "udp", "of the daemons that are started: udp, tcp, http, http-plain or ws")
	f.StringVar(&o.logs, "logs", "", "folder for the logs of the daemons that are started")
	f.BoolVar(&o.again, "again", false, "with -record: replace the SDP that is expected by the target's, too")
	f.BoolVar(&o.unordered, "unordered", false, "take no offence at another order of attributes")
	f.BoolVar(&o.verbose, "v", false, "list scenarios that pass, too")
	f.BoolVar(&o.here, "loopback", false, "start daemons on this machine's loopback even where a network namespace is possible")
	f.Usage = func() {
		fmt.Fprintln(errOut, "usage: ng-conformance [flags] TARGET…\n       ng-conformance fuzz [flags] TARGET\n"+
			"TARGET is udp:host:port, tcp:host:port, http://host:port/ng, ws://host:port/ or a program to start")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	o.targets = append(o.targets, f.Args()...)
	if len(o.targets) == 0 {
		f.Usage()
		return flag.ErrHelp
	}
	return nil
}

func (o options) run(out io.Writer) (bool, error) {
	if o.record != "" {
		return true, o.recordFile(out)
	}
	scenarios, err := o.load()
	if err != nil {
		return false, err
	}
	if o.reference != "" {
		if o.reference, err = o.daemons.target(o.reference); err != nil {
			return false, err
		}
	}
	all := true
	for _, name := range o.targets {
		target, err := o.daemons.target(name)
		if err != nil {
			return false, err
		}
		accepted, err := o.accepted(name)
		if err != nil {
			return false, err
		}
		all = o.examine(out, name, target, scenarios, accepted) && all
	}
	return all, nil
}

// examine plays all scenarios to one daemon and tells whether all is well.
func (o options) examine(out io.Writer, name, target string, scenarios []conformance.Scenario, accepted conformance.Exceptions) bool {
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
	fmt.Fprintf(out, "%s: %d of %d scenarios pass\n", name, passed, len(scenarios))
	if used := accepted.Used(); len(used) > 0 {
		fmt.Fprintf(out, "%d accepted differences:\n", len(used))
		for _, e := range used {
			fmt.Fprintln(out, "    "+e.String())
		}
	}
	if o.only != "" {
		return passed == len(scenarios) // a part of the scenarios does not need every exception
	}
	if err := accepted.Stale(); err != nil {
		fmt.Fprintln(out, err)
		return false
	}
	return passed == len(scenarios)
}

func (o options) play(target string, s conformance.Scenario, accepted conformance.Exceptions) conformance.Outcome {
	runner := conformance.Runner{Target: target, Local: o.local, Unordered: o.unordered}
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
	list = slices.DeleteFunc(list, func(s conformance.Scenario) bool { return !strings.Contains(s.Name, o.only) })
	if len(list) == 0 {
		return nil, fmt.Errorf("no scenarios: %w", fs.ErrNotExist)
	}
	return list, nil
}

// accepted returns the list of a file; without one, the built-in list of a
// program if the built-in scenarios are played to it.
func (o options) accepted(name string) (conformance.Exceptions, error) {
	if o.exceptions == "" {
		if !isProgram(name) || o.scenarios != "" {
			return nil, nil
		}
		list, err := conformance.Accepted(name)
		if err != nil || o.reference == "" {
			return list, err
		}
		more, err := conformance.Accepted("rtpengine")
		return append(list, more...), err
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
	target, err := o.daemons.target(o.targets[0])
	if err != nil {
		return err
	}
	var events []conformance.Event
	for _, s := range list {
		e, err := (conformance.Runner{Target: target, Local: o.local}).Play(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		events = append(events, e...)
	}
	return conformance.Write(out, string(source), events, o.again)
}
