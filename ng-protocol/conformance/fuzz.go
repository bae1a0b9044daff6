package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Fuzzer plays random conversations to two daemons and looks for differences.
type Fuzzer struct {
	// Connect gives the two daemons. It is called again when one of them has
	// died, which is an end of the run if it gives an error.
	Connect  func() (reference, target Runner, err error)
	Accepted Exceptions
	Scenario func(n int) Scenario // Generator.Scenario or Generator.Requests
	// Examples is how many minimal cases are kept of one kind; default 3.
	Examples int

	reference, target Runner
}

// Cluster is one kind of difference.
type Cluster struct {
	Kind  string // "offer: lacks a=rtcp"
	Count int    // conversations that show it
	Cases []Case // minimal ones
}

// Case is a conversation that cannot be made smaller without losing its
// difference.
type Case struct {
	Scenario Scenario
	Diff     []string
}

// Died is the beginning of the kind of a conversation that ended a daemon.
const Died = "no more conversation: "

// Findings are what a run of a Fuzzer has found.
type Findings struct {
	Played, Differing int       // conversations
	Clusters          []Cluster // the most frequent first
}

// Run plays conversations first to first+count-1 until ctx ends. An error means
// that a daemon could not be started (again).
func (f Fuzzer) Run(ctx context.Context, first, count int) (Findings, error) {
	clusters := map[string]*Cluster{}
	of := func(kind string) *Cluster {
		if clusters[kind] == nil {
			clusters[kind] = &Cluster{Kind: kind}
		}
		return clusters[kind]
	}
	var found Findings
	var fault error
	f.reference, f.target, fault = f.Connect()
	for n := first; n < first+count && ctx.Err() == nil && fault == nil; n++ {
		s := f.Scenario(n)
		o, kinds := f.play(s)
		if found.Played++; o.Err != nil {
			found.Differing++
			who, _, _ := strings.Cut(o.Err.Error(), ":")
			c := of(Died + who)
			if c.Count++; c.Count <= cmp.Or(f.Examples, 3) {
				c.Cases = append(c.Cases, Case{s, []string{o.Err.Error()}})
			}
			f.reference, f.target, fault = f.Connect()
			continue
		}
		if len(kinds) > 0 {
			found.Differing++
		}
		for _, kind := range kinds {
			f.add(ctx, of(kind), s, o)
		}
	}
	for _, c := range clusters {
		found.Clusters = append(found.Clusters, *c)
	}
	slices.SortFunc(found.Clusters, func(a, b Cluster) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Kind, b.Kind))
	})
	return found, fault
}

// shrinkTime bounds the work for one case: to wait for packets takes time.
const shrinkTime = 5 * time.Second

// add counts a conversation, and makes it small while examples are wanted.
func (f Fuzzer) add(ctx context.Context, c *Cluster, s Scenario, o Outcome) {
	c.Count++
	if len(c.Cases) >= cmp.Or(f.Examples, 3) || c.Count > 8 {
		return
	}
	diff := o.Diff
	until := time.Now().Add(shrinkTime)
	small := shrink(s, func(try Scenario) bool {
		if ctx.Err() != nil || time.Now().After(until) {
			return false
		}
		o, kinds := f.play(try)
		if o.Err != nil || !slices.Contains(kinds, c.Kind) {
			return false
		}
		diff = o.Diff
		return true
	})
	for _, known := range c.Cases {
		if slices.Equal(shape(known.Scenario), shape(small)) {
			return
		}
	}
	c.Cases = append(c.Cases, Case{small, diff})
}

// shape is what tells minimal cases apart: their commands and keys.
func shape(s Scenario) []string {
	var list []string
	for _, step := range s.Steps {
		list = append(list, step.Command)
		list = append(list, flat("", step.Keys)...)
	}
	return list
}

// play compares one conversation. A kind of difference has to show twice: two
// random ports or keys that are equal by chance are none.
func (f Fuzzer) play(s Scenario) (Outcome, []string) {
	o, once := f.playOnce(s)
	if len(once) == 0 {
		return o, nil
	}
	o, twice := f.playOnce(s)
	return o, slices.DeleteFunc(twice, func(kind string) bool { return !slices.Contains(once, kind) })
}

