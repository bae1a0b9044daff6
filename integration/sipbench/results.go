package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	document  = "performance.md"
	beginMark = "<!-- sipbench: begin -->"
	endMark   = "<!-- sipbench: end -->"
)

// target is what a figure is to be, as a ratio to the base's.
type target struct {
	figure string
	least  bool // the ratio is to be at least so much, not at most
	ratio  float64
}

func targets() []target {
	return []target{{perCall, false, 0.8}, {highest, true, 1.2}, {perRegister, false, 0.8}}
}

// results are the figures of all rounds.
type results struct {
	options
	samples map[string]map[string][]float64 // by who and figure
}

func (r *results) add(who, figure string, value float64) {
	fmt.Printf("%s: %s: %.0f\n", who, figure, value)
	if r.samples == nil {
		r.samples = map[string]map[string][]float64{}
	}
	if r.samples[who] == nil {
		r.samples[who] = map[string][]float64{}
	}
	r.samples[who][figure] = append(r.samples[who][figure], value)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// table has a line for each figure with a target.
func (r *results) table() string {
	var b strings.Builder
	b.WriteString("| what | Kamailio 5.6 | proxy | ratio | target | |\n|---|---|---|---|---|---|\n")
	for _, t := range targets() {
		theirs, ours := median(r.samples[base][t.figure]), median(r.samples["proxy"][t.figure])
		if theirs == 0 || ours == 0 {
			continue
		}
		ratio, sign := ours/theirs, "≤"
		holds := ratio <= t.ratio
		if t.least {
			holds, sign = ratio >= t.ratio, "≥"
		}
		verdict := "holds"
		if !holds {
			verdict = "missed"
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.0f | %.2f | %s %.1f | %s |\n", t.figure, theirs, ours, ratio, sign, t.ratio, verdict)
	}
	return b.String()
}

// write prints the table, and puts it into the document if that is wanted.
func (r *results) write(w io.Writer) error {
	table := r.table()
	if _, err := io.WriteString(w, table); err != nil || r.out == "" {
		return err
	}
	file := filepath.Join(r.out, document)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), beginMark)
	_, after, closed := strings.Cut(rest, endMark)
	if !found || !closed {
		return errors.New(file + " lacks the lines " + beginMark + " and " + endMark)
	}
	body := fmt.Sprintf("%s\n\nMedians of %d interleaved rounds: cost at %d calls a second, %d users registering with a password at %d a second.\n"+
		"`go run ./integration/sipbench -rounds %d -seconds %d -rate %d -users %d -register %d`\n\n%s\n%s",
		beginMark, r.rounds, r.rate, r.users, r.register, r.rounds, r.seconds, r.rate, r.users, r.register, table, endMark)
	return os.WriteFile(file, []byte(before+body+after), 0o644)
}
