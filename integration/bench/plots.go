package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tandem-sbc/tandem/integration/chart"
)

// plot draws the figures that are seen better than read, and returns the Markdown that shows them.
func (r *result) plot(folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	bars := func(title, y, figure string, x float64, values ...string) *chart.Chart {
		return r.bars(title, y, figure, x, values)
	}
	all := []struct {
		file string
		plot *chart.Chart
	}{
		{"relay-daemon", r.lines("CPU of the daemon per relayed packet, loopback", "packets a second", "µs", "relay", "daemon", false)},
		{"relay-total", r.lines("CPU of daemon and generator per relayed packet, loopback", "packets a second", "µs", "relay", "total", false)},
		{"veth-total", r.lines("CPU of daemon and generator per relayed packet, veth", "packets a second", "µs", "veth", "total", false)},
		{"latency", bars("Latency at 10,000 packets a second", "µs", "relay", 10000, "p50", "p99")},
		{"highest", bars("Highest rate under 0.1 % loss", "packets a second", "relay", 0, "highest")},
		{"set-up", bars("CPU of offer, answer and delete, 8 in flight", "µs", "set-up", 8, "cpu")},
		{"memory", bars("Memory of a call at 4,900 calls", "KiB", "memory", 4900, "call")},
		{"crowd", r.lines("CPU of the daemon per packet by number of calls, 50,000 packets a second", "calls", "µs", "crowd", "daemon", true)},
	}
	var b strings.Builder
	for _, a := range all {
		file := filepath.Join(folder, "performance-"+a.file+".svg")
		if len(a.plot.Series) == 0 {
			continue // not measured in this run
		}
		if err := os.WriteFile(file, a.plot.SVG(), 0o644); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "![%s](%s/%s)\n", a.plot.Title, images, filepath.Base(file))
	}
	return b.String(), nil
}

// lines draws a value over the steps of a figure.
func (r *result) lines(title, x, y, figure, value string, log bool) *chart.Chart {
	c := &chart.Chart{Title: title, X: x, Y: y, Log: log}
	steps, daemons := r.axes(figure)
	for _, d := range daemons {
		s := chart.Series{Name: d}
		for _, step := range steps {
			if v, has := r.median(figure, d, step, value); has {
				s.Points = append(s.Points, chart.Point{X: step, Y: v})
			}
		}
		if len(s.Points) > 0 {
			c.Series = append(c.Series, s)
		}
	}
	return c
}

// bars draws values of one step.
func (r *result) bars(title, y, figure string, step float64, values []string) *chart.Chart {
	c := &chart.Chart{Title: title, Y: y}
	for _, name := range values {
		i := slices.IndexFunc(units(), func(u unit) bool { return u.name == name })
		c.Groups = append(c.Groups, units()[i].text)
	}
	_, daemons := r.axes(figure)
	for _, d := range daemons {
		s := chart.Series{Name: d}
		for i, name := range values {
			if v, has := r.median(figure, d, step, name); has {
				s.Points = append(s.Points, chart.Point{X: float64(i), Y: v})
			}
		}
		if len(s.Points) > 0 {
			c.Series = append(c.Series, s)
		}
	}
	return c
}
