package call

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// paperCall is a call without media, for the rules of tags.
func paperCall() *Call {
	r := NewRegistry(Config{Log: zap.NewNop()})
	return newCall(r, "call", time.Now())
}

// pass adopts what an offer or answer means, as if it had succeeded.
func pass(t *testing.T, c *Call, command ng.Command, req ng.Request) dialogue {
	t.Helper()
	req.Command = command
	before := len(c.parties)
	var d dialogue
	if command == ng.CommandAnswer {
		var err error
		d, _, err = c.answerDialogue(&req, time.Now())
		require.NoError(t, err)
	} else {
		d = c.offerDialogue(&req, time.Now())
	}
	require.Len(t, c.parties, before, "looking changes the call")
	c.adopt(d, &req)
	return d
}

func offer(t *testing.T, c *Call, from, to, branch string) dialogue {
	t.Helper()
	return pass(t, c, ng.CommandOffer, ng.Request{FromTag: from, ToTag: to, ViaBranch: branch})
}

func answer(t *testing.T, c *Call, from, to, branch string, code int, flags ...ng.Flag) dialogue {
	t.Helper()
	return pass(t, c, ng.CommandAnswer, ng.Request{
		FromTag: from, ToTag: to, ViaBranch: branch, SIPCode: code, Flags: ng.FlagsOf(flags...),
	})
}

func TestAnswererGetsItsTag(t *testing.T) {
	c := paperCall()
	first := offer(t, c, "a", "", "")
	require.Empty(t, first.to.tag)
	require.Same(t, first.to, offer(t, c, "a", "", "").to, "a repeated offer goes to somebody else")
	d := answer(t, c, "a", "b", "", 200)
	require.Same(t, first.to, d.from)
	require.Same(t, first.from, d.to)
	require.Equal(t, "b", d.from.tag)
	require.Equal(t, "b", d.from.present.snapshot.Tag)

	back := offer(t, c, "b", "a", "") // a re-INVITE of the callee
	require.Same(t, d.from, back.from)
	require.Same(t, d.to, back.to)
	require.Len(t, c.parties, 2)
}

func TestOfferOfTheCalleeBeforeItsAnswer(t *testing.T) {
	c := paperCall()
	first := offer(t, c, "a", "", "")
	d := offer(t, c, "b", "a", "") // UPDATE in an early dialog
	require.Same(t, first.to, d.from)
	require.Equal(t, "b", d.from.tag)
}

func TestBranchesAreDifferentParties(t *testing.T) {
	c := paperCall()
	one, two := offer(t, c, "a", "", "br1"), offer(t, c, "a", "", "br2")
	require.NotSame(t, one.to, two.to)
	require.Same(t, one.from, two.from)
	require.Same(t, one.to, offer(t, c, "a", "", "br1").to)
	require.Same(t, two.to, answer(t, c, "a", "b2", "br2", 200).from)
	require.Same(t, one.to, answer(t, c, "a", "b1", "br1", 200).from)
	require.Same(t, one.to, one.from.peer, "the last to answer is the peer")
}

func TestOfferWithANewToTag(t *testing.T) {
	c := paperCall()
	first := offer(t, c, "a", "", "")
	second := offer(t, c, "a", "b", "")
	require.NotSame(t, first.to, second.to, "who has not answered is somebody else")
	require.Equal(t, "b", second.to.tag)
	require.Empty(t, first.to.tag)
	require.NotSame(t, second.to, offer(t, c, "a", "c", "").to)
}

func TestFurtherTagsAreFurtherParties(t *testing.T) {
	c := paperCall()
	first := offer(t, c, "a", "", "")
	answer(t, c, "a", "b1", "", 180)
	first.to.present.snapshot.Sides = make([]negotiate.Side, 1)
	second := answer(t, c, "a", "b2", "", 183)
	require.NotSame(t, first.to, second.from)
	require.Len(t, second.from.present.snapshot.Sides, 1, "it got the same offer")
	require.Len(t, first.to.present.snapshot.Sides, 1, "the first fork may go on")
	require.Greater(t, second.from.turn, first.to.turn, "the ports belong to the latest")
	require.Same(t, second.from, second.to.peer)
	require.Same(t, second.from, offer(t, c, "b2", "a", "").from)
	again := answer(t, c, "a", "b1", "", 200)
	require.Same(t, first.to, again.from)
	require.Same(t, again.from, again.to.peer)
}

// What rtpengine 10.5 makes of tags that fit nothing.
func TestOddTags(t *testing.T) {
	c := paperCall()
	d := offer(t, c, "a", "a", "")
	require.NotSame(t, d.from, d.to, "nobody calls himself")
	_, _, err := c.answerDialogue(&ng.Request{FromTag: "a", ToTag: "a"}, time.Now())
	require.ErrorIs(t, err, ng.ReasonInvalidAssociation)
	for _, req := range []ng.Request{{FromTag: "stranger", ToTag: "b"}, {FromTag: "stranger", ToTag: "a"}} {
		d, fresh, err := c.answerDialogue(&req, time.Now())
		require.NoError(t, err)
		require.True(t, fresh, "nothing was offered")
		require.Equal(t, req.FromTag, d.to.tag)
		require.Equal(t, req.ToTag, d.from.tag)
	}
}

