package metrics

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
)

// Exposition returns the numbers as Prometheus text (format 0.0.4), under
// rtpengine's names.
func (s *Snapshot) Exposition() []byte {
	var out exposition
	s.exposeCalls(&out)
	s.exposeMedia(&out)
	s.exposeRequests(&out)
	s.exposePorts(&out)
	exposeProcess(&out)
	return out.text.Bytes()
}

func (s *Snapshot) exposeCalls(out *exposition) {
	out.gauge("rtpengine_sessions", "Calls at present.")
	out.sample(integer(s.Calls-s.Foreign), "type", "own")
	out.sample(integer(s.Foreign), "type", "foreign")
	out.gauge("rtpengine_transcoded_media", "Media that are transcoded at present.")
	out.sample(integer(0))
	out.gauge("rtpengine_mediastreams", "Media that receive packets at present, by what forwards them.")
	out.sample(integer(s.Active-s.Kernel), "type", "userspace")
	out.sample(integer(s.Kernel), "type", "kernel")
	out.sample(integer(0), "type", "mixed")
	out.gauge("rtpengine_uptime_seconds", "Seconds since the start.")
	out.sample(wide(int64(s.Uptime.Seconds())))
	out.counter("rtpengine_sessions_total", "Calls ended.")
	out.sample(integer(s.Ended.Total()))
	out.counter("rtpengine_closed_sessions_total", "Calls ended or refused, by reason.")
	for _, e := range []struct {
		reason string
		count  uint64
	}{
		{"rejected", s.Rejected},
		{"timeout", s.Ended.Timeout},
		{"silent_timeout", s.Ended.Silent},
		{"final_timeout", s.Ended.Final},
		{"offer_timeout", s.Ended.Offer},
		{"terminated", s.Ended.Regular},
		{"force_terminated", s.Ended.Forced},
	} {
		out.sample(integer(e.count), "reason", e.reason)
	}
}

func (s *Snapshot) exposeMedia(out *exposition) {
	inUser, inKernel := user(s.Traffic), kernel(s.Traffic)
	for _, c := range []struct {
		name, help string
		u, k       uint64
	}{
		{"rtpengine_packets_total", "Packets received.", inUser.packets, inKernel.packets},
		{"rtpengine_packet_errors_total", "Packets that could not be handled.", inUser.errors, inKernel.errors},
		{"rtpengine_bytes_total", "Bytes received.", inUser.bytes, inKernel.bytes},
	} {
		out.counter(c.name, c.help)
		out.sample(integer(c.u), "type", "userspace")
		out.sample(integer(c.k), "type", "kernel")
	}
	if s.Dropped != nil {
		out.counter("mediad_packets_dropped_total", "Packets that the kernel has thrown away because mediad did not keep up.")
		out.sample(integer(*s.Dropped))
	}
	out.counter("rtpengine_zero_packet_streams_total", "Calls that ended without a packet.")
	out.sample(integer(s.ZeroWay))
	out.counter("rtpengine_one_way_sessions_total", "Calls with a side that was never heard.")
	out.sample(integer(s.OneWay))
	out.gauge("rtpengine_call_duration_avg", "Mean duration of ended calls, in seconds.")
	out.sample(decimal(s.AverageDuration()))
	out.counter("rtpengine_call_duration_total", "Durations of ended calls, summed up, in seconds.")
	out.sample(decimal(s.Duration.Seconds()))
	out.counter("rtpengine_call_duration2_total", "Squares of the durations of ended calls, summed up.")
	out.sample(decimal(s.DurationSquares))
	out.counter("rtpengine_mos_total", "Mean opinion scores, summed up.")
	out.sample(decimal(s.MOS.Sum))
	out.counter("rtpengine_mos2_total", "Squares of the mean opinion scores, summed up.")
	out.sample(decimal(s.MOS.Squares))
	out.counter("rtpengine_mos_samples_total", "Mean opinion scores that were made.")
	out.sample(integer(s.MOS.Count))
}

func (s *Snapshot) exposeRequests(out *exposition) {
	if len(s.Proxies) == 0 {
		return
	}
	out.counter("rtpengine_requests_total", "Commands executed, by client.")
	for _, p := range s.Proxies {
		for i, c := range countedCommands() {
			out.sample(integer(p.Counts[i]), "proxy", p.name(), "request", string(c.command))
		}
	}
	out.counter("rtpengine_request_seconds_total", "Time spent on commands, in seconds.")
	for _, p := range s.Proxies {
		for i, c := range countedCommands() {
			out.sample(decimal(p.Took[i].Seconds()), "proxy", p.name(), "request", string(c.command))
		}
	}
	out.counter("rtpengine_errors_total", "Commands that failed.")
	for _, p := range s.Proxies {
		out.sample(integer(p.Errors), "proxy", p.name())
	}
}

func (s *Snapshot) exposePorts(out *exposition) {
	for _, g := range []struct {
		name, help string
		value      func(*Ports) int
	}{
		{"rtpengine_ports_used", "Ports in use.", func(p *Ports) int { return p.Used }},
		{"rtpengine_ports_free", "Ports not in use, those released lately included.", (*Ports).Free},
		{"rtpengine_ports", "Ports of the range.", func(p *Ports) int { return p.Total }},
	} {
		out.gauge(g.name, g.help)
		for i := range s.Ports {
			p := &s.Ports[i]
			out.sample(integer(g.value(p)), "name", p.Interface, "address", p.Address)
		}
	}
}

// exposeProcess adds what Prometheus' own clients tell of a process.
func exposeProcess(out *exposition) {
	out.gauge("go_goroutines", "Goroutines at present.")
	out.sample(integer(runtime.NumGoroutine()))
	out.gauge("go_info", "Version of Go.")
	out.sample(integer(1), "version", runtime.Version())
	u, err := readUsage()
	if err != nil {
		return // no /proc: the rest stands without it
	}
	out.counter("process_cpu_seconds_total", "CPU time, user and system, in seconds.")
	out.sample(decimal(u.cpu.Seconds()))
	out.gauge("process_resident_memory_bytes", "Resident memory.")
	out.sample(integer(u.resident))
	out.gauge("process_virtual_memory_bytes", "Virtual memory.")
	out.sample(integer(u.virtual))
	out.gauge("process_open_fds", "Open file descriptors.")
	out.sample(integer(u.descriptors))
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
func (e *exposition) sample(v value, labels ...string) {
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
	e.text.WriteString(" " + v.text + "\n")
}

// escape writes a label's value: backslash, quote and line end are escaped.
func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)
}
