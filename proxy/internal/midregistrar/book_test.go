package midregistrar

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const alice = location.AoR("sip:alice@example.org")

var start = time.Unix(1_000_000, 0)

// contact is one registered at a time for so long.
func contact(key string, at time.Time, lifetime time.Duration) location.Binding {
	return location.Binding{AoR: alice, Key: key, Contact: key, Q: 1000, Registered: at, Expires: at.Add(lifetime)}
}

func list(b ...location.Binding) []location.Binding { return b }

const (
	out   = time.Hour
	short = 10 * time.Minute
)

func newBook(mode Mode) *Book {
	b := NewBook()
	b.Configure(mode, out, time.Minute)
	return b
}

// told returns a book whose upstream heard at start of the contacts, for lifetime.
func told(mode Mode, lifetime time.Duration, contacts ...location.Binding) *Book {
	b := newBook(mode)
	for i := range contacts {
		b.Tell(b.KeyOf(&contacts[i]), Registration{CallID: "c", Lifetime: lifetime, Forwarded: start})
	}
	return b
}

func TestMirrorHandsEverythingOn(t *testing.T) {
	a := contact("a", start, short)
	b := told(Mirror, short, a)
	require.True(t, b.Due(start.Add(time.Second), alice, list(a), list(a), list(a), nil))
	require.Equal(t, []Ask{{Key: Key{alice, a.ID()}, Lifetime: short, Q: 1000}}, b.Asks(alice, list(a), list(a), nil),
		"for as long as the client asked")
}

func TestContactThrottling(t *testing.T) {
	a := contact("a", start, short)
	b := told(Contact, out, a)
	due := func(after time.Duration, current, put, drop []location.Binding) bool {
		return b.Due(start.Add(after), alice, current, put, put, drop)
	}
	require.False(t, due(time.Second, list(a), list(a), nil), "a refresh")
	require.False(t, due(50*time.Minute-time.Second, list(a), list(a), nil), "as long as e_out covers e_in")
	require.True(t, due(50*time.Minute, list(a), list(a), nil), "now - last forward >= e_out - e_in")
	require.True(t, due(time.Second, list(a), list(contact("b", start, short)), nil), "an unknown contact")
	require.True(t, due(time.Second, nil, list(a), nil), "unknown here, though the upstream has it still")
	require.True(t, due(time.Second, list(a), nil, list(a)), "expiry 0")
	require.True(t, due(time.Second, list(a), list(contact("a", start, out)), nil), "e_in >= e_out: no throttling")
	require.Equal(t, []Ask{{Key: Key{alice, a.ID()}, Lifetime: out, Q: 1000}}, b.Asks(alice, list(a), list(a), nil))
	require.Equal(t, []Ask{{Key: Key{alice, a.ID()}, Q: 1000}}, b.Asks(alice, nil, nil, list(a)))
	long := contact("a", start, 2*out)
	require.Equal(t, 2*out, b.Asks(alice, list(long), list(long), nil)[0].Lifetime, "never shorter than the client's")
}

func TestAoRThrottling(t *testing.T) {
	a, c := contact("a", start, short), contact("c", start, 20*time.Minute)
	b := told(AoR, out, a)
	due := func(after time.Duration, current, next, put, drop []location.Binding) bool {
		return b.Due(start.Add(after), alice, current, next, put, drop)
	}
	require.False(t, due(time.Second, list(a), list(a), list(a), nil), "a refresh")
	require.False(t, due(50*time.Minute-time.Second, list(a), list(a), list(a), nil))
	require.True(t, due(50*time.Minute, list(a), list(a), list(a), nil), "last forward + (e_out - e_in) <= now")
	require.False(t, due(time.Second, list(a), list(a, c), list(c), nil), "a further contact")
	require.False(t, due(45*time.Minute, list(a, c), list(a, c), list(a), nil), "the largest e_out - e_in counts")
	require.True(t, due(50*time.Minute, list(a, c), list(a, c), list(a), nil))
	require.False(t, due(time.Second, list(a, c), list(c), nil, list(a)), "one of several leaves")
	require.True(t, due(time.Second, list(c), nil, nil, list(c)), "the last one leaves")
	require.True(t, due(time.Second, list(a, c), nil, nil, list(a, c)), "all at once leave")
	require.True(t, due(time.Second, nil, list(a), list(a), nil), "no contact here")
	require.True(t, newBook(AoR).Due(start, alice, list(a), list(a), list(a), nil), "unknown upstream")

	require.Equal(t, []Ask{{Key: Key{AoR: alice}, Lifetime: out, Q: 1000}}, b.Asks(alice, list(a, c), list(a), nil), "one contact for all")
	require.Equal(t, []Ask{{Key: Key{AoR: alice}, Q: 1000}}, b.Asks(alice, nil, nil, list(a)))
	require.Equal(t, []Ask{{Key: Key{AoR: alice}, Lifetime: out, Q: 1000}}, b.Asks(alice, list(c), nil, list(a)),
		"a leaving contact whose sender has to be proved goes as a refresh")
}

