package trunk

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func uri(t *testing.T, text string) (u sip.Uri) {
	require.NoError(t, request.ParseURI(text, &u))
	return u
}

func newTrunks(t *testing.T, targets ...Target) *Trunks {
	s := New(zap.NewNop())
	require.NoError(t, s.Configure([]Config{{Name: "t", Targets: targets, Avoid: 30 * time.Second}}))
	return s
}

func TestTargetsAreDrawnByWeight(t *testing.T) {
	s := newTrunks(t, Target{URI: uri(t, "sip:a"), Weight: 3}, Target{URI: uri(t, "sip:b"), Weight: 1}, Target{URI: uri(t, "sip:c"), Weight: 9, Priority: 1})
	draw := rand.New(rand.NewPCG(1, 2)).IntN
	first := map[string]int{}
	for range 4000 {
		order := s.trunk("t").order(time.Now(), draw)
		first[order[0].uri]++
		require.Equal(t, "sip:c", order[2].uri)
	}
	require.InDelta(t, 3000, first["sip:a"], 150)
	require.InDelta(t, 1000, first["sip:b"], 150)
	require.Empty(t, s.Targets("other", "1"))
}

func TestFailedTargetsComeLastForAWhile(t *testing.T) {
	s := newTrunks(t, Target{URI: uri(t, "sip:a"), Weight: 1}, Target{URI: uri(t, "sip:b"), Weight: 1, Priority: 1})
	now := time.Now()
	s.now = func() time.Time { return now }
	first := func() string { return s.Targets("t", "5")[0].URI.Host }
	b := &request.Branch{Target: s.Targets("t", "5")[0]}
	r := &request.Request{Log: zap.NewNop()}
	for _, o := range []request.Outcome{
		{Code: 486},
		{Code: 500},
		{Code: 503, Local: true}, // a limit of ours
		{Code: 487, Cancelled: true, Unreachable: true},
	} {
		s.Finished(t.Context(), r, b, o)
		require.Equal(t, "a", first(), "%+v", o)
	}
	s.Finished(t.Context(), r, b, request.Outcome{Code: 408, Local: true, Unreachable: true})
	require.Equal(t, "b", first())
	require.Len(t, s.Targets("t", "5"), 2, "still the last resort")
	require.NoError(t, s.Configure([]Config{{Name: "t", Targets: []Target{{URI: uri(t, "sip:a")}, {URI: uri(t, "sip:b"), Priority: 1}}}}))
	require.Equal(t, "b", first(), "a new configuration forgets nothing")
	now = now.Add(31 * time.Second)
	require.Equal(t, "a", first())
	s.Finished(t.Context(), r, b, request.Outcome{Code: 503, RetryAfter: time.Minute})
	now = now.Add(59 * time.Second)
	require.Equal(t, "b", first())
	s.Finished(t.Context(), r, b, request.Outcome{Code: 200})
	require.Equal(t, "a", first(), "it works")
	require.Error(t, s.Configure([]Config{{Name: "t"}, {Name: "t"}}))
}

func TestProbeThresholds(t *testing.T) {
	s, p := &target{}, Probe{DownAfter: 3, UpAfter: 2}
	var got []bool
	for _, up := range []bool{false, false, true, false, false, false, true, false, true, true} {
		s.probed(p, up, "x")
		got = append(got, s.down)
	}
	require.Equal(t, []bool{false, false, false, false, false, true, true, true, true, false}, got)
}

func TestNumbers(t *testing.T) {
	rules := []NumberRule{
		{Match: regexp.MustCompile(`^00([1-9][0-9]+)$`), Replace: "+$1"},
		{Match: regexp.MustCompile(`^0([1-9][0-9]+)$`), Replace: "+49${1}"},
		{Match: regexp.MustCompile(`^[1-9]`), Add: "+4930"},
		{Match: regexp.MustCompile(`^\*`), Strip: 9},
	}
	for number, want := range map[string]string{
		"0044123": "+44123", "030123": "+4930123", "123": "+4930123", "+1": "+1", "alice": "alice", "*1": "", "": "",
	} {
		require.Equal(t, want, apply(rules, number), number)
	}
	require.Equal(t, "x5", apply([]NumberRule{{Strip: 1, Add: "x"}}, "05"))
	long := fmt.Sprintf("%0200d", 1)
	require.Equal(t, long, apply(rules, long))
}

