package admin

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
)

// Metrics serves the numbers of the daemon as Prometheus text, under the names
// that rtpengine gives them. Numbers that are not measured are left out, rather
// than given as 0.
type Metrics struct {
	Calls    *call.Registry
	Requests func() (commands []Request, failed uint64)
}

// Request tells how often a command was executed and how long that took.
type Request struct {
	Command string
	Count   uint64
	Seconds float64
}

// ServeHTTP answers a scrape.
func (m Metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	var out exposition
	m.calls(&out)
	m.ports(&out)
	m.requests(&out)
	process(&out)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(out.text.Bytes())
}

func (m Metrics) calls(out *exposition) {
	n := m.Calls.Numbers()
	out.gauge("rtpengine_sessions", "Calls at present.")
	out.sample(n.Calls, "type", "own")
	out.sample(0, "type", "foreign")
	out.gauge("rtpengine_transcoded_media", "Media that are transcoded at present.")
	out.sample(0)
	out.gauge("rtpengine_mediastreams", "Media with ports at present, by what forwards them.")
	out.sample(n.Medias, "type", "userspace")
	out.sample(0, "type", "kernel")
	out.sample(0, "type", "mixed")
	out.gauge("rtpengine_uptime_seconds", "Seconds since the start.")
	out.sample(int64(n.Uptime.Seconds()))
	out.counter("rtpengine_sessions_total", "Calls begun.")
	out.sample(n.Managed)
	out.counter("rtpengine_closed_sessions_total", "Calls ended or refused, by reason.")
	for _, e := range []struct {
		reason string
		count  uint64
	}{
		{"rejected", n.Rejected},
		{"timeout", n.Ended.Timeout},
		{"silent_timeout", n.Ended.Silent},
		{"final_timeout", n.Ended.Final},
		{"offer_timeout", n.Ended.Offer},
		{"terminated", n.Ended.Regular},
		{"force_terminated", n.Ended.Forced},
	} {
		out.sample(e.count, "reason", e.reason)
	}
	for _, c := range []struct {
		name, help string
		count      uint64
	}{
		{"rtpengine_packets_total", "Packets received.", n.Packets},
		{"rtpengine_packet_errors_total", "Packets that could not be handled.", n.Errors},
		{"rtpengine_bytes_total", "Bytes received.", n.Bytes},
	} {
		out.counter(c.name, c.help)
		out.sample(c.count, "type", "userspace")
		out.sample(0, "type", "kernel")
	}
	out.counter("rtpengine_zero_packet_streams_total", "Answered calls that ended without a packet.")
	out.sample(n.ZeroWay)
	out.counter("rtpengine_one_way_sessions_total", "Answered calls with a side that was never heard.")
	out.sample(n.OneWay)
	out.gauge("rtpengine_call_duration_avg", "Mean duration of ended calls, in seconds.")
	out.sample(n.AverageDuration())
	out.counter("rtpengine_call_duration_total", "Durations of ended calls, summed up, in seconds.")
	out.sample(n.Duration.Seconds())
	out.counter("rtpengine_call_duration2_total", "Squares of the durations of ended calls, summed up.")
	out.sample(n.DurationSquares)
}

// ports counts singly, as rtpengine does. Addresses that differ only in what
// they advertise share a pool and are told once.
func (m Metrics) ports(out *exposition) {
	type series struct{ name, address string }
	type use struct {
		series
		used, total int
	}
	var pools []use
	seen := make(map[series]bool)
	for _, s := range m.Calls.Ports() {
		at := series{s.Interface, s.Address.Local.String()}
		if !seen[at] {
			seen[at] = true
			pools = append(pools, use{at, 2 * s.Used, 2 * s.Total})
		}
	}
	for _, g := range []struct {
		name, help string
		value      func(use) int
	}{
		{"rtpengine_ports_used", "Ports in use.", func(u use) int { return u.used }},
		{"rtpengine_ports_free", "Ports not in use, those released lately included.", func(u use) int { return u.total - u.used }},
		{"rtpengine_ports", "Ports of the range.", func(u use) int { return u.total }},
	} {
		out.gauge(g.name, g.help)
		for _, u := range pools {
			out.sample(g.value(u), "name", u.name, "address", u.address)
		}
	}
}

func (m Metrics) requests(out *exposition) {
	commands, failed := m.Requests()
	out.counter("rtpengine_requests_total", "Commands executed.")
	for _, c := range commands {
		out.sample(c.Count, "request", c.Command)
	}
	out.counter("rtpengine_request_seconds_total", "Time spent on commands, in seconds.")
	for _, c := range commands {
		out.sample(c.Seconds, "request", c.Command)
	}
	out.counter("rtpengine_errors_total", "Commands that failed.")
	out.sample(failed)
}

// process adds what Prometheus' own clients tell of a process.
func process(out *exposition) {
	out.gauge("go_goroutines", "Goroutines at present.")
	out.sample(runtime.NumGoroutine())
	out.gauge("go_info", "Version of Go.")
	out.sample(1, "version", runtime.Version())
	u, err := readUsage()
	if err != nil {
		return // no /proc: the rest stands without it
	}
	out.counter("process_cpu_seconds_total", "CPU time, user and system, in seconds.")
	out.sample(u.cpu.Seconds())
	out.gauge("process_resident_memory_bytes", "Resident memory.")
	out.sample(u.resident)
	out.gauge("process_virtual_memory_bytes", "Virtual memory.")
	out.sample(u.virtual)
	out.gauge("process_open_fds", "Open file descriptors.")
	out.sample(u.descriptors)
}

// exposition is text in Prometheus' format 0.0.4.
type exposition struct {
	text bytes.Buffer
	name string // of the metric that samples belong to
}

func (e *exposition) gauge(name, help string)   { e.metric(name, "gauge", help) }
func (e *exposition) counter(name, help string) { e.metric(name, "counter", help) }

func (e *exposition) metric(name, kind, help string) {
	e.name = name
	fmt.Fprintf(&e.text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample adds a value with labels, given as name, value, name, value.
func (e *exposition) sample(value any, labels ...string) {
	e.text.WriteString(e.name)
	for i := 0; i+1 < len(labels); i += 2 {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		e.text.WriteByte(separator)
		fmt.Fprintf(&e.text, "%s=\"%s\"", labels[i], escape(labels[i+1]))
	}
	if len(labels) > 0 {
		e.text.WriteByte('}')
	}
	if f, ok := value.(float64); ok {
		fmt.Fprintf(&e.text, " %.6f\n", f)
		return
	}
	fmt.Fprintf(&e.text, " %d\n", value)
}

// escape writes a label's value: backslash, quote and line end are escaped.
func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)
}
