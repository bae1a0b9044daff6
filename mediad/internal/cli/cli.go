package cli

import (
	"strings"

	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/mediad/internal/metrics"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
)

// Answers that do not depend on the command.
const (
	incomplete = "More parameters required.\n"
	unknown    = "Unknown or incomplete command::"
)

// Config holds what lines act on.
type Config struct {
	Calls   *call.Registry
	Metrics *metrics.Source
	Limits  *limits.Live
	Levels  *telemetry.Levels
	// Options are what params lists. Those that can be changed need no value.
	Options []Option
	// ControlTOS is the TOS byte of replies to commands.
	ControlTOS int
	// Reload reads the configuration again.
	Reload func() error
	Log    *zap.Logger
}

// Option is the name of an option with its value.
type Option struct{ Name, Value string }

// CLI executes lines. It is safe for concurrent use.
type CLI struct {
	cfg    Config
	root   []verb
	start  limits.Values
	levels map[string]int // at the start
}

// verb is a word of a line. It has verbs that follow it, or is executed with
// the rest of the line.
type verb struct {
	name string
	next []verb
	run  func(rest string) string
}

// New returns the CLI of a daemon.
func New(cfg Config) *CLI {
	c := &CLI{cfg: cfg, start: *cfg.Limits.Load(), levels: make(map[string]int)}
	for _, name := range cfg.Levels.Names() {
		c.levels[name], _ = cfg.Levels.Get(name)
	}
	c.root = []verb{
		{name: "list", next: c.listVerbs()},
		{name: "terminate", run: c.terminate},
		{name: "set", next: c.setVerbs()},
		{name: "get", next: c.listVerbs()},
		{name: "params", next: c.paramVerbs()},
		{name: "ksadd", run: keyspace},
		{name: "ksrm", run: keyspace},
		{name: "kslist", run: func(string) string { return "\nSubscribed-on keyspaces:\n\n" }},
		{name: "active", run: c.active},
		{name: "standby", run: c.standby},
		{name: "debug", run: c.debug},
		{name: "call", run: c.callVerb},
		{name: "reload", run: c.reload},
	}
	return c
}

// Execute runs one line and returns what it prints.
func (c *CLI) Execute(line string) string {
	line = strings.TrimRight(line, "\r\n\x00")
	c.cfg.Log.Info("command", zap.String("line", line))
	if line == "" {
		return unknown + "\n"
	}
	return dispatch(c.root, line)
}

// dispatch executes the verb that line begins with.
func dispatch(verbs []verb, line string) string {
	if line == "" {
		return incomplete
	}
	if line == "help" {
		return help(verbs)
	}
	for _, v := range verbs {
		rest, ok := after(line, v.name)
		switch {
		case !ok:
			continue
		case v.run != nil:
			return v.run(rest)
		}
		return dispatch(v.next, rest)
	}
	return unknown + line + "\n"
}

// after returns what follows a word and one blank, false if line begins with
// another word. A slash will do for the blank, so that a line can be the path
// of a URL.
func after(line, word string) (string, bool) {
	rest, ok := strings.CutPrefix(line, word)
	switch {
	case !ok:
		return "", false
	case rest == "":
		return "", true
	case rest[0] == ' ' || rest[0] == '\t' || rest[0] == '/':
		return rest[1:], true
	}
	return "", false
}

func help(verbs []verb) string {
	var b strings.Builder
	b.WriteString("Available sub-commands at this level:\n")
	for _, v := range verbs {
		b.WriteString("\t" + v.name + "\n")
	}
	return b.String()
}

func (c *CLI) reload(string) string {
	if err := c.cfg.Reload(); err != nil {
		return "Fail reloading configuration; " + err.Error() + "\n"
	}
	return "Success reloading configuration\n"
}

// keyspace answers ksadd and ksrm.
func keyspace(rest string) string {
	if rest == "" {
		return incomplete
	}
	return "Redis is not served: no keyspace can be subscribed to\n"
}
