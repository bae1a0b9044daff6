//go:build integration

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/traffic"
)

// TestMain lets the test's binary be the generator, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == generator {
		if err := generate(os.Args[2], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// needRoot skips where no namespace can be made; where all exams must run that is a failure.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("network namespaces need root")
	}
	t.Skip("network namespaces need root")
}

// TestEveryDaemonRelaysWithoutLoss: the whole way of a figure, at a rate that every machine bears, and no word about time.
func TestEveryDaemonRelaysWithoutLoss(t *testing.T) {
	needRoot(t)
	work := t.TempDir()
	mediad, err := binary(work)
	if err != nil {
		t.Fatal(err)
	}
	all := &result{Started: time.Now(), Host: describeHost(), Lines: make(map[string]string)}
	sites := make(map[string]*site)
	for name, open := range map[string]func() (*site, error){loopback: newLoopback, veth: newVeth} {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.close(); err != nil {
				t.Error(err)
			}
		})
		sites[name] = s
	}
	for _, at := range []struct {
		name, site string
		kind       traffic.Kind
	}{{"loopback", loopback, traffic.RTP}, {"veth", veth, traffic.RTP}, {"srtp", loopback, traffic.SRTP}, {"dtls", loopback, traffic.DTLS}} {
		s := sites[at.site]
		for _, c := range candidates(mediad, "") {
			t.Run(at.name+"/"+c.Name, func(t *testing.T) {
				for _, x := range relayed(t, &c, s, at.kind, filepath.Join(work, at.name)) {
					x.Figure, x.Daemon, all.Lines[c.Name] = "relay", c.Name, c.line(s)
					all.Samples = append(all.Samples, x)
				}
			})
		}
	}
	written(t, all)
}

// relayed lets a daemon relay for a moment.
func relayed(t *testing.T, c *candidate, s *site, kind traffic.Kind, dir string) []sample {
	t.Helper()
	r, err := c.start(s, dir, 0)
	if err != nil && !c.Sockets && os.Getenv("CI") == "" {
		t.Skip(err) // an engine that this machine does not bear
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}()
	j := job{Work: media, Kind: kind, Calls: 20, Steps: []int{1000}, Ramp: 100 * time.Millisecond, Span: 400 * time.Millisecond, Learn: 300 * time.Millisecond}
	samples, err := j.run(r, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if len(samples) != 1 {
		t.Fatalf("samples %v", samples)
	}
	v := samples[0].Values
	if v["received"] < 100 || v["loss"] != 0 || v["corrupt"] != 0 || v["duplicates"] != 0 || v["p50"] <= 0 || v["total"] <= v["daemon"] {
		t.Errorf("at 1000 pps: %v", v)
	}
	return samples
}

// written writes a report of the samples and looks for every daemon in it.
func written(t *testing.T, all *result) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, document)
	if err := os.WriteFile(file, []byte("before\n"+beginMark+"old"+endMark+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	samples := filepath.Join(dir, "samples.json")
	if err := all.save(samples); err != nil {
		t.Fatal(err)
	}
	again, err := load(samples)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.write(dir, &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	report := string(text)
	if !strings.HasPrefix(report, "before\n") || !strings.HasSuffix(report, "after\n") || strings.Contains(report, "old") {
		t.Errorf("what is around the tables has changed:\n%s", report)
	}
	for name := range all.Lines {
		if !strings.Contains(report, "| 1000 | "+name+" |") {
			t.Errorf("no figure of %s in\n%s", name, report)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, images, "performance-relay-daemon.svg")); err != nil {
		t.Error(err)
	}
}

// TestMissesAreTold: targets are judged by medians, in both directions.
func TestMissesAreTold(t *testing.T) {
	r := &result{}
	add := func(daemon string, x float64, values map[string]float64) {
		r.Samples = append(r.Samples, sample{Figure: "relay", Daemon: daemon, X: x, Values: values})
	}
	for _, v := range []float64{10, 9, 500} {
		add(base, 50000, map[string]float64{"daemon": v})
	}
	add("steer", 50000, map[string]float64{"daemon": 6})
	add("sockets", 50000, map[string]float64{"daemon": 7.5})
	add(base, 0, map[string]float64{"highest": 100000, "limit": 0})
	add("steer", 0, map[string]float64{"highest": 120000, "limit": 0})
	add("kernel", 0, map[string]float64{"highest": 150000, "limit": 1})
	var got []string
	for _, v := range r.judge() {
		if v.Ratio != missing {
			got = append(got, v.Engine+" "+v.Ratio+" "+v.Missed)
		}
	}
	want := []string{"steer 0.60 20 %", "sockets 0.75 ", "steer 1.20 20 %", "kernel 1.50 not known: the generator's limit"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
