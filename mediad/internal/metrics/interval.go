package metrics

import "time"

// Interval is what happened between two reports to Graphite.
type Interval struct {
	Commands     []CommandInterval // in the order of rtpengine's commands
	MinSessions  int
	MaxSessions  int
	CallDuration time.Duration // time that all calls have lasted within it
}

// CommandInterval is how often a command came and how long it took.
type CommandInterval struct {
	Min, Max, Mean             time.Duration
	MinRate, MaxRate, MeanRate uint64 // in a second
}

// command returns the numbers of the i-th command, 0 if nothing was reported.
func (v *Interval) command(i int) CommandInterval {
	if i >= len(v.Commands) {
		return CommandInterval{}
	}
	return v.Commands[i]
}

// span gathers the numbers of a command for an Interval.
type span struct {
	count, second    uint64 // since the start of the interval, and of the second
	min, max, sum    time.Duration
	minRate, maxRate uint64
}

func (s *span) add(took time.Duration) {
	if s.count == 0 || took < s.min {
		s.min = took
	}
	s.max = max(s.max, took)
	s.sum += took
	s.count++
	s.second++
}

// tick ends a second, the n-th of the interval.
func (s *span) tick(n int) {
	if n == 1 || s.second < s.minRate {
		s.minRate = s.second
	}
	s.maxRate = max(s.maxRate, s.second)
	s.second = 0
}

// cut ends the interval after n seconds.
func (s *span) cut(n int) CommandInterval {
	c := CommandInterval{Min: s.min, Max: s.max, MinRate: s.minRate, MaxRate: s.maxRate}
	if s.count > 0 {
		c.Mean = s.sum / time.Duration(s.count)
		c.MeanRate = s.count / uint64(max(n, 1))
	}
	*s = span{}
	return c
}

// tick ends the n-th second of an interval.
func (c *Commands) tick(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.spans {
		c.spans[i].tick(n)
	}
}

// cut ends an interval of n seconds.
func (c *Commands) cut(n int) []CommandInterval {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]CommandInterval, len(c.spans))
	for i := range c.spans {
		all[i] = c.spans[i].cut(n)
	}
	return all
}
