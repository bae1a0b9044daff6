package bridge

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// desk is the dialogs of a fixture: it sends re-INVITEs through the step and answers them in the order of the call.
type desk struct {
	f       *fixture
	mu      sync.Mutex // the order of the call
	profile map[string]string
	busy    int
	codes   []int // of the next re-INVITEs; 200 afterwards
	asked   []string
	ended   chan string
}

func (d *desk) Post(_ string, run func(context.Context)) bool {
	go func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		run(context.Background())
	}()
	return true
}

func (d *desk) Inform(_ context.Context, _ string, _ int, from, to, contentType, body string) error {
	d.asked = append(d.asked, from+">"+to+" "+contentType+" "+body)
	return nil
}

func (d *desk) End(callID string) { d.ended <- callID }

func (d *desk) Reinvite(_ context.Context, _ string, _ int, from, to, sdp string, done func(context.Context, int, time.Duration)) error {
	if d.busy > 0 {
		d.busy--
		return request.ErrBusy
	}
	code := 200
	if len(d.codes) > 0 {
		code, d.codes = d.codes[0], d.codes[1:]
	}
	tr, err := d.f.send("INVITE", leg{from, d.profile[from]}, to, sdp, leg{to, d.profile[to]})
	if err != nil {
		code = 503
		d.asked = append(d.asked, from+">"+to+" "+sdp+" failed")
	} else {
		d.asked = append(d.asked, from+">"+to+" "+tr.body(0))
		tr.r.Conn = nil
		if code == 200 {
			tr.respond(0, 200, to, "v=0\r\no=- 9 9 IN IP4 h\r\ns="+to+" anew\r\na=ice-ufrag:new\r\n")
		}
	}
	tr.finish(0, request.Outcome{Code: code, Last: true})
	d.Post("", func(ctx context.Context) { done(ctx, code, 0) })
	return nil
}

// moving is a call of a page with ICE and a phone, which the fixture's step has served; it waits for its move.
func moving(t *testing.T) (*fixture, *desk) {
	f := newFixture(t)
	d := &desk{f: f, profile: map[string]string{"a": "webrtc", "b": "sip"}, ended: make(chan string, 1)}
	f.step.Serve(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	invite, err := f.send("INVITE", page, "", "v=0\r\no=- 1 1 IN IP4 h\r\ns=page\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=candidate:1\r\na=setup:actpass\r\n", phone)
	require.NoError(t, err)
	invite.respond(0, 200, "b", "v=0\r\no=- 2 2 IN IP4 h\r\ns=phone\r\n")
	invite.finish(0, request.Outcome{Code: 200})
	return f, d
}

// settle waits for the end of the move of the one call.
func (d *desk) settle(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		c := d.f.step.find("call")
		return c.moved && c.move == nil
	}, 10*time.Second, 5*time.Millisecond)
}