func message(lines ...string) *sip.Request {
	req := sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", User: "100", Host: "x"})
	for i := 0; i < len(lines); i += 2 {
		req.AppendHeader(sip.NewHeader(lines[i], lines[i+1]))
	}
	return req
}

func TestIdentityTowardsTrunk(t *testing.T) {
	calling := Rewrite{OutCalling: []NumberRule{{Match: regexp.MustCompile(`^0`), Strip: 1, Add: "+49"}}}
	for name, c := range map[string]struct {
		k              trunk
		in             []string
		user           string
		from, pai, rid string
	}{
		"as it is": {
			trunk{Config: Config{Identity: Identity{Asserted: true, Trusted: true}}}, []string{"From", "sip:al@h;tag=1"}, "al@h",
			"sip:al@h;tag=1", "<sip:al@h>", "",
		},
		"browser's own is not believed": {
			trunk{Config: Config{Identity: Identity{Asserted: true, Trusted: true}}},
			[]string{"From", `"A \"q\"" <sip:al@h>;tag=1`, "P-Asserted-Identity", "<sip:king@h>", "remote-party-id", "<sip:king@h>"}, "al@h",
			`"A \"q\"" <sip:al@h>;tag=1`, `"A \"q\"" <sip:al@h>`, "",
		},
		"a trunk's is": {
			trunk{Config: Config{Identity: Identity{Asserted: true, Trusted: true}, Rewrite: calling}},
			[]string{"From", `<sip:x@h>;tag=1`, "P-Asserted-Identity", "<sip:030@h>, <tel:+4930>"}, "",
			`<sip:x@h>;tag=1`, `<sip:+4930@h>`, "",
		},
		"number, domain and From": {
			trunk{Config: Config{Identity: Identity{RemoteParty: true, Trusted: true, Number: "7", Domain: "d", From: true}}},
			[]string{"From", `Al <sip:al@h:5070;x=y>;tag=1`}, "al@h", `"Al" <sip:7@d;x=y>;tag=1`, "", `"Al" <sip:7@d>;party=calling;screen=yes;privacy=off`,
		},
		"private, to whom may know": {
			trunk{Config: Config{Identity: Identity{Asserted: true, RemoteParty: true, Trusted: true}}},
			[]string{"From", `<sip:al@h>;tag=1`, "Privacy", "id"}, "al@h", `<sip:al@h>;tag=1`, "<sip:al@h>", `<sip:al@h>;party=calling;screen=yes;privacy=full`,
		},
		"private, to whom may not": {
			trunk{Config: Config{Identity: Identity{Asserted: true, Number: "7"}}},
			[]string{"From", `<sip:al@h>;tag=1`, "Privacy", "header; id"}, "al@h", `"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1`, "", "",
		},
		"anonymous by himself": {
			trunk{Config: Config{Identity: Identity{From: true, Number: "7", Asserted: true, Trusted: true}}},
			[]string{"From", `<sip:a@anonymous.invalid>;tag=1`}, "al@h", `<sip:a@anonymous.invalid>;tag=1`, "<sip:7@h>", "",
		},
	} {
		req := message(c.in...)
		c.k.outward(req, c.user)
		require.Equal(t, c.from, request.Header(req, "From"), name)
		require.Equal(t, c.pai, request.Header(req, headerPAI), name)
		require.Equal(t, c.rid, request.Header(req, headerRPID), name)
	}
}

func TestInwardNumbers(t *testing.T) {
	k := trunk{Config: Config{Rewrite: Rewrite{
		InCalled: []NumberRule{{Strip: 1}}, InCalling: []NumberRule{{Match: regexp.MustCompile(`^\+49`), Strip: 3, Add: "0"}},
	}}}
	req := message("From", `"A" <sip:+4930@h;user=phone>;tag=1;x`, headerPAI, "<sip:+4931@h>, <tel:+4931>", headerPAI, "<sip:b@h>")
	k.inward(req)
	require.Equal(t, "00", req.Recipient.User)
	require.Equal(t, `"A" <sip:030@h;user=phone>;tag=1;x`, request.Header(req, "From"))
	require.Len(t, req.GetHeaders(headerPAI), 2)
	require.Equal(t, "<sip:031@h>, <tel:+4931>", req.GetHeaders(headerPAI)[0].Value())
}

