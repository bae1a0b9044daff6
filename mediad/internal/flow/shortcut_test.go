package flow

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/quality"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
)

// agent is a Connectivity that allows everybody.
type agent struct{}

func (agent) HandlePacket([]byte, netip.AddrPort) {}
func (agent) Allows(netip.AddrPort) bool          { return true }

// TestShortcut: what may go past Handle.
func TestShortcut(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone, Learning: Immediate})
	p.handle(rtpPacket(9, 70), sipPhone, 0)
	c, reason, ok := p.in.Shortcut()
	require.True(t, ok, reason)
	require.Equal(t, Shortcut{
		Local: p.in.LocalAddr(), Source: sipPhone, Via: p.out, From: p.out.LocalAddr(), To: sink, TOS: -1, SSRC: 9,
		Types: [2]uint64{1<<64 - 1, 1<<64 - 1}, LastSequence: 70,
	}, c)
	require.Equal(t, []*Stream{p.out}, p.in.Sends())
	require.NoError(t, p.out.SetTOS(184))
	c, _, _ = p.in.Shortcut()
	require.Equal(t, 184, c.TOS)
}

// TestNoShortcut: each thing that needs Handle is told as the reason.
func TestNoShortcut(t *testing.T) {
	key, err := secure.NewKey(secure.AESCM12880)
	require.NoError(t, err)
	inbound, err := secure.NewInbound(key)
	require.NoError(t, err)
	silent := newStream(t)
	to := func(change func(o *Output)) func(r *Route) {
		return func(r *Route) { change(&r.Media[0]) }
	}
	for reason, change := range map[string]func(r *Route){
		whyControl:     func(r *Route) { r.Control = true },
		whyICE:         func(r *Route) { r.ICE = agent{} },
		whyEncrypted:   func(r *Route) { r.Encrypted, r.Inbound = true, inbound },
		whyReport:      func(r *Route) { r.Report = &Report{} },
		whyOutputs:     func(r *Route) { r.Media = append(r.Media, r.Media[0]) },
		whyFilter:      to(func(o *Output) { o.Filter = &Filter{Silence: true} }),
		whyWait:        to(func(o *Output) { o.Wait = silent }),
		whyDestination: to(func(o *Output) { o.Stream = silent }),
		whyLearning:    func(r *Route) { r.Learning = Heuristic },
		whySource:      func(r *Route) { r.Learning, r.Endpoint = Off, netip.AddrPort{} },
		whyFamilies:    to(func(o *Output) { o.Stream = newStream(t); o.Stream.SetRoute(&Route{Endpoint: addr("[2001:db8::1]:6")}) }),
		whyZone:        func(r *Route) { r.Learning, r.Endpoint = Off, addr("[fe80::1%2]:6") },
	} {
		p := newPair(t, Route{Endpoint: sipPhone, Learning: Immediate})
		r := *p.in.Route()
		r.Media = []Output{r.Media[0]}
		change(&r)
		p.in.SetRoute(&r)
		if r.Report == nil && r.ICE == nil && !r.Encrypted {
			p.handle(rtpPacket(9, 70), sipPhone, 0)
		}
		_, got, ok := p.in.Shortcut()
		require.False(t, ok, reason)
		require.Equal(t, reason, got)
	}
	p := newPair(t, Route{Endpoint: sipPhone, Learning: Off})
	_, got, _ := p.in.Shortcut()
	require.Equal(t, whySilent, got)
	p.handle(rtpPacket(9, 70), sipPhone, 0)
	_, _, ok := p.in.Shortcut()
	require.True(t, ok)
	p.out.Retire()
	_, got, _ = p.in.Shortcut()
	require.Equal(t, whyClosed, got)
}

// TestShortcutLearning: an address counts when learning is over, until signalling opens it again.
func TestShortcutLearning(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone, Learning: Heuristic})
	elsewhere := addr("203.0.113.5:77")
	p.handle(rtpPacket(9, 1), elsewhere, 0)
	_, reason, _ := p.in.Shortcut()
	require.Equal(t, whyLearning, reason)
	p.handle(rtpPacket(9, 2), elsewhere, learningTime)
	c, reason, ok := p.in.Shortcut()
	require.True(t, ok, reason)
	require.Equal(t, elsewhere, c.Source)
	p.in.Reopen(start.Add(time.Minute))
	_, reason, _ = p.in.Shortcut()
	require.Equal(t, whyLearning, reason)
	p.handle(rtpPacket(9, 3), elsewhere, time.Minute+learningTime)
	_, _, ok = p.in.Shortcut()
	require.True(t, ok)
	r := *p.in.Route()
	r.Endpoint = addr("192.0.2.99:5")
	p.in.SetRoute(&r)
	_, reason, _ = p.in.Shortcut()
	require.Equal(t, whyLearning, reason)
}

