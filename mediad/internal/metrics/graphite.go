package metrics

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"go.uber.org/zap"
)

// dialTimeout bounds a connection to Graphite and a report.
const dialTimeout = 2 * time.Second

// GraphiteConfig says whom to report to.
type GraphiteConfig struct {
	Address netip.AddrPort
	Prefix  string        // of every name
	Every   time.Duration // whole seconds, at least one
	Timeout time.Duration // of a connection and of a report; 0 = 2 s
	Source  *Source
	Log     *zap.Logger
}

// Graphite reports all numbers at regular intervals, in Graphite's plain text
// over TCP, under rtpengine's names. Make it with NewGraphite, then Start, then
// Close.
type Graphite struct {
	cfg  GraphiteConfig
	conn net.Conn // of the reporting goroutine
	stop chan struct{}
	done sync.WaitGroup

	mu   sync.Mutex
	last Interval
}

// NewGraphite returns a reporter that does nothing yet.
func NewGraphite(cfg GraphiteConfig) *Graphite {
	cfg.Every = max(cfg.Every.Truncate(time.Second), time.Second)
	if cfg.Timeout <= 0 {
		cfg.Timeout = dialTimeout
	}
	return &Graphite{cfg: cfg, stop: make(chan struct{})}
}

// Start reports until Close.
func (g *Graphite) Start() { g.done.Go(g.watch) }

// Close ends reporting and waits for its end. It is called once, also without
// Start.
func (g *Graphite) Close() {
	close(g.stop)
	g.done.Wait()
}

// Last is what was reported last. A nil Graphite has reported nothing.
func (g *Graphite) Last() Interval {
	if g == nil {
		return Interval{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

func (g *Graphite) watch() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	defer g.hangUp()
	before := g.cfg.Source.Gather()
	var v Interval
	for n := 1; ; n++ {
		select {
		case <-g.stop:
			return
		case <-t.C:
		}
		g.cfg.Source.Commands.tick(n)
		calls := g.cfg.Source.Calls.Count()
		if n == 1 || calls < v.MinSessions {
			v.MinSessions = calls
		}
		v.MaxSessions = max(v.MaxSessions, calls)
		v.CallDuration += time.Duration(calls) * time.Second
		if time.Duration(n)*time.Second < g.cfg.Every {
			continue
		}
		v.Commands = g.cfg.Source.Commands.cut(n)
		g.mu.Lock()
		g.last = v
		g.mu.Unlock()
		now := g.cfg.Source.Gather()
		g.send(now.graphite(before, g.cfg.Prefix, time.Now()))
		before, v, n = now, Interval{}, 0
	}
}

// send writes a report. One that cannot be sent is lost, as the next one will
// tell more.
func (g *Graphite) send(text []byte) {
	if g.conn == nil {
		conn, err := net.DialTimeout("tcp", g.cfg.Address.String(), g.cfg.Timeout)
		if err != nil {
			g.cfg.Log.Warn("graphite not reached", zap.Error(err))
			return
		}
		g.conn = conn
	}
	_ = g.conn.SetWriteDeadline(time.Now().Add(g.cfg.Timeout))
	if _, err := g.conn.Write(text); err != nil {
		g.cfg.Log.Warn("report to graphite lost", zap.Error(err))
		g.hangUp()
	}
}

func (g *Graphite) hangUp() {
	if g.conn != nil {
		_ = g.conn.Close()
		g.conn = nil
	}
}

// graphite writes a report of what has changed since before.
func (s *Snapshot) graphite(before *Snapshot, prefix string, at time.Time) []byte {
	var out bytes.Buffer
	line := func(name string, v value) { fmt.Fprintf(&out, "%s%s %s %d\n", prefix, name, v.text, at.Unix()) }
	for i, c := range countedCommands() {
		v, name := s.Interval.command(i), string(c.command)
		line(name+"_time_min", decimal(v.Min.Seconds()))
		line(name+"_time_max", decimal(v.Max.Seconds()))
		line(name+"_time_avg", decimal(v.Mean.Seconds()))
		line(name+"s_ps_min", integer(v.MinRate))
		line(name+"s_ps_max", integer(v.MaxRate))
		line(name+"s_ps_avg", integer(v.MeanRate))
		line(name+"_count", integer(s.total(i)))
	}
	ended := s.Ended.Total() - before.Ended.Total()
	line("call_dur", decimal(s.Interval.CallDuration.Seconds()))
	line("average_call_dur", decimal(mean((s.Duration-before.Duration).Seconds(), ended)))
	line("forced_term_sess", integer(s.Ended.Forced-before.Ended.Forced))
	line("managed_sess", integer(ended))
	line("managed_sess_min", integer(s.Interval.MinSessions))
	line("managed_sess_max", integer(s.Interval.MaxSessions))
	line("current_sessions_total", integer(s.Calls))
	line("current_sessions_own", integer(s.Calls-s.Foreign))
	line("current_sessions_foreign", integer(s.Foreign))
	line("current_transcoded_media", integer(0))
	line("current_sessions_ipv4", integer(s.IPv4))
	line("current_sessions_ipv6", integer(s.IPv6))
	line("current_sessions_mixed", integer(s.Mixed))
	line("nopacket_relayed_sess", integer(s.ZeroWay-before.ZeroWay))
	line("oneway_stream_sess", integer(s.OneWay-before.OneWay))
	passed := call.Traffic{
		Packets: s.Packets - before.Packets, Bytes: s.Bytes - before.Bytes, Errors: s.Errors - before.Errors,
		KernelPackets: s.KernelPackets - before.KernelPackets, KernelBytes: s.KernelBytes - before.KernelBytes,
	}
	line("regular_term_sess", integer(s.Ended.Regular-before.Ended.Regular))
	for _, where := range []struct {
		suffix string
		share
	}{{"_user", user(passed)}, {"_kernel", kernel(passed)}, {"", both(passed)}} {
		line("relayed_errors"+where.suffix, integer(where.errors))
		line("relayed_packets"+where.suffix, integer(where.packets))
		line("relayed_bytes"+where.suffix, integer(where.bytes))
	}
	line("silent_timeout_sess", integer(s.Ended.Silent-before.Ended.Silent))
	line("final_timeout_sess", integer(s.Ended.Final-before.Ended.Final))
	line("offer_timeout_sess", integer(s.Ended.Offer-before.Ended.Offer))
	line("timeout_sess", integer(s.Ended.Timeout-before.Ended.Timeout))
	line("reject_sess", integer(s.Rejected-before.Rejected))
	for i := range s.Ports {
		p := &s.Ports[i]
		line("ports_free_"+p.Interface+"_"+p.Address, integer(p.Free()))
		line("ports_used_"+p.Interface+"_"+p.Address, integer(p.Used))
	}
	return out.Bytes()
}
