package metrics

import (
	"bytes"
	"fmt"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
)

// table writes numbers for people, in rtpengine's layout.
type table struct{ bytes.Buffer }

func (t *table) heading(text string) { fmt.Fprintf(t, "\n%s:\n\n", text) }

func (t *table) line(title string, v value, unit string) {
	if unit != "" {
		unit = " " + unit
	}
	fmt.Fprintf(t, " %-48s:%s%s\n", title, v.text, unit)
}

func (t *table) rates(r call.Traffic) {
	for _, where := range []struct {
		name string
		rate share
	}{{"userspace", user(r)}, {"kernel", kernel(r)}, {"total", both(r)}} {
		t.line("Packets per second ("+where.name+")", integer(where.rate.packets), "")
		t.line("Bytes per second ("+where.name+")", integer(where.rate.bytes), "")
		t.line("Errors per second ("+where.name+")", integer(where.rate.errors), "")
	}
}

// Counters returns the text of the CLI's "list counters".
func (s *Snapshot) Counters() string {
	var t table
	t.heading("Current per-second counters")
	t.rates(s.Rate)
	return t.String()
}

// Totals returns the text of the CLI's "list totals".
func (s *Snapshot) Totals() string {
	var t table
	t.heading("Statistics over currently running sessions")
	t.line("Owned sessions", integer(s.Calls-s.Foreign), "")
	t.line("Foreign sessions", integer(s.Foreign), "")
	t.line("Total sessions", integer(s.Calls), "")
	t.line("Transcoded media", integer(0), "")
	t.rates(s.Rate)
	t.line("Userspace-only media streams", integer(s.Active-s.Kernel), "")
	t.line("Kernel-only media streams", integer(s.Kernel), "")
	t.line("Mixed kernel/userspace media streams", integer(0), "")
	t.heading("Total statistics (does not include current running sessions)")
	s.totalLines(&t)
	t.WriteByte('\n')
	t.heading("Graphite interval statistics (last reported values to graphite)")
	t.Truncate(t.Len() - 1) // the first line follows at once
	intervalLines(&t, &s.Interval)
	t.WriteByte('\n')
	t.heading("MOS statistics")
	t.line("Sum of all MOS values sampled", decimal(s.MOS.Sum), "")
	t.line("Sum of all MOS square values sampled", decimal(s.MOS.Squares), "")
	t.line("Total number of MOS samples", integer(s.MOS.Count), "")
	t.line("Average MOS", decimal(mean(s.MOS.Sum, s.MOS.Count)), "")
	t.line("MOS standard deviation", decimal(deviation(s.MOS.Sum, s.MOS.Squares, s.MOS.Count)), "")
	t.WriteByte('\n')
	t.heading("Control statistics")
	s.proxyLines(&t)
	t.WriteString("\n\n\n\n")
	return t.String()
}

func (s *Snapshot) totalLines(t *table) {
	t.line("Uptime of rtpengine", wide(int64(s.Uptime.Seconds())), "seconds")
	t.line("Total managed sessions", integer(s.Ended.Total()), "")
	t.line("Total rejected sessions", integer(s.Rejected), "")
	t.line("Total timed-out sessions via TIMEOUT", integer(s.Ended.Timeout), "")
	t.line("Total timed-out sessions via SILENT_TIMEOUT", integer(s.Ended.Silent), "")
	t.line("Total timed-out sessions via FINAL_TIMEOUT", integer(s.Ended.Final), "")
	t.line("Total timed-out sessions via OFFER_TIMEOUT", integer(s.Ended.Offer), "")
	t.line("Total regular terminated sessions", integer(s.Ended.Regular), "")
	t.line("Total forced terminated sessions", integer(s.Ended.Forced), "")
	for _, where := range []struct {
		suffix string
		share
	}{{" (userspace)", user(s.Traffic)}, {" (kernel)", kernel(s.Traffic)}, {"", both(s.Traffic)}} {
		t.line("Total relayed packets"+where.suffix, integer(where.packets), "")
		t.line("Total relayed packet errors"+where.suffix, integer(where.errors), "")
		t.line("Total relayed bytes"+where.suffix, integer(where.bytes), "")
	}
	t.line("Total number of streams with no relayed packets", integer(s.ZeroWay), "")
	t.line("Total number of 1-way streams", integer(s.OneWay), "")
	t.line("Average call duration", decimal(s.AverageDuration()), "seconds")
	t.line("Total calls duration", decimal(s.Duration.Seconds()), "seconds")
	t.line("Total calls duration squared", decimal(s.DurationSquares), "seconds squared")
	t.line("Total calls duration standard deviation", decimal(s.durationDeviation()), "seconds")
}

// intervalLines tell what was last reported to Graphite.
func intervalLines(t *table, v *Interval) {
	t.line("Total calls duration", decimal(v.CallDuration.Seconds()), "seconds")
	t.WriteByte('\n')
	t.line("Min managed sessions", integer(v.MinSessions), "")
	t.line("Max managed sessions", integer(v.MaxSessions), "")
	for i, c := range countedCommands() {
		n := v.command(i)
		t.line(fmt.Sprintf("Min/Max/Avg %s processing delay", c.command), value{
			text: decimal(n.Min.Seconds()).text + "/" + decimal(n.Max.Seconds()).text + "/" + decimal(n.Mean.Seconds()).text,
		}, "sec")
	}
	for i, c := range countedCommands() {
		n := v.command(i)
		t.line(fmt.Sprintf("Min/Max/Avg %s requests per second", c.command), value{
			text: fmt.Sprintf("%d/%d/%d", n.MinRate, n.MaxRate, n.MeanRate),
		}, "per sec")
	}
}

func (s *Snapshot) proxyLines(t *table) {
	fmt.Fprintf(t, " %20s ", "Proxy")
	for _, c := range countedCommands() {
		fmt.Fprintf(t, "| %10s ", c.title)
	}
	t.WriteByte('\n')
	for _, p := range s.Proxies {
		fmt.Fprintf(t, " %20s ", p.name())
		for _, n := range p.Counts {
			fmt.Fprintf(t, "| %10d ", n)
		}
		t.WriteByte('\n')
	}
}