// TestShortcutTypes: telephone events somebody wants to see, types of another clock rate and types that are filtered do not go past.
func TestShortcutTypes(t *testing.T) {
	has := func(c Shortcut, pt int) bool { return c.Types[pt/64]>>(pt%64)&1 == 1 }
	p := newPair(t, Route{Endpoint: sipPhone, Learning: Immediate, Payloads: telephony(), Quality: quality.NewTable(quality.CQ), Observer: &witness{}})
	p.handle(rtpPacket(9, 1), sipPhone, 0)
	c, reason, ok := p.in.Shortcut()
	require.True(t, ok, reason)
	require.EqualValues(t, 8000, c.Clock)
	for pt := range payloadTypes {
		clock := p.in.Route().Payloads.Clock[pt]
		require.Equal(t, !p.in.Route().Payloads.Events[pt] && (clock == 0 || clock == 8000), has(c, pt), "payload type %d", pt)
	}
	f := &Filter{Block: EventsDrop}
	f.Events[101] = true
	p = newPair(t, Route{Endpoint: sipPhone, Learning: Immediate})
	p.in.SetRoute(&Route{Endpoint: sipPhone, Learning: Immediate, Media: []Output{{Stream: p.out, Filter: f}}})
	p.handle(rtpPacket(9, 1), sipPhone, 0)
	c, _, ok = p.in.Shortcut()
	require.True(t, ok)
	require.False(t, has(c, 101))
	require.True(t, has(c, 8))
}

// journal is a Watcher that counts.
type journal struct{ changed, ripened int }

func (j *journal) Changed(*Stream) { j.changed++ }
func (j *journal) Ripened(*Stream) { j.ripened++ }

// TestWatcher: it learns of all that outdates a Shortcut or makes one possible, and of nothing else.
func TestWatcher(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone, Learning: Immediate})
	j := &journal{}
	p.in.Watch(j)
	told := func(changed, ripened bool, what func()) {
		t.Helper()
		*j = journal{}
		what()
		require.Equal(t, changed, j.changed > 0)
		require.Equal(t, ripened, j.ripened > 0)
	}
	told(false, true, func() { p.handle(rtpPacket(9, 1), sipPhone, 0) })
	told(false, false, func() { p.handle(rtpPacket(9, 2), sipPhone, 0) })
	told(false, true, func() { p.handle(rtpPacket(10, 2), sipPhone, 0) })
	told(true, false, func() { p.in.SetRoute(p.in.Route()) })
	told(true, false, func() { p.in.Reopen(start) })
	told(true, false, func() { p.in.SetOutlet(p.out) })
	told(true, false, func() { require.NoError(t, p.in.SetTOS(8)) })
	told(true, true, func() { p.handle(rtpPacket(10, 3), addr("203.0.113.5:77"), 0) })
	told(true, false, p.in.Retire)
	p.in.Watch(nil)
	told(false, false, p.in.Retire)
}

// meter is what an engine has counted.
type meter struct{ now Moved }

func (m *meter) Moved() Moved { return m.now }

// TestCarry: packets that have gone past count on both sides, also those between them that Handle has seen, and what comes after Pause.
func TestCarry(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone, Learning: Immediate})
	p.handle(rtpPacket(9, 65000), sipPhone, 0)
	p.out.CountSent(1, 172, 0)
	m := &meter{}
	c := p.in.NewCarry(m)
	sc, _, ok := p.in.Shortcut()
	require.True(t, ok)
	c.Begin(sc)
	m.now = Moved{Packets: 1000, Bytes: 172000, Last: start.Add(time.Minute), PayloadType: 3, LastSequence: 66000, LastTimestamp: 77}
	in, out := p.in.Statistics(), p.out.Statistics()
	require.EqualValues(t, 1001, in.PacketsIn)
	require.EqualValues(t, 172*1001, in.BytesIn)
	require.True(t, start.Add(time.Minute).Equal(in.LastPacket))
	require.EqualValues(t, 1001, out.PacketsOut)
	require.Equal(t, []SourceStatistics{{SSRC: 9, PayloadType: 3, Packets: 1001, Bytes: 172 * 1001, LastSequence: 66000, LastTimestamp: 77}}, in.Sources)

	m.now.Packets, m.now.Bytes, m.now.LastSequence = 50000, 172*50000, 65000+50000 // Handle sees the next one after a long time
	p.handle(rtpPacket(9, uint16((65000+50001)%65536)), sipPhone, 2*time.Minute)
	in = p.in.Statistics()
	require.EqualValues(t, 50002, in.Sources[0].Packets)
	require.EqualValues(t, 65000+50001, in.Sources[0].LastSequence)
	require.Zero(t, in.Sources[0].Lost)
	require.True(t, start.Add(2*time.Minute).Equal(in.LastPacket))

	c.Pause()
	m.now.Packets++ // it was on its way
	m.now.Bytes += 172
	require.EqualValues(t, 50003, p.in.Statistics().PacketsIn)
	require.EqualValues(t, 50002, p.out.Statistics().PacketsOut)
	c.Close()
	m.now.Packets++
	require.EqualValues(t, 50003, p.in.Statistics().PacketsIn)
	require.EqualValues(t, 50002, p.out.Statistics().PacketsOut)
}
