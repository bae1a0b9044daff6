package metrics

import (
	"encoding/json"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var local = netip.MustParseAddr("127.0.0.1")

// source is that of a daemon without calls whose two interfaces share an
// address, and that one client has asked.
func source(t *testing.T, second string) *Source {
	t.Helper()
	address := ports.Address{Local: local, Min: 20000, Max: 20099}
	shared := address
	shared.Advertised = netip.MustParseAddr("192.0.2.1")
	pool, err := ports.New([]ports.Interface{
		{Name: "default", Addresses: []ports.Address{address, shared}},
		{Name: second, Addresses: []ports.Address{address}},
	}, ports.Options{})
	require.NoError(t, err)
	s := &Source{Calls: call.NewRegistry(call.Config{Ports: pool}), Commands: NewCommands(), Rates: NewRates(nil)}
	for range 3 {
		s.Commands.Count(local, ng.CommandPing, 250*time.Millisecond, false)
	}
	s.Commands.Count(local, ng.CommandOffer, time.Second, true)
	s.Commands.Count(local, "dance", time.Second, true)
	return s
}

// The golden files are what rtpengine 10.5 printed for a daemon in the state
// of these tests, with its own times and addresses put in.
func golden(t *testing.T, name, got string) {
	t.Helper()
	want, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestJSON(t *testing.T) {
	text := string(source(t, "b").Gather().JSON())
	var any map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &any))
	text = regexp.MustCompile(`"uptime":\d+`).ReplaceAllString(text, `"uptime":0`)
	golden(t, "jsonstats.json", text+"\n")
}

func TestTotals(t *testing.T) {
	text := source(t, "b").Gather().Totals()
	golden(t, "totals.txt", regexp.MustCompile(`:\d+ seconds`).ReplaceAllString(text, ":0 seconds"))
}

// Over ng, integers are integers and all other numbers strings.
func TestStatistics(t *testing.T) {
	d := source(t, "b").Gather().Statistics()
	require.Equal(t, "0", d.Get("totalstatistics").(ng.Dict).Get("uptime"))
	require.EqualValues(t, 0, d.Get("totalstatistics").(ng.Dict).Get("relayedbytes"))
	require.Equal(t, "0", d.Get("intervalstatistics").(ng.Dict).Get("avgblock mediarequestrate"))
	require.Equal(t, "0.000000", d.Get("mos").(ng.Dict).Get("mos_average"))
	control := d.Get("controlstatistics").(ng.Dict)
	require.EqualValues(t, 3, control.Get("totalpingcount"))
	proxy := control.Get("proxies").([]ng.Dict)[0]
	require.Equal(t, "127.0.0.1", proxy.Get("proxy"))
	require.Equal(t, "0.750000", proxy.Get("pingduration"))
	require.EqualValues(t, 2, proxy.Get("errorcount"))
	place := d.Get("interfaces").([]ng.Dict)[0]
	require.Equal(t, "0.00", place.Get("ports").(ng.Dict).Get("used_pct"))
	require.Equal(t, []ng.Dict{}, d.Get("transcoders"))
}

func TestClientsAreCountedInBoundedMemory(t *testing.T) {
	c := NewCommands()
	addr := netip.MustParseAddr("10.0.0.0")
	for range 10 * maxProxies {
		addr = addr.Next()
		c.Count(addr, ng.CommandPing, time.Millisecond, false)
	}
	all := c.proxiesSorted()
	require.Len(t, all, maxProxies+1)
	require.Equal(t, "others", all[0].name())
	require.EqualValues(t, 9*maxProxies, all[0].Counts[0])
	n, _ := c.Total(ng.CommandPing)
	require.EqualValues(t, 10*maxProxies, n)
}

func TestRates(t *testing.T) {
	r := NewRates(func() call.Traffic { return call.Traffic{} })
	r.set(call.Traffic{Packets: 10, Bytes: 1000, Errors: 1}, call.Traffic{Packets: 110, Bytes: 21000, Errors: 1, KernelPackets: 60, KernelBytes: 12000}, 2*time.Second)
	require.Equal(t, call.Traffic{Packets: 50, Bytes: 10000, KernelPackets: 30, KernelBytes: 6000}, r.PerSecond())
	require.Equal(t, share{20, 4000, 0}, user(r.PerSecond()))
	r.set(call.Traffic{Packets: 10, Bytes: 10, Errors: 10}, call.Traffic{}, time.Second)
	require.Equal(t, call.Traffic{}, r.PerSecond())
	r.Start()
	r.Close()
	NewRates(nil).Close()
}

// The text is what Prometheus demands: each metric is described once, before
// its samples, and no series comes twice.
func TestExpositionIsWellFormed(t *testing.T) {
	from := source(t, `a"b\c`)
	from.Dropped = func() (uint64, bool) { return 0, false }
	require.NotContains(t, string(from.Gather().Exposition()), "mediad_packets_dropped_total")
	from.Dropped = func() (uint64, bool) { return 7, true }
	body := string(from.Gather().Exposition())
	series := parse(t, body)
	for name, want := range map[string]float64{
		`rtpengine_sessions{type="own"}`:                                    0,
		`rtpengine_requests_total{proxy="127.0.0.1",request="ping"}`:        3,
		`rtpengine_request_seconds_total{proxy="127.0.0.1",request="ping"}`: 0.75,
		`rtpengine_errors_total{proxy="127.0.0.1"}`:                         2,
		`rtpengine_ports{name="default",address="127.0.0.1"}`:               100,
		`rtpengine_ports_free{name="default",address="127.0.0.1"}`:          100,
		`mediad_packets_dropped_total`:                                      7,
		`rtpengine_ports_used{name="a\"b\\c",address="127.0.0.1"}`:          0,
		`rtpengine_closed_sessions_total{reason="force_terminated"}`:        0,
	} {
		got, ok := series[name]
		require.True(t, ok, "no series %s", name)
		require.Equal(t, want, got, name)
	}
	for _, name := range []string{
		"go_goroutines", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds", "process_cpu_seconds_total",
	} {
		require.Greater(t, series[name], 0.0, name)
	}
}

func parse(t *testing.T, text string) map[string]float64 {
	t.Helper()
	kind := regexp.MustCompile(`^# TYPE ([a-z0-9_]+) (gauge|counter)$`)
	help := regexp.MustCompile(`^# HELP [a-z0-9_]+ \S.*$`)
	sample := regexp.MustCompile(`^([a-z0-9_]+)(\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)+\})? (\S+)$`)
	series, described, current := make(map[string]float64), make(map[string]bool), ""
	require.True(t, strings.HasSuffix(text, "\n"))
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := kind.FindStringSubmatch(line); m != nil {
			current = m[1]
			require.False(t, described[current], "%s is described twice", current)
			described[current] = true
			continue
		}
		if strings.HasPrefix(line, "#") {
			require.Regexp(t, help, line)
			continue
		}
		m := sample.FindStringSubmatch(line)
		require.NotNil(t, m, "%q", line)
		require.Equal(t, current, m[1])
		_, twice := series[m[1]+m[2]]
		require.False(t, twice, "%s comes twice", m[1]+m[2])
		value, err := strconv.ParseFloat(m[3], 64)
		require.NoError(t, err)
		series[m[1]+m[2]] = value
	}
	return series
}
