package main

import (
	"fmt"
	"math"
)

// A target is a bound that the project has set itself, against rtpengine in the same run.
type target struct {
	what    string
	figure  string
	engines []string // whose best value counts
	x       float64  // the step
	value   string
	atLeast bool
	ratio   float64
}

func targets() []target {
	user := []string{"sockets", "steer"}
	all := []string{"sockets", "steer", "kernel"}
	list := []target{
		{what: "CPU per relayed packet at 50k pps, daemon + generator", figure: "relay", engines: []string{"kernel"}, x: 50000, value: "total", ratio: .45},
		{what: "CPU per relayed packet at 50k pps, daemon", figure: "relay", engines: []string{"steer"}, x: 50000, value: "daemon", ratio: .5},
		{what: "CPU per relayed packet at 50k pps, daemon", figure: "relay", engines: []string{"sockets"}, x: 50000, value: "daemon", ratio: .75},
		{what: "RTP ↔ SRTP at 50k pps, daemon, best user-space engine", figure: "srtp", engines: user, x: 50000, value: "daemon", ratio: .6},
		{what: "highest rate under 0.1 % loss", figure: "relay", engines: []string{"steer"}, value: "highest", ratio: 1.5, atLeast: true},
		{what: "highest rate under 0.1 % loss", figure: "relay", engines: []string{"kernel"}, value: "highest", ratio: 1.6, atLeast: true},
	}
	for _, t := range []target{
		{what: "p99 latency at 10k pps", figure: "relay", x: 10000, value: "p99", ratio: .6},
		{what: "offer + answer + delete, CPU per call, 8 in flight", figure: "set-up", x: 8, value: "cpu", ratio: .5},
		{what: "memory per call at 4,900 calls, KiB", figure: "memory", x: 4900, value: "call", ratio: .4},
	} {
		for _, e := range all {
			t.engines = []string{e}
			list = append(list, t)
		}
	}
	return list
}

// verdict is a line of the table of targets.
type verdict struct{ What, Engine, Value, Base, Ratio, Target, Missed string }

const missing = "–"

// judge compares what was measured with the targets.
func (r *result) judge() []verdict {
	var lines []verdict
	for _, t := range targets() {
		lines = append(lines, r.compare(t))
	}
	return append(lines, r.absolute()...)
}

func (r *result) compare(t target) verdict {
	sign := "≤"
	if t.atLeast {
		sign = "≥"
	}
	v := verdict{What: t.what, Engine: t.engines[0], Value: missing, Base: missing, Ratio: missing, Target: fmt.Sprintf("%s %g", sign, t.ratio), Missed: "not measured"}
	reference, hasBase := r.median(t.figure, base, t.x, t.value)
	if hasBase {
		v.Base = show(t.value, reference)
	}
	best := math.NaN()
	for _, e := range t.engines {
		got, has := r.median(t.figure, e, t.x, t.value)
		if has && !(better(best, got, t.atLeast)) {
			best, v.Engine = got, e
		}
	}
	if math.IsNaN(best) {
		return v
	}
	v.Value = show(t.value, best)
	if !hasBase || reference == 0 {
		return v
	}
	ratio := best / reference
	v.Ratio, v.Missed = fmt.Sprintf("%.2f", ratio), miss(ratio, t.ratio, t.atLeast)
	if limited, _ := r.median(t.figure, v.Engine, t.x, "limit"); t.value == "highest" && limited > 0 {
		v.Value += " (the generator's limit)"
		if v.Missed != "" {
			v.Missed = "not known: the generator's limit"
		}
	}
	return v
}

func better(a, b float64, more bool) bool {
	if math.IsNaN(a) {
		return false
	}
	if more {
		return a >= b
	}
	return a <= b
}

// miss tells by how much of itself a bound is missed; nothing if it holds.
func miss(v, bound float64, atLeast bool) string {
	by := v/bound - 1
	if atLeast {
		by = 1 - v/bound
	}
	if by <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", max(1, math.Round(100*by)))
}

// absolute are the targets that do not compare with rtpengine.
func (r *result) absolute() []verdict {
	var lines []verdict
	for _, e := range []string{"sockets", "steer", "kernel"} {
		lines = append(lines, r.left(e))
	}
	for _, judge := range []func(string) verdict{r.scaled, r.crowded} {
		lines = append(lines, judge("steer"), judge("kernel"))
	}
	return lines
}

// left judges what is left of many calls.
func (r *result) left(engine string) verdict {
	v := verdict{What: "memory after many calls against after the first 1,000; nothing left open", Engine: engine, Value: missing, Base: missing, Ratio: missing,
		Target: "≤ 1.10", Missed: "not measured"}
	first, last := r.ends("churn", engine)
	if first == nil || last == nil || first == last {
		return v
	}
	growth := last.Values["resident"] / first.Values["resident"]
	v.Value = fmt.Sprintf("%.0f → %.0f MiB after %.0f calls", first.Values["resident"], last.Values["resident"], last.X)
	v.Ratio, v.Missed = fmt.Sprintf("%.2f", growth), miss(growth, 1.1, false)
	if files := last.Values["files"] - first.Values["files"]; files > 0 || last.Values["left"] > 0 {
		v.Missed = fmt.Sprintf("%.0f descriptors and %.0f calls left", files, last.Values["left"])
	}
	if f, l := r.ends("churn", base); f != nil && l != nil {
		v.Base = fmt.Sprintf("%.0f → %.0f MiB", f.Values["resident"], l.Values["resident"])
	}
	return v
}

// ends are the first and the last sample of a figure that have values.
func (r *result) ends(figure, daemon string) (first, last *sample) {
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Figure != figure || s.Daemon != daemon || s.Values == nil {
			continue
		}
		if first == nil {
			first = s
		}
		last = s
	}
	return first, last
}

// scaled judges what calls cost when there are many.
func (r *result) scaled(engine string) verdict {
	v := verdict{What: "CPU to set one of 20,000 calls up against one of 1,000", Engine: engine, Value: missing, Base: missing, Ratio: missing,
		Target: "≤ 1.2", Missed: "not measured"}
	few, hasFew := r.median("crowd", engine, 1000, "cpu")
	many, hasMany := r.median("crowd", engine, 20000, "cpu")
	if !hasFew || !hasMany {
		return v
	}
	v.Value, v.Ratio, v.Missed = fmt.Sprintf("%.0f → %.0f µs", few, many), fmt.Sprintf("%.2f", many/few), miss(many/few, 1.2, false)
	return v
}

// crowded judges many calls with few descriptors.
func (r *result) crowded(engine string) verdict {
	v := verdict{What: "20,000 calls with 4,096 file descriptors", Engine: engine, Value: missing, Base: "impossible", Ratio: missing, Target: "works", Missed: "not measured"}
	_, s := r.ends("descriptors", engine)
	switch {
	case s == nil:
		for _, failed := range r.Samples {
			if failed.Figure == "descriptors" && failed.Daemon == engine && failed.Note != "" {
				v.Missed = "failed"
			}
		}
	case s.X != 20000:
		v.Value, v.Missed = fmt.Sprintf("%.0f calls", s.X), "not measured with so many"
	default:
		v.Value, v.Missed = fmt.Sprintf("in %.1f s, %.0f descriptors, %.2f %% of packets lost", s.Values["seconds"], s.Values["files"], s.Values["loss"]), ""
		if s.Values["loss"] > 100*maxLoss {
			v.Missed = "packets are lost"
		}
	}
	return v
}
