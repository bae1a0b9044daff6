package cli

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/mediad/internal/metrics"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCLI(t *testing.T) (*CLI, *Config) {
	t.Helper()
	pool, err := ports.New([]ports.Interface{
		{Name: "default", Addresses: []ports.Address{{Local: netip.MustParseAddr("127.0.0.1"), Min: 100, Max: 199}}},
		{Name: "six", Addresses: []ports.Address{{Local: netip.MustParseAddr("::1"), Min: 20000, Max: 20099}}},
	}, ports.Options{})
	require.NoError(t, err)
	calls := call.NewRegistry(call.Config{Ports: pool})
	cfg := Config{
		Calls:   calls,
		Metrics: &metrics.Source{Calls: calls, Commands: metrics.NewCommands(), Rates: metrics.NewRates(nil)},
		Limits:  limits.NewLive(limits.Values{Timeout: time.Minute, DeleteDelay: 30 * time.Second, MaxSessions: -1}),
		Levels:  telemetry.NewLevels(6, "core", "ice"),
		Options: []Option{{"log-level-core", ""}, {"table", "-1"}, {"timeout", ""}},
		Reload:  func() error { return errors.New("no file") },
		Log:     zap.NewNop(),
	}
	return New(cfg), &cfg
}

// The answers are those of rtpengine 10.5 to the same lines.
func TestLines(t *testing.T) {
	c, _ := newCLI(t)
	for _, l := range []struct{ line, want string }{
		{"", "Unknown or incomplete command::\n"},
		{"usage", "Unknown or incomplete command::usage\n"},
		{" list timeout", "Unknown or incomplete command:: list timeout\n"},
		{"list", "More parameters required.\n"},
		{"list foo", "Unknown or incomplete command::foo\n"},
		{"list  timeout", "Unknown or incomplete command:: timeout\n"},
		{"list timeoutx", "Unknown or incomplete command::timeoutx\n"},
		{"list timeout", "TIMEOUT=60\n"},
		{"list\ttimeout extra\r\n", "TIMEOUT=60\n"},
		{"get deletedelay", "30\n"},
		{"list/timeout", "TIMEOUT=60\n"},
		{"list/sessions/a/b", "\nCall ID not found (a/b).\n\n"},
		{"list maxsessions", "Maximum sessions configured on rtpengine: -1\n"},
		{"list sessions", "More parameters required.\n"},
		{"list sessions all", "No sessions on this media relay.\n"},
		{"list sessions own", "No own sessions on this media relay.\n"},
		{"list sessions some call", "\nCall ID not found (some call).\n\n"},
		{"list loglevel", "core = 6\nice = 6\n"},
		{"list loglevel ice", "6\n"},
		{"list loglevel foo", ""},
		{"list transcoders", "No stats entries\n"},
		{"terminate", "More parameters required.\n"},
		{"terminate all", "All calls terminated by operator.\n"},
		{"terminate foreign", "All foreign calls terminated by operator.\n"},
		{"terminate x", "\nCall Id not found (x).\n\n"},
		{"params help", "Available sub-commands at this level:\n\tstart\n\tcurrent\n\tdiff\n\trevert\n"},
		{"params start", "log-level-core = 6\ntable = -1\ntimeout = 60\n"},
		{"call", "More parameters required.\n"},
		{"call x", "No such call 'x'\n"},
		{"debug", "No call ID specified\n"},
		{"debug x on", "Call ID 'x' not found\n"},
		{"kslist", "\nSubscribed-on keyspaces:\n\n"},
		{"active", "Ok, all calls set to 'owned (active)'\n"},
		{"standby", "Ok, all calls set to 'foreign (standby)'\n"},
		{"reload", "Fail reloading configuration; no file\n"},
		{"list interfaces", "Interface 'default' address '127.0.0.1' (IPv4)\n Port range:   100 -   199\n" +
			" Ports used:     0 /   100 (  0.0%)\n Last port used:     0\n" +
			"Interface 'six' address '::1' (IPv6)\n Port range: 20000 - 20099\n" +
			" Ports used:     0 /   100 (  0.0%)\n Last port used:     0\n"},
	} {
		require.Equal(t, l.want, c.Execute(l.line), "%q", l.line)
	}
	require.Contains(t, c.Execute("list numsessions"), "Current sessions ip mixed  media: 0\n")
	require.True(t, strings.HasPrefix(c.Execute("list jsonstats"), `{"currentstatistics":{"sessionsown":0,`))
	require.Contains(t, c.Execute("help"), "\tkslist\n\tactive\n\tstandby\n\tdebug\n\tcall\n")
}

