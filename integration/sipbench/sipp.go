package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// outcome is what SIPp counted.
type outcome struct{ successful, failed, retransmitted int }

// clean reports whether nothing failed and next to nothing had to be sent again.
func (o outcome) clean() bool {
	const tolerated = 1000 // one retransmission in so many calls
	return o.failed == 0 && o.retransmitted*tolerated <= o.successful
}

// dialogs runs a scenario against the proxy: so many a second, so many in all.
func dialogs(n *harness.Namespace, dir, scenarios, scenario, host string, rate, number int, more ...string) (outcome, error) {
	stats := filepath.Join(dir, scenario+".csv")
	args := append([]string{
		proxyHost + ":" + sipPort, "-sf", filepath.Join(scenarios, "scenarios", scenario+".xml"), "-i", host, "-r", strconv.Itoa(rate), "-m", strconv.Itoa(number),
		"-l", strconv.Itoa(20 * rate), "-nostdin", "-trace_stat", "-stf", stats, "-fd", "1",
		"-trace_err", "-error_file", filepath.Join(dir, scenario+"-errors.log"),
	}, more...)
	p, err := n.Start(harness.Spec{Name: scenario, Path: "sipp", Args: args, Dir: dir})
	if err != nil {
		return outcome{}, err
	}
	limit := time.Duration(number/rate+60) * time.Second
	if err := p.Wait(limit); err != nil && p.Running() {
		return outcome{}, p.Stop()
	}
	return read(stats) // SIPp's exit code only says that a call has failed
}

// read takes the last line of SIPp's statistics.
func read(file string) (o outcome, err error) {
	f, err := os.Open(file)
	if err != nil {
		return o, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.FieldsPerRecord, r.LazyQuotes = ';', -1, true
	lines, err := r.ReadAll()
	if err != nil {
		return o, err
	}
	if len(lines) < 2 {
		return o, fmt.Errorf("%s: no statistics", file)
	}
	last := lines[len(lines)-1]
	for name, field := range map[string]*int{"SuccessfulCall(C)": &o.successful, "FailedCall(C)": &o.failed, "Retransmissions(C)": &o.retransmitted} {
		found := false
		for i, title := range lines[0] {
			if title == name && i < len(last) {
				if *field, err = strconv.Atoi(last[i]); err != nil {
					return o, fmt.Errorf("%s: %s: %w", file, name, err)
				}
				found = true
			}
		}
		if !found {
			return o, fmt.Errorf("%s: no column %s", file, name)
		}
	}
	return o, nil
}

// accounts writes SIPp's list of those that register at contacts on host.
func accounts(file, host string, names ...string) error {
	var b strings.Builder
	b.WriteString("SEQUENTIAL\n")
	for _, name := range names {
		fmt.Fprintf(&b, "%s;%s;[authentication username=%s password=%s]\n", name, host, name, password)
	}
	return os.WriteFile(file, []byte(b.String()), 0o600)
}
