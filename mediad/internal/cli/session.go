package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// chosen tells which sessions a word means, false if it is no such word.
func chosen(word string) (func(call.Session) bool, bool) {
	switch word {
	case "all":
		return func(call.Session) bool { return true }, true
	case "own":
		return func(s call.Session) bool { return !s.Foreign }, true
	case "foreign":
		return func(s call.Session) bool { return s.Foreign }, true
	}
	return nil, false
}

// sessions answers list sessions: all, own, foreign or a call-id.
func (c *CLI) sessions(rest string) string {
	if rest == "" {
		return incomplete
	}
	wanted, ok := chosen(rest)
	if !ok {
		s, legs, ok := c.cfg.Calls.Session(rest)
		if !ok {
			return fmt.Sprintf("\nCall ID not found (%s).\n\n", rest)
		}
		return describe(s, legs)
	}
	var b strings.Builder
	for _, s := range c.cfg.Calls.Sessions() {
		if wanted(s) {
			fmt.Fprintf(&b, "callid: %60s | deletionmark:%4s | created:%12d | proxy:%s | redis_keyspace:%d | foreign:%s\n",
				s.ID, yesNo(s.Deleted), s.Created.Unix(), s.Proxy, 0, yesNo(s.Foreign))
		}
	}
	if b.Len() > 0 {
		return b.String()
	}
	if rest == "all" {
		return "No sessions on this media relay.\n"
	}
	return "No " + rest + " sessions on this media relay.\n"
}

// describe tells all about a call.
func describe(s call.Session, legs []call.Leg) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\ncallid: %s\ndeletionmark: %s\ncreated: %d\nproxy: %s\ntos: %d\nlast_signal: %d\nredis_keyspace: %d\nforeign: %s\n\n",
		s.ID, yesNo(s.Deleted), s.Created.Unix(), s.Proxy, s.TOS, s.LastSignal.Unix(), 0, yesNo(s.Foreign))
	for i := range legs {
		describeLeg(&b, &legs[i], s.Created)
	}
	b.WriteByte('\n')
	return b.String()
}

func describeLeg(b *strings.Builder, l *call.Leg, created time.Time) {
	kind := "UNKNOWN"
	switch {
	case l.Offerer:
		kind = "FROM_TAG"
	case l.Named:
		kind = "TO_TAG"
	}
	fmt.Fprintf(b, "--- Tag '%s', type: %s, label '%s', branch '%s', callduration %.6f\n", l.Tag, kind, l.Label, l.ViaBranch, l.Duration.Seconds())
	for _, s := range l.Subscriptions {
		fmt.Fprintf(b, "---     subscribed to '%s'\n", s.Tag)
	}
	for _, s := range l.Subscribers {
		fmt.Fprintf(b, "---     subscription of '%s'\n", s.Tag)
	}
	for _, m := range l.Medias {
		codec := m.Codec
		if codec == "" {
			codec = "unknown codec"
		}
		fmt.Fprintf(b, "------ Media #%d (%s over %s) using %s\n", m.Index, m.Type, m.Protocol, codec)
		for _, s := range m.Streams {
			describeStream(b, &s, created)
		}
	}
}

func describeStream(b *strings.Builder, s *ng.StreamState, created time.Time) {
	kind := ""
	if slices.Contains(s.Flags, "RTCP") {
		kind = " (RTCP)"
	}
	last := s.LastPacket
	if last == 0 {
		last = created.Unix()
	}
	fmt.Fprintf(b, "-------- Port %15s:%-5d <> %15s:%-5d%s, SSRC %x, %d p, %d b, %d e, %d ts\n",
		s.LocalAddress, s.LocalPort, s.Endpoint.Address, s.Endpoint.Port, kind, s.SSRC,
		s.Stats.Packets, s.Stats.Bytes, s.Stats.Errors, last)
}

// terminate ends calls: all, own, foreign or that with a call-id.
func (c *CLI) terminate(rest string) string {
	if rest == "" {
		return incomplete
	}
	if wanted, ok := chosen(rest); ok {
		c.cfg.Calls.TerminateAll(wanted)
		if rest == "all" {
			return "All calls terminated by operator.\n"
		}
		return "All " + rest + " calls terminated by operator.\n"
	}
	if !c.cfg.Calls.Terminate(rest) {
		return fmt.Sprintf("\nCall Id not found (%s).\n\n", rest)
	}
	return fmt.Sprintf("\nCall Id (%s) successfully terminated by operator.\n\n", rest)
}

// callVerb answers call <id> info|terminate|debug|tag.
func (c *CLI) callVerb(rest string) string {
	if rest == "" {
		return incomplete
	}
	id, rest := firstWord(rest)
	s, legs, ok := c.cfg.Calls.Session(id)
	if !ok {
		return fmt.Sprintf("No such call '%s'\n", id)
	}
	if rest == "" {
		return unknown + "\n"
	}
	return dispatch([]verb{
		{name: "info", run: func(string) string { return describe(s, legs) }},
		{name: "terminate", run: func(string) string {
			c.cfg.Calls.Terminate(id)
			return fmt.Sprintf("\nCall '%s' terminated.\n\n", id)
		}},
		{name: "debug", run: func(rest string) string { return c.setDebug(id, rest) }},
		{name: "tag", run: func(rest string) string { return tagVerb(rest, s, legs) }},
	}, rest)
}

// tagVerb answers call <id> tag <tag> info.
func tagVerb(rest string, s call.Session, legs []call.Leg) string {
	if rest == "" {
		return incomplete
	}
	tag, rest := firstWord(rest)
	for i := range legs {
		if legs[i].Tag != tag {
			continue
		}
		if rest == "" {
			return unknown + "\n"
		}
		return dispatch([]verb{{name: "info", run: func(string) string {
			var b strings.Builder
			describeLeg(&b, &legs[i], s.Created)
			return b.String()
		}}}, rest)
	}
	return fmt.Sprintf("No such tag '%s'\n", tag)
}

func firstWord(line string) (word, rest string) {
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return line, ""
	}
	return line[:i], line[i+1:]
}

// debug answers debug <call-id> [on|off].
func (c *CLI) debug(rest string) string {
	id, rest := firstWord(rest)
	if id == "" {
		return "No call ID specified\n"
	}
	if _, _, ok := c.cfg.Calls.Session(id); !ok {
		return fmt.Sprintf("Call ID '%s' not found\n", id)
	}
	return c.setDebug(id, rest)
}

func (c *CLI) setDebug(id, word string) string {
	switch word {
	case "", "on", "yes", "1", "enable":
		if !c.cfg.Levels.Follow(id, true) {
			return "Fail enabling debugging; too many calls have it\n"
		}
		return fmt.Sprintf("Enabled debugging for call '%s'\n", id)
	case "off", "no", "0", "disable":
		c.cfg.Levels.Follow(id, false)
		return fmt.Sprintf("Disabled debugging for call '%s'\n", id)
	}
	return fmt.Sprintf("Invalid on/off flag ('%s') specified\n", word)
}

func (c *CLI) active(string) string {
	c.cfg.Calls.SetForeign(false)
	return "Ok, all calls set to 'owned (active)'\n"
}

func (c *CLI) standby(string) string {
	c.cfg.Calls.SetForeign(true)
	return "Ok, all calls set to 'foreign (standby)'\n"
}