// A contact that waits longer than another one must not outlive what the upstream knows when the other one goes.
func TestAoRNeverOutlivesUpstream(t *testing.T) {
	a, c := contact("a", start, short), contact("c", start, 20*time.Minute)
	b := told(AoR, out, a)
	at := start.Add(50*time.Minute - time.Second)
	require.False(t, b.Due(at, alice, list(a, c), list(a, c), list(c), nil))
	require.Equal(t, 10*time.Minute+time.Second, b.Left(Key{AoR: alice}, at), "what the client is told instead of 20 minutes")
	// With little left, it is not told that little.
	tiny := contact("t", start, 30*time.Second)
	at = start.Add(out - 40*time.Second)
	require.False(t, b.Due(at, alice, list(tiny), list(tiny, c), nil, nil))
	require.True(t, b.Due(at, alice, list(tiny), list(tiny, c), list(c), nil))
}

// A shorter expiry in the registrar's 2xx lowers e_out: the lifetime in the book is the granted one.
func TestGrantedLifetimeCounts(t *testing.T) {
	a := contact("a", start, short)
	for _, mode := range []Mode{Contact, AoR} {
		b := told(mode, 20*time.Minute, a)
		require.False(t, b.Due(start.Add(10*time.Minute-time.Second), alice, list(a), list(a), list(a), nil), mode)
		require.True(t, b.Due(start.Add(10*time.Minute), alice, list(a), list(a), list(a), nil), mode)
		b = told(mode, short, a)
		require.True(t, b.Due(start, alice, list(a), list(a), list(a), nil), "%s: e_in >= e_out", mode)
	}
}

func TestReloadedPageKeepsItsID(t *testing.T) {
	page, again, other := contact("x1.invalid", start, short), contact("x2.invalid", start, short), contact("x3.invalid", start, short)
	page.Instance, again.Instance, other.Instance = "<urn:uuid:1>", "<urn:uuid:1>", "<urn:uuid:2>"
	require.Equal(t, page.ID(), again.ID())
	require.NotEqual(t, page.ID(), other.ID())
	require.Len(t, newBook(Contact).Asks(alice, list(again), list(again), list(page)), 1, "replaced, not removed")
}

func TestOrphans(t *testing.T) {
	a, c := contact("a", start, short), contact("c", start, short)
	b := told(Contact, out, a, c)
	require.Empty(t, b.Orphans(start, alice, list(a, c)))
	require.Equal(t, []Key{{alice, c.ID()}}, b.Orphans(start, alice, list(a)))
	b.Forget(Key{alice, c.ID()})
	require.Empty(t, b.Orphans(start, alice, list(a)))
	require.Empty(t, b.Orphans(start.Add(out), alice, nil), "the upstream has forgotten it by itself")
	require.Zero(t, b.Len())

	b = told(AoR, out, a)
	require.Empty(t, b.Orphans(start, alice, list(c)), "somebody is left")
	require.Equal(t, []Key{{AoR: alice}}, b.Orphans(start, alice, nil))
	b.Configure(Contact, out, time.Minute)
	require.Equal(t, []Key{{AoR: alice}}, b.Orphans(start, alice, list(c)), "of the mode before")
	b.ForgetAll(alice)
	require.Zero(t, b.Len())
}

func TestTrustBelongsToConnectionUserAndCall(t *testing.T) {
	b := newBook(AoR)
	require.False(t, b.Trusts("w1", alice, "c"))
	b.Trust("w1", alice, "c")
	require.True(t, b.Trusts("w1", alice, "c"))
	require.False(t, b.Trusts("w2", alice, "c"))
	require.False(t, b.Trusts("w1", "sip:bob@example.org", "c"))
	require.False(t, b.Trusts("w1", alice, "another"))
	b.Distrust("w1", alice)
	require.False(t, b.Trusts("w1", alice, "c"))
	b.Trust("w1", alice, "c")
	b.ConnectionClosed("w1")
	require.False(t, b.Trusts("w1", alice, "c"))
	require.Empty(t, b.trusted)
}

func TestTurns(t *testing.T) {
	turns, woken := NewTurns(), 0
	enter := func(now time.Time, alone bool) (bool, bool) {
		return turns.Enter(now, alice, alone, func() { woken++ })
	}
	require.Equal(t, [2]bool{true, true}, pair(enter(start, false)))
	require.Equal(t, [2]bool{true, true}, pair(enter(start, false)), "two that add")
	require.Equal(t, [2]bool{false, true}, pair(enter(start, true)), "a removal waits")
	entered, _ := turns.Enter(start, "sip:bob@example.org", true, nil)
	require.True(t, entered, "somebody else's")
	turns.Leave(alice, false)
	require.Zero(t, woken)
	turns.Leave(alice, false)
	require.Equal(t, 1, woken)
	require.Equal(t, [2]bool{true, true}, pair(enter(start, true)))
	for range maxWaiting {
		require.Equal(t, [2]bool{false, true}, pair(enter(start, false)), "all wait for a removal")
	}
	require.Equal(t, [2]bool{false, false}, pair(enter(start, false)), "but not any number")
	require.Equal(t, [2]bool{true, true}, pair(enter(start.Add(turnLimit+time.Second), false)), "nor for ever")
	turns.Leave(alice, false)
	require.Equal(t, 1+maxWaiting, woken)
	turns.Leave("sip:bob@example.org", true)
	require.Empty(t, turns.held)
}

func pair(a, b bool) [2]bool { return [2]bool{a, b} }
