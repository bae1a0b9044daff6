package route

import (
	"net/netip"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// flow is a connection as conditions see it.
type flow struct{ request.Connection }

func (flow) Listener() string             { return "inside" }
func (flow) Transport() request.Transport { return request.TCP }

func asked(t testing.TB) *question {
	var uri sip.Uri
	require.NoError(t, request.ParseURI("sip:0044123@Example.org", &uri))
	msg := sip.NewRequest(sip.INVITE, uri)
	msg.AppendHeader(sip.NewHeader("From", `"PBX" <sip:200@pbx.Example>;tag=1`))
	msg.AppendHeader(sip.NewHeader("X-Foo", "1"))
	return &question{
		r: &request.Request{
			Msg: msg, Original: msg, Conn: flow{}, Source: netip.MustParseAddrPort("192.0.2.9:5060"), Trunk: "pbx", Log: zap.NewNop(),
		},
		user: uri.User, domain: "example.org", own: true,
	}
}

const sample = `method == "INVITE" && user matches "^00" && trunk == "pbx" && header("X-Foo") == "1"`

func TestConditions(t *testing.T) {
	q := asked(t)
	for text, want := range map[string]bool{
		sample: true,
		`domain == "example.org" && from_user == "200" && from_domain == "pbx.example" && caller == ""`: true,
		`source == "192.0.2.9" && network("192.0.2.0/24") && not network("2001:db8::/32")`:              true,
		`listener == "inside" && transport in ["tcp", "tls"]`:                                           true,
		`user startsWith "0044" and len(user) > 5 or false`:                                             true,
		`header("absent") != "" || upper(from_user) contains "X"`:                                       false,
		`user not matches "^00"`: false,
	} {
		c, err := Compile(text)
		require.NoError(t, err, text)
		got, err := c.holds(q)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		require.Equal(t, text, c.String())
	}
}

func TestConditionsAreCheckedAtLoad(t *testing.T) {
	for text, want := range map[string]string{
		`methd == "INVITE"`:                "column 1: unknown name methd",
		`method == 1`:                      "column 8: invalid operation: == (mismatched types string and int)",
		`user`:                             "expected bool, but got string",
		`method == "INVITE" &&`:            "column 21: unexpected token EOF",
		`user matches "("`:                 "column 6: error parsing regexp",
		`user matches from_user`:           "column 14: matches needs a constant",
		`network(header("x"))`:             "network needs a constant",
		`network("10.0.0.0/99")`:           `column 9: "10.0.0.0/99" is neither`,
		`header("a", "b") == ""`:           "too many arguments",
		`all(1..100000000, # > 0)`:         ".. is not allowed",
		`any([1, 2], # > 0)`:               "column 13: loops are not allowed",
		`len(1..9999999999) > 0`:           "column 6: .. is not allowed",
		`repeat("a", 1000000000) == user`:  "unknown name repeat",
		`2 ** 400 > 1`:                     "** is not allowed",
		`now() > now()`:                    "unknown name now",
		`let x = user; x + x + x == "abc"`: "let is not allowed",
	} {
		_, err := Compile(text)
		require.ErrorContains(t, err, want, text)
	}
	_, err := Compile(string(make([]byte, 5000)))
	require.ErrorContains(t, err, "longer than 4096")
}

func TestConditionsAreBounded(t *testing.T) {
	q := asked(t)
	q.r.Msg.AppendHeader(sip.NewHeader("Long", string(make([]byte, 60000))))
	c, err := Compile(`header("Long") matches "^(a|aa|.)*$" && header("Long") matches "(x+x+)+y"`)
	require.NoError(t, err)
	start := time.Now()
	_, err = c.holds(q)
	require.NoError(t, err)
	require.Less(t, time.Since(start), time.Second)
}

func TestConditionsChooseRoutes(t *testing.T) {
	s, _ := newStep(t)
	c := *s.current.Load()
	gold, err := Compile(`caller == "alice@example.org" && header("X-Class") == "gold"`)
	require.NoError(t, err)
	c.Trunks = groups{"a": {"sip:a1", "sip:a2"}, "b": {"sip:b1"}}
	c.Rules = append([]Rule{{Name: "gold", Users: true, Pattern: c.Rules[1].Pattern, When: gold, Strip: 1, Action: ActionTrunks, To: []string{"a", "b"}, Timeout: time.Minute}}, c.Rules...)
	s.Configure(c)
	r, _, err := handle(t, s, "INVITE", "sip:0123@example.org", "alice@example.org", "")
	require.NoError(t, err)
	require.Len(t, r.Targets, 1, "the next rule")
	require.Equal(t, "carrier.example", r.Targets[0].URI.Host)

	r.Targets, r.User = nil, "alice@example.org"
	r.Msg.AppendHeader(sip.NewHeader("X-Class", "gold"))
	e := s.Explain(t.Context(), r)
	require.Equal(t, []Considered{{Name: "gold"}}, e.Rules)
	require.Equal(t, "a route leads to trunks", e.Why)
	require.Nil(t, r.Targets, "explaining changes nothing")
	_, err = s.Handle(t.Context(), r)
	require.NoError(t, err)
	require.Len(t, r.Targets, 3)
	for i, want := range []string{"sip:123@a1", "sip:123@a2", "sip:123@b1"} {
		require.Equal(t, want, r.Targets[i].URI.String())
		require.Equal(t, want, e.Targets[i].URI.String())
		require.Equal(t, 1000-i, r.Targets[i].Q)
		require.Equal(t, time.Minute, r.Targets[i].Timeout)
	}

	r, _, err = handle(t, s, "INVITE", "sip:0900@example.org", "alice@example.org", "")
	require.Error(t, err)
	e = s.Explain(t.Context(), r)
	require.Equal(t, 403, e.Code)
	require.Equal(t, []Considered{{Name: "gold", Reason: "not true: " + gold.String()}, {Name: "premium", Index: 1}}, e.Rules)
	require.Contains(t, e.Why, "rejected by a route")
}

type groups map[string][]string

func (g groups) Targets(name, user string) []request.Target {
	var out []request.Target
	for _, u := range g[name] {
		t := request.Target{Trunk: name}
		if request.ParseURI(u, &t.URI) == nil {
			t.URI.User = user
			out = append(out, t)
		}
	}
	return out
}

// BenchmarkCondition compares a condition with the same test written in Go.
func BenchmarkCondition(b *testing.B) {
	q := asked(b)
	c, err := Compile(sample)
	require.NoError(b, err)
	b.Run("condition", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if ok, err := c.holds(q); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("with environment", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			q.environment = nil
			if ok, err := c.holds(q); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}
