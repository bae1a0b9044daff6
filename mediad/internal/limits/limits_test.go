package limits

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestChangeSwapsTheSnapshot(t *testing.T) {
	l := NewLive(Values{Timeout: time.Minute, MaxSessions: -1})
	before := l.Load()
	require.Same(t, before, l.Load())
	l.Change(func(v *Values) { v.MaxSessions = 3 })
	require.Equal(t, -1, before.MaxSessions)
	require.Equal(t, Values{Timeout: time.Minute, MaxSessions: 3}, *l.Load())
}

// host is a host whose numbers are told.
type host struct {
	load      float64
	busy, all uint64
	bytes     uint64
	at        time.Time
}

func (h *host) source() source {
	return source{
		load:  func() (float64, error) { return h.load, nil },
		cpu:   func() (uint64, uint64, error) { return h.busy, h.all, nil },
		bytes: func() uint64 { return h.bytes },
		now:   func() time.Time { return h.at },
	}
}

func TestAdmit(t *testing.T) {
	h := &host{load: 2, busy: 100, all: 1000, bytes: 5000, at: time.Unix(1, 0)}
	live := NewLive(Values{MaxSessions: 2, MaxLoad: 3, MaxCPU: 50, MaxBandwidth: 1000})
	m := newMonitor(live, h.source())
	require.NoError(t, m.Admit(1), "nothing is measured yet")
	last := m.measure(sample{})
	require.NoError(t, m.Admit(1), "differences need two samples")
	require.ErrorIs(t, m.Admit(2), ng.ReasonSessionLimit)

	h.busy, h.all, h.bytes, h.at = 149, 1100, 5999, h.at.Add(time.Second)
	last = m.measure(last)
	require.NoError(t, m.Admit(1))

	h.bytes, h.all, h.at = h.bytes+2000, h.all+100, h.at.Add(2*time.Second)
	last = m.measure(last)
	require.ErrorIs(t, m.Admit(1), ng.ReasonBandwidthLimit)

	h.busy, h.all = h.busy+50, h.all+100
	last = m.measure(last)
	require.ErrorIs(t, m.Admit(1), ng.ReasonCPULimit)

	h.load = 3
	m.measure(last)
	require.ErrorIs(t, m.Admit(1), ng.ReasonLoadLimit)

	live.Change(func(v *Values) { v.MaxLoad, v.MaxCPU, v.MaxBandwidth, v.MaxSessions = 0, 0, 0, -1 })
	require.NoError(t, m.Admit(1e6), "without bounds")
	live.Change(func(v *Values) { v.MaxSessions = 0 })
	require.ErrorIs(t, m.Admit(0), ng.ReasonSessionLimit)
}

func TestMonitorMeasuresThisHost(t *testing.T) {
	live := NewLive(Values{MaxSessions: -1, MaxLoad: 1e9, MaxCPU: 1e9, MaxBandwidth: 1e18})
	m := NewMonitor(live, func() uint64 { return 1 })
	m.Start()
	require.NoError(t, m.Admit(0))
	m.Close()
	_, err := hostLoad()
	require.NoError(t, err)
	busy, all, err := hostCPU()
	require.NoError(t, err)
	require.Less(t, busy, all)
	NewMonitor(live, nil).Close()
}

func TestProc(t *testing.T) {
	load, err := parseLoad("0.75 0.50 0.25 1/100 1234\n")
	require.NoError(t, err)
	require.InDelta(t, 0.75, load, 1e-9)
	busy, all, err := parseCPU("cpu  10 1 5 100 7 2 3 4 50 60\ncpu0 1 1\n")
	require.NoError(t, err)
	require.Equal(t, []uint64{25, 132}, []uint64{busy, all})
	for _, bad := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu 1 2 3 x 5 6 7 8 9"} {
		_, _, err := parseCPU(bad)
		require.Error(t, err, bad)
	}
	_, err = parseLoad("x")
	require.Error(t, err)
}
