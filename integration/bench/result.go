package main

import (
	"encoding/json"
	"os"
	"slices"
	"time"
)

// result is all that a run has measured.
type result struct {
	Started time.Time
	Took    time.Duration
	Host    string
	Quick   bool
	Lines   map[string]string // command lines by daemon
	Samples []sample
}

func load(file string) (*result, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &result{}
	return r, json.Unmarshal(text, r)
}

func (r *result) save(file string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// median is the middle of a value over the rounds.
func (r *result) median(figure, daemon string, x float64, value string) (float64, bool) {
	var all []float64
	for _, s := range r.Samples {
		if v, has := s.Values[value]; has && s.Figure == figure && s.Daemon == daemon && s.X == x {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2, true
	}
	return all[len(all)/2], true
}
