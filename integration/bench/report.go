package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The tables stand between these lines of performance.md; what is around them stays.
const (
	beginMark = "<!-- bench: begin -->"
	endMark   = "<!-- bench: end -->"
	document  = "performance.md"
	images    = "images"
)

var errNoMarks = errors.New("the file lacks the lines " + beginMark + " and " + endMark)

// unit says how a value is shown.
type unit struct {
	name, text string
	digits     int
}

func units() []unit {
	return []unit{
		{"daemon", "daemon, µs a packet", 2}, {"total", "daemon + generator, µs a packet", 2}, {"p50", "p50, µs", 0}, {"p99", "p99, µs", 0},
		{"p999", "p99.9, µs", 0}, {"loss", "lost, %", 3}, {"highest", "highest rate, pps", 0},
		{"cpu", "CPU, µs a call", 0}, {"calls", "calls a second", 0}, {"call", "KiB a call", 1}, {"at once", "MiB at once", 1}, {"resident", "MiB", 1}, {"files", "descriptors", 0},
		{"left", "calls left", 0}, {"rate", "sent, pps", 0},
	}
}

func show(value string, v float64) string {
	for _, u := range units() {
		if u.name == value {
			return fmt.Sprintf("%.*f", u.digits, v)
		}
	}
	return fmt.Sprintf("%.2f", v)
}

// write prints the table of targets, and writes the whole report into folder, if there is one.
func (r *result) write(folder string, summary io.Writer) error {
	if _, err := io.WriteString(summary, r.targetTable(false)); err != nil || folder == "" {
		return err
	}
	file := filepath.Join(folder, document)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), beginMark)
	_, after, closed := strings.Cut(rest, endMark)
	if !found || !closed {
		return fmt.Errorf("%s: %w", file, errNoMarks)
	}
	plots, err := r.plot(filepath.Join(folder, images))
	if err != nil {
		return err
	}
	body := beginMark + "\n\n" + r.preface() + r.targetTable(true) + "\n" + plots + r.details() + r.commands() + endMark
	return os.WriteFile(file, []byte(before+body+after), 0o644)
}

func (r *result) preface() string {
	noisy := 0
	for _, s := range r.Samples {
		if s.Noisy {
			noisy++
		}
	}
	kind := "Full run"
	if r.Quick {
		kind = "Quick run"
	}
	return fmt.Sprintf("%s of %s: %s. %d steps in %.0f minutes; %d of them with other load above the bound, after repeats.\n\n",
		kind, r.Started.Format("2 January 2006"), r.Host, len(r.Samples), math.Ceil(r.Took.Minutes()), noisy)
}

// table draws Markdown.
func table(head []string, rows [][]string) string {
	var b strings.Builder
	b.WriteString("| " + strings.Join(head, " | ") + " |\n|" + strings.Repeat("---|", len(head)) + "\n")
	for _, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	return b.String()
}

// targetTable has a line for each target; all: also for those that were not measured.
func (r *result) targetTable(all bool) string {
	var rows [][]string
	for _, v := range r.judge() {
		if v.Value == missing && !all {
			continue
		}
		rows = append(rows, []string{v.What, v.Engine, v.Value, v.Base, v.Ratio, v.Target, v.Missed})
	}
	return table([]string{"what", "engine", "value", base, "ratio", "target", "missed by"}, rows)
}

// details are all figures, step by step, as medians.
func (r *result) details() string {
	var b strings.Builder
	for _, f := range plan(r.Quick, 1) {
		steps, daemons := r.axes(f.Name)
		if len(steps) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n`go run ./integration/bench -only %s`\n\n", f.Title, f.Name)
		var shown []unit
		for _, u := range units() {
			if r.has(f.Name, u.name) {
				shown = append(shown, u)
			}
		}
		head := []string{stepName(f.Job.Work), "daemon"}
		for _, u := range shown {
			head = append(head, u.text)
		}
		head = append(head, "rounds", "other load")
		var rows [][]string
		for _, x := range steps {
			for _, d := range daemons {
				rows = append(rows, r.row(f.Name, d, x, shown))
			}
		}
		b.WriteString(table(head, slices.DeleteFunc(rows, func(row []string) bool { return row == nil })))
	}
	return b.String()
}

func stepName(w work) string {
	switch w {
	case media:
		return "pps"
	case setUp:
		return "in flight"
	default:
		return "calls"
	}
}

// row is the medians of one step of one daemon, or why there are none; nil if it had no part.
func (r *result) row(figure, daemon string, x float64, shown []unit) []string {
	step := fmt.Sprintf("%.0f", x)
	if x == 0 {
		step = "search"
	}
	row := []string{step, daemon}
	rounds, noisy, other, note := 0, 0, 0.0, ""
	for _, s := range r.Samples {
		if s.Figure == figure && s.Daemon == daemon && s.X == x {
			rounds, other, note = rounds+1, max(other, s.Other), s.Note
			if s.Noisy {
				noisy++
			}
		}
	}
	if rounds == 0 {
		return nil
	}
	for i, u := range shown {
		text := missing
		if v, has := r.median(figure, daemon, x, u.name); has {
			text = fmt.Sprintf("%.*f", u.digits, v)
		} else if i == 0 && note != "" {
			text, _, _ = strings.Cut(note, "\n")
		}
		row = append(row, text)
	}
	load := fmt.Sprintf("≤ %.2f", other)
	if noisy > 0 {
		load += fmt.Sprintf(" (%d noisy)", noisy)
	}
	return append(row, fmt.Sprint(rounds), load)
}

// axes are the steps and the daemons of a figure, in order.
func (r *result) axes(figure string) (steps []float64, daemons []string) {
	for _, s := range r.Samples {
		if s.Figure != figure {
			continue
		}
		if !slices.Contains(steps, s.X) {
			steps = append(steps, s.X)
		}
		if !slices.Contains(daemons, s.Daemon) {
			daemons = append(daemons, s.Daemon)
		}
	}
	slices.Sort(steps)
	order := candidates("", base)
	place := func(name string) int {
		return slices.IndexFunc(order, func(c candidate) bool { return c.Name == name })
	}
	slices.SortFunc(daemons, func(a, b string) int { return place(a) - place(b) })
	return steps, daemons
}

func (r *result) has(figure, value string) bool {
	return slices.ContainsFunc(r.Samples, func(s sample) bool {
		_, has := s.Values[value]
		return has && s.Figure == figure
	})
}

func (r *result) commands() string {
	var b strings.Builder
	b.WriteString("\n### Command lines of the daemons\n\n")
	for _, c := range candidates("", base) {
		if line, has := r.Lines[c.Name]; has {
			fmt.Fprintf(&b, "- %s: `%s`\n", c.Name, line)
		}
	}
	return b.String() + "\n"
}