// The side with ICE is asked first, with what the phone said last; then the phone, with the page's answer.
func TestMoveAsksTheSideWithICEFirst(t *testing.T) {
	f, d := moving(t)
	d.busy = 2
	f.step.Move("call", "unknown")
	d.settle(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Len(t, d.asked, 2)
	require.Contains(t, d.asked[0], "b>a ")
	require.Contains(t, d.asked[0], "s=phone")
	require.Contains(t, d.asked[1], "a>b ")
	require.Contains(t, d.asked[1], "s=a anew")
	lines := f.daemon.lines()[2:]
	require.Len(t, lines, 4)
	for i, want := range []string{"offer b>a", "answer b>a", "offer a>b", "answer a>b"} {
		require.True(t, strings.HasPrefix(lines[i], want), "%v", lines)
	}
	require.Equal(t, "a", f.step.find("call").agreed.offer.tag)
}

// 491 is waited out, 500 tried again, a daemon that fails with the answer begins anew; 488 is final, and 481 ends the call.
func TestMoveMeetsRefusals(t *testing.T) {
	t.Run("491 and 500", func(t *testing.T) {
		t.Parallel()
		f, d := moving(t)
		d.codes = []int{491, 500, 200, 491}
		began := time.Now()
		f.step.Move("call")
		d.settle(t)
		d.mu.Lock()
		defer d.mu.Unlock()
		require.Len(t, d.asked, 5)
		// In the page's name, who made the Call-ID, it is 2.1 s at least (RFC 3261 §14.1).
		require.Greater(t, time.Since(began), 3100*time.Millisecond)
		for _, l := range f.daemon.lines()[2:5] {
			require.True(t, strings.HasPrefix(l, "offer b>a") || strings.HasPrefix(l, "answer b>a"), "nothing is rolled back to the old daemon: %s", l)
		}
	})
	t.Run("488", func(t *testing.T) {
		t.Parallel()
		f, d := moving(t)
		d.codes = []int{488}
		f.step.Move("call")
		d.settle(t)
		d.mu.Lock()
		defer d.mu.Unlock()
		require.Len(t, d.asked, 1)
		require.Empty(t, d.ended)
	})
	t.Run("481", func(t *testing.T) {
		t.Parallel()
		f, d := moving(t)
		d.codes = []int{200, 481}
		f.step.Move("call")
		d.settle(t)
		require.Equal(t, "call", <-d.ended)
	})
	t.Run("daemon", func(t *testing.T) {
		t.Parallel()
		f, d := moving(t)
		f.daemon.mu.Lock()
		f.daemon.failures = []error{nil, ngclient.ErrTimeout}
		f.daemon.mu.Unlock()
		f.step.Move("call")
		d.settle(t)
		d.mu.Lock()
		defer d.mu.Unlock()
		require.Len(t, d.asked, 3)
		require.Equal(t, []string{"call"}, f.daemon.released)
	})
}

// A daemon that dies between offer and answer costs the call nothing: another one takes both.
func TestDaemonLostInSetup(t *testing.T) {
	f := newFixture(t)
	d := &desk{f: f, profile: map[string]string{"a": "webrtc", "b": "sip"}, ended: make(chan string, 1)}
	f.step.Serve(d)
	d.mu.Lock()
	invite, err := f.send("INVITE", page, "", "v=o", phone)
	require.NoError(t, err)
	f.daemon.failures = []error{ngclient.ErrReleased}
	res := invite.respond(0, 200, "b", "v=a")
	require.Equal(t, "v=0 answer#4(v=a)", string(res.Body()))
	invite.finish(0, request.Outcome{Code: 200})
	d.mu.Unlock()
	d.settle(t)
	want := []string{"offer a> v=o" + phoneWay, "answer a>b v=a" + browserWay, "offer a> v=o" + phoneWay, "answer a>b v=a" + browserWay}
	require.Equal(t, want, f.daemon.lines()[:4])
	require.Equal(t, []string{"call"}, f.daemon.released)
	require.Len(t, d.asked, 2, "the phone has the ports of the daemon that is lost")
}

func TestMovesAreLimited(t *testing.T) {
	f, d := moving(t)
	p := *f.step.policy.Load()
	p.MovesPerSecond = 20
	f.step.Configure(p)
	calls := make([]string, 11)
	for i := range calls {
		calls[i] = "nobody"
	}
	calls[10] = "call"
	began := time.Now()
	f.step.Move(calls...)
	d.settle(t)
	require.Greater(t, time.Since(began), 450*time.Millisecond, "11 calls at 20 a second")
}

func TestOriginGoesOn(t *testing.T) {
	seed := maphash.MakeSeed()
	sdp := func(version, rest string) string { return "v=0\r\no=u 7 " + version + " IN IP4 h\r\n" + rest }
	c := &call{}
	require.Equal(t, sdp("5", "x"), c.stamp(seed, "", sdp("5", "x")))
	require.Equal(t, sdp("9", "y"), c.stamp(seed, "b", sdp("9", "y")), "as the side counts")
	c.moved = true
	require.Equal(t, sdp("9", "y"), c.stamp(seed, "b", "v=0\r\no=u 3 1 IN IP4 h\r\ny"), "nothing changed")
	require.Equal(t, sdp("10", "z"), c.stamp(seed, "b", "v=0\r\no=u 3 1 IN IP4 h\r\nz"))
	require.Equal(t, sdp("11", "y"), c.stamp(seed, "b", sdp("10", "y")))
	require.Equal(t, sdp("6", "q"), c.stamp(seed, "c", sdp("1", "q")), "told before it had a tag")
	for _, odd := range []string{"", "v=0\r\n", "v=0\no=x", "v=0\no=a b c d e f\n"} {
		require.Equal(t, odd, c.stamp(seed, "b", odd))
	}
}

func TestRename(t *testing.T) {
	const sdp = "v=0\r\na=group:BUNDLE 1 2\r\na=group:LS 1 x\r\nm=audio 1 X 0\r\na=mid:1\r\nm=video 1 X 0\r\na=mid:2\r\nm=x\r\n"
	require.Equal(t, []string{"1", "2", ""}, midsOf(sdp))
	require.Equal(t, "v=0\r\na=group:BUNDLE 2 1\r\na=group:LS 2 x\r\nm=audio 1 X 0\r\na=mid:2\r\nm=video 1 X 0\r\na=mid:1\r\nm=x\r\n",
		rename(sdp, []string{"2", "1", "3", "4"}))
	for _, known := range [][]string{nil, {""}, {"", "", "9"}} {
		require.Equal(t, sdp, rename(sdp, known))
	}
}

func TestWithoutICE(t *testing.T) {
	const sdp = "v=0\r\na=ice-lite\r\na=ice-options:trickle\r\nm=audio 1 X 0\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=candidate:1 1\r\na=end-of-candidates\r\na=fingerprint:sha-256 A\r\na=icecream:x"
	require.Equal(t, "v=0\r\nm=audio 1 X 0\r\na=fingerprint:sha-256 A\r\na=icecream:x", withoutICE(sdp))
	require.Equal(t, "v=0\r\na=candidate:1", withoutICE("v=0\r\na=candidate:1"))
}