func TestPartiesAreBounded(t *testing.T) {
	c := paperCall()
	offer(t, c, "a", "", "")
	for i := range 2 * maxParties {
		req := ng.Request{Command: ng.CommandOffer, FromTag: "a", ViaBranch: string(rune('A' + i))}
		d := c.offerDialogue(&req, time.Now())
		if c.crowded(d) {
			return
		}
		c.adopt(d, &req)
	}
	t.Error("parties without end")
}

func TestWhoHearsWhom(t *testing.T) {
	c := paperCall()
	one, two := offer(t, c, "a", "", "br1"), offer(t, c, "a", "", "br2")
	a := one.from
	hears := func(q, p *party) bool { s := q.subscriptionTo(p); return s != nil && s.heard() }
	require.True(t, hears(a, one.to), "early media of the first branch")
	require.True(t, hears(a, two.to), "early media of the second branch")
	require.False(t, hears(one.to, a), "one dialogue at a time")
	answer(t, c, "a", "b1", "br1", 200)
	require.True(t, hears(a, one.to))
	require.True(t, hears(one.to, a))
	require.False(t, hears(a, two.to), "the branch that has lost goes on talking")

	subscribe(two.to, a, []int{0})
	answer(t, c, "a", "b1", "br1", 200)
	require.True(t, hears(two.to, a), "an answer ends a subscription of another kind")
	two.to.withdraw()
	require.Nil(t, two.to.subscriptionTo(a))
	require.Len(t, a.subscribers, 1)
}

func TestDeletion(t *testing.T) {
	now := time.Now()
	forked := func() (c *Call, a, b1, b2 *party) {
		c = paperCall()
		one, two := offer(t, c, "a", "", "br1"), offer(t, c, "a", "", "br2")
		answer(t, c, "a", "b1", "br1", 200)
		return c, one.from, one.to, two.to
	}
	for name, test := range map[string]struct {
		req   ng.Request
		gone  []string // via-branches of the parties that go; "" is the caller
		whole bool
	}{
		"call":             {ng.Request{}, nil, true},
		"caller":           {ng.Request{FromTag: "a"}, nil, true},
		"branch":           {ng.Request{FromTag: "a", ViaBranch: "br2"}, []string{"br2"}, false},
		"answered branch":  {ng.Request{FromTag: "a", ViaBranch: "br1"}, []string{"br1"}, false},
		"to-tag":           {ng.Request{FromTag: "a", ToTag: "b1"}, []string{"br1"}, false},
		"to-tag first":     {ng.Request{FromTag: "a", ToTag: "b1", ViaBranch: "br2"}, []string{"br1"}, false},
		"to-tag alone":     {ng.Request{FromTag: "x", ToTag: "b1"}, []string{"br1"}, false},
		"via at last":      {ng.Request{FromTag: "a", ToTag: "x", ViaBranch: "br2"}, []string{"br2"}, false},
		"no from-tag":      {ng.Request{ToTag: "b1", ViaBranch: "br1"}, nil, true},
		"callee":           {ng.Request{FromTag: "b1"}, []string{"br1"}, false},
		"unknown with via": {ng.Request{FromTag: "x", ViaBranch: "br2"}, []string{"br2"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, a, b1, b2 := forked()
			target, ok := c.deletionTarget(&test.req)
			require.True(t, ok)
			require.Equal(t, test.whole, c.scheduleDeletion(target, now))
			if test.whole {
				require.Equal(t, endDeleted, c.due(now, &limits.Values{}))
				return
			}
			require.Empty(t, c.due(now, &limits.Values{}))
			c.dropParties(now)
			left := map[*party]string{a: "", b1: "br1", b2: "br2"}
			for _, p := range c.parties {
				delete(left, p)
			}
			var gone []string
			for _, branch := range left {
				gone = append(gone, branch)
			}
			require.ElementsMatch(t, test.gone, gone)
			require.NotNil(t, a.peer)
		})
	}
	c, _, _, _ := forked()
	for _, req := range []ng.Request{{FromTag: "x"}, {FromTag: "a", ToTag: "x", Flags: ng.FlagsOf(ng.FlagToTag)}} {
		_, ok := c.deletionTarget(&req)
		require.False(t, ok)
	}
}

func TestDueTimes(t *testing.T) {
	l := &limits.Values{Timeout: time.Minute, SilentTimeout: time.Hour, OfferTimeout: 2 * time.Minute, FinalTimeout: 3 * time.Hour}
	c := paperCall()
	at := func(d time.Duration) time.Time { return c.created.Add(d) }
	offer(t, c, "a", "", "")
	require.Empty(t, c.due(at(119*time.Second), l))
	require.Equal(t, endOffer, c.due(at(121*time.Second), l))
	answer(t, c, "a", "b", "", 200)
	c.quietAt = time.Time{} // as a commit does
	require.Empty(t, c.due(at(59*time.Second), l))
	require.Equal(t, endTimeout, c.due(at(61*time.Second), l))
	c.lastSignal, c.quietAt = at(2*time.Hour), time.Time{}
	require.Empty(t, c.due(at(2*time.Hour+59*time.Second), l))
	require.Equal(t, endFinal, c.due(at(3*time.Hour), l))
	require.Empty(t, c.due(at(2*time.Hour+59*time.Second), &limits.Values{}), "limits of 0 mean never")
	c.deleteAt = at(time.Second)
	require.Empty(t, c.due(at(0), l))
	require.Equal(t, endDeleted, c.due(at(time.Second), l))
}
