package cli

import (
	"fmt"
	"strings"

	"github.com/tandem-sbc/tandem/mediad/internal/limits"
)

func (c *CLI) paramVerbs() []verb {
	return []verb{
		{name: "start", run: func(string) string { return c.params(c.startOptions()) }},
		{name: "current", run: func(string) string { return c.params(c.currentOptions()) }},
		{name: "diff", run: c.diff},
		{name: "revert", run: c.revert},
	}
}

// changeable are the options with the values v and the log levels that level
// tells.
func (c *CLI) changeable(v *limits.Values, level func(string) int) []Option {
	var all []Option
	add := func(name, format string, value any) {
		all = append(all, Option{name, fmt.Sprintf(format, value)})
	}
	for _, name := range c.cfg.Levels.Names() {
		add("log-level-"+name, "%d", level(name))
	}
	add("max-sessions", "%d", v.MaxSessions)
	add("timeout", "%d", seconds(v.Timeout))
	add("silent-timeout", "%d", seconds(v.SilentTimeout))
	add("final-timeout", "%d", seconds(v.FinalTimeout))
	add("offer-timeout", "%d", seconds(v.OfferTimeout))
	add("delete-delay", "%d", seconds(v.DeleteDelay))
	add("max-cpu", "%.1f", v.MaxCPU)
	add("max-load", "%.2f", v.MaxLoad)
	add("max-bandwidth", "%d", v.MaxBandwidth)
	return all
}

func (c *CLI) startOptions() []Option {
	return c.changeable(&c.start, func(name string) int { return c.levels[name] })
}

func (c *CLI) currentOptions() []Option {
	return c.changeable(c.cfg.Limits.Load(), func(name string) int {
		level, _ := c.cfg.Levels.Get(name)
		return level
	})
}

// params lists all options in the order of Config.Options, in which the
// changeable ones have no value.
func (c *CLI) params(changeable []Option) string {
	values := make(map[string]string, len(changeable))
	for _, o := range changeable {
		values[o.Name] = o.Value
	}
	var b strings.Builder
	for _, o := range c.cfg.Options {
		if value, ok := values[o.Name]; ok {
			o.Value = value
		}
		fmt.Fprintf(&b, "%s = %s\n", o.Name, o.Value)
	}
	return b.String()
}

// diff lists what has been changed since the start.
func (c *CLI) diff(string) string {
	var b strings.Builder
	now := c.currentOptions()
	for i, was := range c.startOptions() {
		if was.Value != now[i].Value {
			fmt.Fprintf(&b, "%s: %s => %s\n", was.Name, was.Value, now[i].Value)
		}
	}
	return b.String()
}

// revert takes back all changes since the start.
func (c *CLI) revert(string) string {
	c.cfg.Limits.Change(func(v *limits.Values) { *v = c.start })
	for name, level := range c.levels {
		c.cfg.Levels.Set(name, level)
	}
	return ""
}