func TestBucket(t *testing.T) {
	b, now := newBucket(0.5), time.Now()
	require.True(t, b.take(now))
	require.False(t, b.take(now.Add(time.Second)))
	require.True(t, b.take(now.Add(2*time.Second)))
	require.True(t, newBucket(0).take(now))
}

func challenged(code int, values ...string) *sip.Response {
	res := sip.NewResponse(code, "")
	name := "WWW-Authenticate"
	if code == 407 {
		name = "Proxy-Authenticate"
	}
	for _, v := range values {
		res.AppendHeader(sip.NewHeader(name, v))
	}
	return res
}

func TestCredentials(t *testing.T) {
	a := NewAccount(Credentials{User: "u", Password: "p"})
	req := message()
	for _, bad := range []string{"", "Basic realm=x", "Digest ", `Digest realm="r", nonce="n", algorithm=NONE`, `Digest realm="r", nonce="n", qop="other"`} {
		ok, err := a.Answer(req, challenged(401, bad))
		require.False(t, ok, bad)
		require.NoError(t, err, bad)
	}
	ok, err := a.Answer(req, challenged(407, `Digest realm="r", nonce="n1", qop="auth"`))
	require.True(t, ok)
	require.NoError(t, err)
	ok, err = a.Answer(req, challenged(407, `Digest realm="r", nonce="n2", stale=TRUE, qop="auth"`))
	require.True(t, ok, "stale says that they were right")
	require.NoError(t, err)
	require.Len(t, req.GetHeaders("Proxy-Authorization"), 1)
	second := message()
	a.Authorize(second)
	require.Contains(t, request.Header(second, "Proxy-Authorization"), "nc=00000002")
	ok, err = a.Answer(second, challenged(407, `Digest realm="r", nonce="n3", qop="auth"`))
	require.True(t, ok, "the peer may have forgotten a nonce that was good")
	require.NoError(t, err)
	_, err = a.Answer(second, challenged(407, `Digest realm="r", nonce="n4", qop="auth"`))
	require.ErrorIs(t, err, ErrRefused)
	third := message()
	a.Authorize(third)
	require.Empty(t, third.GetHeaders("Proxy-Authorization"), "refused ones are not sent again")
	// Without qop a nonce is used once (RFC 2069).
	ok, err = a.Answer(third, challenged(401, `Digest realm="old", nonce="n5"`))
	require.True(t, ok)
	require.NoError(t, err)
	fourth := message()
	a.Authorize(fourth)
	require.Empty(t, fourth.GetHeaders("Authorization"))
	other := NewAccount(Credentials{User: "u", Password: "p", Realm: "mine"})
	ok, err = other.Answer(message(), challenged(401, `Digest realm="theirs", nonce="n", qop="auth"`))
	require.False(t, ok)
	require.NoError(t, err)
	for i := range 20 {
		_, _ = a.Answer(message(), challenged(401, fmt.Sprintf(`Digest realm="r%d", nonce="n", qop="auth"`, i)))
	}
	require.LessOrEqual(t, len(a.known), remembered)
}

// BenchmarkStep is what trunks cost a call that has nothing to do with them: the step, and the observer of INVITE and 200.
func BenchmarkStep(b *testing.B) {
	s := New(zap.NewNop())
	req := message("From", "<sip:a@h>;tag=1", "To", "<sip:b@h>", "Call-ID", "c", "User-Agent", "x")
	res := sip.NewResponse(200, "OK")
	sip.CopyHeaders("From", req, res)
	branch := &request.Branch{Msg: req}
	b.ReportAllocs()
	for b.Loop() {
		r := &request.Request{Msg: req, Original: req, User: "a@h", Log: zap.NewNop()}
		_, _ = s.Handle(b.Context(), r)
		_ = s.Outgoing(b.Context(), r, branch)
		_ = s.Incoming(b.Context(), r, branch, res)
		s.Finished(b.Context(), r, branch, request.Outcome{Code: 200})
	}
}
