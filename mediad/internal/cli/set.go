package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/limits"
)

// minOpenFiles is the least that the limit of open files can be set to.
const minOpenFiles = 65536

const maxSeconds = 1<<31 - 1

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func (c *CLI) setVerbs() []verb {
	verbs := []verb{
		{name: "maxopenfiles", run: setMaxOpenFiles},
		{name: "maxsessions", run: c.setMaxSessions},
		{name: "maxcpu", run: c.setFloat("maxcpu", "%.1f", func(v *limits.Values) *float64 { return &v.MaxCPU })},
		{name: "maxload", run: c.setFloat("maxload", "%.2f", func(v *limits.Values) *float64 { return &v.MaxLoad })},
		{name: "maxbw", run: c.setMaxBandwidth},
		{name: "timeout", run: c.setTimeout(func(v *limits.Values) *time.Duration { return &v.Timeout })},
		{name: "silenttimeout", run: c.setTimeout(func(v *limits.Values) *time.Duration { return &v.SilentTimeout })},
		{name: "offertimeout", run: c.setTimeout(func(v *limits.Values) *time.Duration { return &v.OfferTimeout })},
		{name: "finaltimeout", run: c.setTimeout(func(v *limits.Values) *time.Duration { return &v.FinalTimeout })},
		{name: "loglevel", run: c.setLogLevel},
		{name: "redisallowederrors", run: fixed("Redis is not served")},
		{name: "redisdisabletime", run: fixed("Redis is not served")},
		{name: "redisconnecttimeout", run: fixed("Redis is not served")},
		{name: "rediscmdtimeout", run: fixed("Redis is not served")},
		{name: "controltos", run: fixed("control-tos needs a restart")},
		{name: "deletedelay", run: c.setDeleteDelay},
	}
	for i := range verbs {
		run := verbs[i].run
		verbs[i].run = func(rest string) string {
			if rest == "" {
				return incomplete
			}
			return run(rest)
		}
	}
	return verbs
}

// fixed is for what cannot be set, and says why.
func fixed(why string) func(string) string {
	return func(rest string) string { return "Fail setting to " + rest + "; " + why + "\n" }
}

// leading returns the number that text begins with, as strtol(3) reads it.
func leading(text string) (n int64, digits bool) {
	text = strings.TrimLeft(text, " \t")
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || end == 0 && (text[0] == '-' || text[0] == '+')) {
		end++
	}
	n, err := strconv.ParseInt(text[:end], 10, 64)
	return n, err == nil
}

func noDigits(what, text string) string {
	return fmt.Sprintf("Fail setting %s to %s; no digists found\n", what, text) // rtpengine spells it so
}

func (c *CLI) setTimeout(field func(*limits.Values) *time.Duration) func(string) string {
	return func(rest string) string {
		n, ok := leading(rest)
		switch {
		case !ok:
			return noDigits("timeout", rest)
		case n < 0 || n > maxSeconds:
			return fmt.Sprintf("Fail setting timeout to %s; errno=0\n", rest)
		}
		c.cfg.Limits.Change(func(v *limits.Values) { *field(v) = time.Duration(n) * time.Second })
		return fmt.Sprintf("Success setting timeout to %d\n", n)
	}
}

func (c *CLI) setDeleteDelay(rest string) string {
	n, ok := leading(rest)
	if !ok || n < 0 || n > maxSeconds {
		return "Invalid delete-delay value\n"
	}
	c.cfg.Limits.Change(func(v *limits.Values) { v.DeleteDelay = time.Duration(n) * time.Second })
	return fmt.Sprintf("Success setting delete-delay to %d\n", n)
}

func (c *CLI) setMaxSessions(rest string) string {
	n, ok := leading(rest)
	switch {
	case !ok:
		return noDigits("maxsessions", rest)
	case n < -1 || n > 1<<31-1:
		return fmt.Sprintf("Fail setting maxsessions to %d; either positive or -1 values allowed\n", n)
	}
	c.cfg.Limits.Change(func(v *limits.Values) { v.MaxSessions = int(n) })
	if n == -1 {
		return "Success setting maxsessions to -1; disable feature\n"
	}
	return fmt.Sprintf("Success setting maxsessions to %d\n", n)
}

func (c *CLI) setMaxBandwidth(rest string) string {
	n, ok := leading(rest)
	if !ok || n < 0 {
		return noDigits("maxbw", rest)
	}
	c.cfg.Limits.Change(func(v *limits.Values) { v.MaxBandwidth = uint64(n) })
	return fmt.Sprintf("Success setting maxbw to %d\n", n)
}

func (c *CLI) setFloat(name, format string, field func(*limits.Values) *float64) func(string) string {
	return func(rest string) string {
		f, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
		if err != nil || f != f {
			return noDigits(name, rest)
		}
		c.cfg.Limits.Change(func(v *limits.Values) { *field(v) = f })
		return fmt.Sprintf("Success setting %s to "+format+"\n", name, f)
	}
}

// setLogLevel sets the level of one subsystem or of all.
func (c *CLI) setLogLevel(rest string) string {
	word, value := firstWord(rest)
	if n, ok := leading(word); ok {
		c.cfg.Levels.SetAll(int(n))
		return fmt.Sprintf("Success setting loglevel to %d\n", n)
	}
	if value == "" {
		return incomplete
	}
	n, ok := leading(value)
	if !ok {
		return noDigits("loglevel", value)
	}
	if !c.cfg.Levels.Set(word, int(n)) {
		return fmt.Sprintf("Fail setting loglevel; there is no '%s'\n", word)
	}
	return fmt.Sprintf("Success setting loglevel to %d\n", n)
}

func setMaxOpenFiles(rest string) string {
	n, ok := leading(rest)
	switch {
	case !ok:
		return noDigits("open_files", rest)
	case n < minOpenFiles:
		return fmt.Sprintf("Fail setting open_files to %d; can't set it under %d\n", n, minOpenFiles)
	}
	limit := unix.Rlimit{Cur: uint64(n), Max: uint64(n)}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Sprintf("Fail setting open_files to %d; %v\n", n, err)
	}
	return fmt.Sprintf("Success setting open_files to %d\n", n)
}