// playOnce names the kinds of the first difference; what follows that one is
// mostly its consequence.
func (f Fuzzer) playOnce(s Scenario) (Outcome, []string) {
	theirs, err := f.reference.Play(s)
	if errors.Is(err, ErrNoPeer) {
		return Outcome{Scenario: s}, nil // packets after an error
	}
	if err != nil {
		return Outcome{Scenario: s, Err: fmt.Errorf("reference: %w", err)}, nil
	}
	ours, err := f.target.Play(s)
	o := Outcome{Scenario: s, Events: ours}
	if err != nil && !errors.Is(err, ErrNoPeer) {
		o.Err = fmt.Errorf("target: %w", err)
		return o, nil
	}
	for i := range min(len(ours), len(theirs)) {
		if transcodes(asked(s, theirs[i]), theirs[i].Lines) {
			return o, nil // media are made anew from here on
		}
		o.Diff = difference(f.target, s, ours[i], theirs[i].Lines, ours[i].Lines, f.Accepted)
		if o.Diff != nil {
			return o, kinds(strings.TrimPrefix(ours[i].What, "reply to "), o.Diff[1:])
		}
	}
	return o, nil
}

// asked is the step that an event belongs to.
func asked(s Scenario, e Event) Step {
	for _, step := range s.Steps {
		if step.Line == e.Line {
			return step
		}
	}
	return Step{}
}

// transcodes tells whether an answer came out with formats that the answerer has
// not named: decoded audio is not what is compared.
func transcodes(s Step, reply []string) bool {
	if s.Command != "answer" {
		return false
	}
	var named []string
	for _, l := range s.Body {
		if f := strings.Fields(l); strings.HasPrefix(l, "m=") && len(f) > 3 {
			named = append(named, f[3:]...)
		}
	}
	for _, l := range reply {
		if f := strings.Fields(l); strings.HasPrefix(l, "m=") && len(f) > 3 {
			for _, format := range f[3:] {
				if !slices.Contains(named, format) {
					return true
				}
			}
		}
	}
	return false
}

// kinds names the differences of one reply.
func kinds(command string, diff []string) []string {
	lacks, adds := map[string]bool{}, map[string]bool{} // by kind of line
	gone, came := map[string]bool{}, map[string]bool{}  // whole lines
	for _, d := range diff {
		switch d[0] {
		case '-':
			gone[d[2:]], lacks[kindOf(d[2:])] = true, true
		case '+':
			came[d[2:]], adds[kindOf(d[2:])] = true, true
		}
	}
	out := map[string]bool{}
	for line := range gone {
		kind := kindOf(line)
		switch {
		case strings.HasPrefix(line, "result: "): // the rest is a consequence
			return []string{command + ": another result"}
		case came[line]:
			out["order of "+kind] = true
		case adds[kind]:
			out["differs in "+detail(line, came)] = true
		default:
			out["lacks "+kind] = true
		}
	}
	for line := range came {
		if kind := kindOf(line); !lacks[kind] {
			out["adds "+kind] = true
		}
	}
	list := slices.Sorted(maps.Keys(out))
	for i := range list {
		list[i] = command + ": " + list[i]
	}
	return list
}

// detail is the kind of a line, of an m= line also the field that differs.
func detail(line string, came map[string]bool) string {
	want := strings.Fields(line)
	kind := kindOf(line)
	for other := range came {
		got := strings.Fields(other)
		if kindOf(other) != kind || !strings.HasPrefix(kind, "m=") || len(want) < 4 || len(got) < 4 {
			continue
		}
		switch {
		case want[2] != got[2]:
			return kind + " (profile)"
		case !slices.Equal(want[3:], got[3:]):
			return kind + " (formats)"
		}
		return kind + " (port)"
	}
	return kind
}

// kindOf is the name of a line of an SDP; a text of the reply is its own.
func kindOf(line string) string {
	switch {
	case strings.HasPrefix(line, "m="):
		kind, _, _ := strings.Cut(line, " ")
		return kind
	case strings.HasPrefix(line, "a="):
		name, _, _ := strings.Cut(line, ":")
		return name
	case len(line) > 1 && line[1] == '=':
		return line[:2]
	case strings.HasPrefix(line, "rtp "), strings.HasPrefix(line, "rtcp "):
		kind, _, _ := strings.Cut(line, " ")
		return kind
	}
	return line
}