func TestSetTakesEffectAndIsReverted(t *testing.T) {
	c, cfg := newCLI(t)
	for _, l := range []struct{ line, want string }{
		{"set timeout", "More parameters required.\n"},
		{"set timeout 30 40", "Success setting timeout to 30\n"},
		{"set timeout abc", "Fail setting timeout to abc; no digists found\n"},
		{"set timeout -1", "Fail setting timeout to -1; errno=0\n"},
		{"set timeout 99999999999", "Fail setting timeout to 99999999999; errno=0\n"},
		{"set silenttimeout 10", "Success setting timeout to 10\n"},
		{"set maxsessions 10", "Success setting maxsessions to 10\n"},
		{"set maxsessions -2", "Fail setting maxsessions to -2; either positive or -1 values allowed\n"},
		{"set maxsessions abc", "Fail setting maxsessions to abc; no digists found\n"},
		{"set maxcpu 50.5", "Success setting maxcpu to 50.5\n"},
		{"set maxload 3.25", "Success setting maxload to 3.25\n"},
		{"set maxload abc", "Fail setting maxload to abc; no digists found\n"},
		{"set maxbw 1000", "Success setting maxbw to 1000\n"},
		{"set deletedelay 5", "Success setting delete-delay to 5\n"},
		{"set deletedelay -1", "Invalid delete-delay value\n"},
		{"set maxopenfiles 10000", "Fail setting open_files to 10000; can't set it under 65536\n"},
		{"set maxopenfiles abc", "Fail setting open_files to abc; no digists found\n"},
		{"set loglevel abc", "More parameters required.\n"},
		{"set loglevel 5", "Success setting loglevel to 5\n"},
		{"set loglevel ice 7", "Success setting loglevel to 7\n"},
		{"list loglevel", "core = 5\nice = 7\n"},
		{"params diff", "log-level-core: 6 => 5\nlog-level-ice: 6 => 7\nmax-sessions: -1 => 10\ntimeout: 60 => 30\n" +
			"silent-timeout: 0 => 10\ndelete-delay: 30 => 5\nmax-cpu: 0.0 => 50.5\nmax-load: 0.00 => 3.25\nmax-bandwidth: 0 => 1000\n"},
	} {
		require.Equal(t, l.want, c.Execute(l.line), "%q", l.line)
	}
	require.Equal(t, limits.Values{
		Timeout: 30 * time.Second, SilentTimeout: 10 * time.Second, DeleteDelay: 5 * time.Second,
		MaxSessions: 10, MaxCPU: 50.5, MaxLoad: 3.25, MaxBandwidth: 1000,
	}, *cfg.Limits.Load())
	require.Empty(t, c.Execute("params revert"))
	require.Empty(t, c.Execute("params diff"))
	require.Equal(t, time.Minute, cfg.Limits.Load().Timeout)
	level, _ := cfg.Levels.Get("ice")
	require.Equal(t, 6, level)
}

func FuzzExecute(f *testing.F) {
	for _, line := range []string{"list sessions all", "set timeout 1", "set loglevel ice 7", "call x tag y info", "params diff", "\x00", "debug x"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.Contains(line, "maxopenfiles") {
			return // changes the limits of the test itself
		}
		c, _ := newCLI(t)
		c.Execute(line)
	})
}
