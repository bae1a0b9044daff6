package cli

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/limits"
)

func (c *CLI) listVerbs() []verb {
	limit := func(format string, value func(*limits.Values) any) func(string) string {
		return func(string) string { return fmt.Sprintf(format+"\n", value(c.cfg.Limits.Load())) }
	}
	constant := func(text string) func(string) string { return func(string) string { return text + "\n" } }
	return []verb{
		{name: "numsessions", run: c.numSessions},
		{name: "sessions", run: c.sessions},
		{name: "totals", run: func(string) string { return c.cfg.Metrics.Gather().Totals() }},
		{name: "counters", run: func(string) string { return c.cfg.Metrics.Gather().Counters() }},
		{name: "maxopenfiles", run: maxOpenFiles},
		{name: "maxsessions", run: limit("Maximum sessions configured on rtpengine: %d", func(v *limits.Values) any { return v.MaxSessions })},
		{name: "maxcpu", run: limit("Maximum CPU usage configured on rtpengine: %.1f", func(v *limits.Values) any { return v.MaxCPU })},
		{name: "maxload", run: limit("Maximum load average configured on rtpengine: %.2f", func(v *limits.Values) any { return v.MaxLoad })},
		{name: "maxbw", run: limit("Maximum bandwidth configured on rtpengine: %d", func(v *limits.Values) any { return v.MaxBandwidth })},
		{name: "timeout", run: limit("TIMEOUT=%d", func(v *limits.Values) any { return seconds(v.Timeout) })},
		{name: "silenttimeout", run: limit("SILENT_TIMEOUT=%d", func(v *limits.Values) any { return seconds(v.SilentTimeout) })},
		{name: "offertimeout", run: limit("OFFER_TIMEOUT=%d", func(v *limits.Values) any { return seconds(v.OfferTimeout) })},
		{name: "finaltimeout", run: limit("FINAL_TIMEOUT=%d", func(v *limits.Values) any { return seconds(v.FinalTimeout) })},
		{name: "loglevels", run: c.logSubsystems},
		{name: "loglevel", run: c.logLevel},
		// The values of a daemon that has no Redis configured.
		{name: "redisallowederrors", run: constant("-1")},
		{name: "redisdisabletime", run: constant("10")},
		{name: "redisconnecttimeout", run: constant("1000")},
		{name: "rediscmdtimeout", run: constant("0")},
		{name: "controltos", run: constant(fmt.Sprint(c.cfg.ControlTOS))},
		{name: "deletedelay", run: limit("%d", func(v *limits.Values) any { return seconds(v.DeleteDelay) })},
		{name: "interfaces", run: c.interfaces},
		{name: "jsonstats", run: func(string) string { return string(c.cfg.Metrics.Gather().JSON()) }},
		{name: "transcoders", run: constant("No stats entries")},
	}
}

func (c *CLI) numSessions(string) string {
	n := c.cfg.Calls.Numbers()
	var b strings.Builder
	fmt.Fprintf(&b, "Current sessions own: %d\n", n.Calls-n.Foreign)
	fmt.Fprintf(&b, "Current sessions foreign: %d\n", n.Foreign)
	fmt.Fprintf(&b, "Current sessions total: %d\n", n.Calls)
	fmt.Fprintf(&b, "Current transcoded media: %d\n", 0)
	fmt.Fprintf(&b, "Current sessions ipv4 only media: %d\n", n.IPv4)
	fmt.Fprintf(&b, "Current sessions ipv6 only media: %d\n", n.IPv6)
	fmt.Fprintf(&b, "Current sessions ip mixed  media: %d\n", n.Mixed)
	return b.String()
}

func maxOpenFiles(string) string {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Sprintf("Fail getting the limit of open files; %v\n", err)
	}
	return fmt.Sprintf("Maximum open-files configured on rtpengine: %d; cat /proc/%d/limits\n", limit.Cur, os.Getpid())
}

// logSubsystems lists what has a log level of its own.
func (c *CLI) logSubsystems(string) string {
	about := map[string]string{
		"core": "what belongs to no other subsystem", "spandsp": "without effect: there is no SpanDSP here",
		"ffmpeg": "without effect: there is no FFmpeg here", "transcoding": "conversion of media", "codec": "choice of codecs",
		"rtcp": "RTCP", "ice": "ICE", "crypto": "negotiation of keys, SDES and DTLS", "srtp": "encryption of media",
		"internals": "inner workings", "http": "HTTP, HTTPS and WebSocket", "control": "commands, over ng and CLI", "dtx": "gaps in media",
	}
	var b strings.Builder
	for _, name := range c.cfg.Levels.Names() {
		b.WriteString(name + " - " + about[name] + "\n")
	}
	return b.String()
}

func (c *CLI) logLevel(rest string) string {
	if rest != "" {
		level, ok := c.cfg.Levels.Get(rest)
		if !ok {
			return ""
		}
		return fmt.Sprintf("%d\n", level)
	}
	var b strings.Builder
	for _, name := range c.cfg.Levels.Names() {
		level, _ := c.cfg.Levels.Get(name)
		fmt.Fprintf(&b, "%s = %d\n", name, level)
	}
	return b.String()
}

func (c *CLI) interfaces(string) string {
	var b strings.Builder
	for _, p := range c.cfg.Metrics.Gather().Ports {
		family := "IPv4"
		if p.IPv6 {
			family = "IPv6"
		}
		fmt.Fprintf(&b, "Interface '%s' address '%s' (%s)\n", p.Interface, p.Address, family)
		fmt.Fprintf(&b, " Port range: %5d - %5d\n", p.Min, p.Max)
		fmt.Fprintf(&b, " Ports used: %5d / %5d (%5.1f%%)\n", p.Used, p.Total, p.Percent())
		fmt.Fprintf(&b, " Last port used: %5d\n", p.Last)
	}
	return b.String()
}
