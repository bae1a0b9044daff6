package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// learnCall is how much longer one more call makes the time before the first step: each must have sent for three seconds before its
// source counts as learned, and with many calls packets are rare.
const learnCall = 500 * time.Microsecond

// errInterrupted says that somebody has pressed Ctrl-C.
var errInterrupted = errors.New("interrupted")

// bench is one run of the command.
type bench struct {
	*options
	folder      string
	candidates  []candidate
	interrupted <-chan os.Signal
	ended       bool // by interrupted
}

// stopped reports whether somebody has interrupted the run.
func (b *bench) stopped() bool {
	select {
	case <-b.interrupted:
		b.ended = true
	default:
	}
	return b.ended
}

// list prints what would be measured.
func (b *bench) list(figures []figure) error {
	for _, f := range figures {
		fmt.Printf("%-12s %s (%d rounds, %v)\n", f.Name, f.Title, f.Rounds, f.Job.Steps)
	}
	s := &site{local: [2]string{"127.0.0.1", "127.0.0.2"}}
	for _, c := range b.candidates {
		fmt.Printf("%-12s %s\n", c.Name, c.line(s))
	}
	return nil
}

// measure goes through the figures, and for each through rounds of daemons. With errInterrupted comes what was measured until then.
func (b *bench) measure(figures []figure) (*result, error) {
	out := &result{Started: time.Now(), Host: describeHost(), Quick: b.quick, Lines: make(map[string]string)}
	sites := make(map[string]*site)
	defer func() {
		for _, s := range sites {
			_ = s.close()
		}
	}()
	for _, f := range figures {
		if sites[f.Site] == nil {
			open := newLoopback
			if f.Site == veth {
				open = newVeth
			}
			s, err := open()
			if err != nil {
				return nil, err
			}
			sites[f.Site] = s
		}
		for _, c := range b.candidates {
			out.Lines[c.Name] = c.line(sites[f.Site])
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", f.Name, f.Title)
		for round := range f.Rounds {
			samples, err := b.round(f, sites[f.Site], round)
			out.Samples = append(out.Samples, samples...)
			if err != nil {
				out.Took = time.Since(out.Started)
				return out, err
			}
		}
	}
	out.Took = time.Since(out.Started)
	return out, nil
}

// round measures one figure with each daemon in turn, until the end or until somebody interrupts it.
func (b *bench) round(f figure, s *site, round int) ([]sample, error) {
	var all []sample
	sizes := f.Sizes
	if len(sizes) == 0 {
		sizes = []int{f.Job.Calls}
	}
	for i := range b.candidates {
		c := &b.candidates[(i+round)%len(b.candidates)] // no daemon always follows the same one
		if f.Skip != nil && f.Skip(c) {
			continue
		}
		for _, calls := range sizes {
			fmt.Fprintf(os.Stderr, "  %s, round %d\n", c.Name, round+1)
			j := f.Job
			j.Calls, j.Quiet, j.Repeats = calls, b.quiet, b.repeats
			j.Learn += time.Duration(calls) * learnCall
			if b.stopped() {
				return all, errInterrupted
			}
			samples, err := b.one(f, c, s, j)
			if err != nil && b.stopped() { // the generator has been interrupted, too
				return all, errInterrupted
			}
			if err != nil {
				// A daemon that cannot do it has no figure, and the others go on.
				fmt.Fprintf(os.Stderr, "    %v\n", err)
				samples = []sample{{X: float64(calls), Note: err.Error()}}
			}
			for i := range samples {
				samples[i].Figure, samples[i].Daemon, samples[i].Round = f.Name, c.Name, round
			}
			all = append(all, samples...)
		}
	}
	return all, nil
}

func (b *bench) one(f figure, c *candidate, s *site, j job) (samples []sample, err error) {
	if limit := descriptors(f.Files); c.Sockets && j.Work == crowd && j.Calls*portsPerCall > limit {
		return nil, fmt.Errorf("needs more than the %d file descriptors allowed here", limit)
	} else if c.Sockets && j.Work == memory {
		j.Steps = below(j.Steps, limit/portsPerCall)
	}
	r, err := c.start(s, filepath.Join(b.folder, f.Name), f.Files)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	return j.run(r, os.Stderr)
}
