package conformance

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	list, err := Parse("area/file", strings.NewReader(`About the file.

## a call
What it shows.

> offer A B {"flags": ["x"], "call-id": null}
    v=0
    s=-
< ok {"warning": "w"}
    v=0
>json ping
again
< same
A2 sends rtp pt=8 payload=x
B receives nothing

## another
raw {cookie} de
`))
	require.NoError(t, err)
	require.Len(t, list, 2)
	s := list[0]
	require.Equal(t, "area/file: a call", s.Name)
	require.Equal(t, "What it shows.", s.Text)
	require.Len(t, s.Steps, 5)
	offer := s.Steps[0]
	require.Equal(t, []string{"offer", "A", "B"}, []string{offer.Command, offer.Party, offer.To})
	require.Equal(t, []string{"v=0", "s=-"}, offer.Body)
	require.Equal(t, &Want{Result: "ok", Keys: map[string]any{"warning": "w"}, Body: []string{"v=0"}}, offer.Want)
	require.True(t, s.Steps[1].JSON)
	require.Equal(t, Repeat, s.Steps[2].Kind)
	require.Equal(t, map[string]string{"kind": "rtp", "pt": "8", "payload": "x"}, s.Steps[3].Packet)
	require.Equal(t, Receive, s.Steps[4].Kind)
	require.Equal(t, "{cookie} de", list[1].Steps[0].Command)
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"body without request":  "    v=0",
		"no command":            "> ",
		"no command, keys only": `> {"a": 1}`,
		"broken keys":           `> ping {"a"`,
		"reply without request": "< ok",
		"two replies":           "> ping\n< pong\n< pong",
		"reply to a packet":     "A sends rtp pt=0\n< ok",
		"unknown packet":        "A sends fax",
		"nothing to send":       "A sends nothing",
		"field without value":   "A sends rtp pt",
		"text behind a step":    "> ping\nhello",
	} {
		_, err := Parse("x", strings.NewReader("## t\n"+text+"\n"))
		require.ErrorIs(t, err, ErrSyntax, name)
		require.ErrorContains(t, err, "x.txt:", name)
	}
}

func TestNormalizer(t *testing.T) {
	var n normalizer
	n.note("m=audio 10000 RTP/AVP 0\nc=IN IP4 192.0.2.1\na=ice-ufrag:mine")
	require.Equal(t, []string{
		"v=0", "c=IN IP4 {ip1}",
		"m=audio {port1} RTP/AVP 0",
		"a=candidate:{foundation} 1 UDP 4 {ip} {port} typ host",
		"a=candidate:{foundation} 1 UDP 5 {ip1} {port1} typ host",
		"a=crypto:{tag} S2 inline:{key}", "a=crypto:{tag} S1 inline:{key}|2^31",
		"a=ice-ufrag:mine", "a=rtcp:{port1+1}",
		"m=audio 0 RTP/AVP 0", "m=audio 10000 RTP/AVP 0", "m=audio {port2} RTP/AVP 0",
		"a=ice-pwd:{ice-pwd}",
	}, unordered(n.body(strings.Join([]string{
		"v=0", "c=IN IP4 203.0.113.1", "m=audio 30000 RTP/AVP 0",
		"a=rtcp:30001", "a=ice-ufrag:mine",
		"a=crypto:1 S2 inline:AAAA", "a=crypto:2 S1 inline:BBBB|2^31",
		"a=candidate:x 1 UDP 5 203.0.113.1 30000 typ host",
		"a=candidate:y 1 UDP 4 2001:db8::1 40000 typ host",
		"m=audio 0 RTP/AVP 0", "m=audio 10000 RTP/AVP 0", "m=audio 30002 RTP/AVP 0", "a=ice-pwd:other", "",
	}, "\r\n"))))
}

func TestExceptions(t *testing.T) {
	list, err := ParseExceptions(strings.NewReader("# c\n\n- area/* | a=x* | why\n+ * | a=y | why\n"))
	require.NoError(t, err)
	s := Scenario{Name: "area/file: t"}
	require.Nil(t, difference(Runner{}, s, Event{}, []string{"v=0", "a=x1"}, []string{"v=0"}, list))
	require.ErrorIs(t, list.Stale(), ErrStale)
	require.NotNil(t, difference(Runner{}, s, Event{}, []string{"v=0"}, []string{"v=0", "a=x1"}, list), "the sign counts")
	require.NotNil(t, difference(Runner{}, Scenario{Name: "other: t"}, Event{}, []string{"a=x1"}, nil, list), "the scenario counts")
	require.Nil(t, difference(Runner{}, s, Event{}, nil, []string{"a=y"}, list))
	require.NoError(t, list.Stale())
	for _, bad := range []string{"x * | a | b", "- a | b", "- a | b | "} {
		_, err := ParseExceptions(strings.NewReader(bad))
		require.ErrorIs(t, err, ErrSyntax, bad)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"a*", "abc", true}, {"*c", "abc", true},
		{"a*c*e", "abcde", true}, {"a*x*e", "abcde", false}, {"ab*bc", "abc", false},
	} {
		require.Equal(t, c.want, glob(c.pattern, c.text), "%s %s", c.pattern, c.text)
	}
}

func TestBuiltinScenariosExpectSomething(t *testing.T) {
	list, err := Builtin()
	require.NoError(t, err)
	names := map[string]bool{}
	for _, s := range list {
		require.False(t, names[s.Name], "two scenarios are called %s", s.Name)
		names[s.Name] = true
		require.NotEmpty(t, s.Steps, s.Name)
		for _, step := range s.Steps {
			if step.Kind <= Repeat {
				require.NotNil(t, step.Want, "%s line %d", s.Name, step.Line)
			}
		}
	}
}

// TestCheckAgainstParrot plays to a daemon that says pong to everything.
func TestCheckAgainstParrot(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 65535)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			cookie, _, _ := strings.Cut(string(buffer[:n]), " ")
			_, _ = conn.WriteTo(fmt.Appendf(nil, "%s d6:result4:ponge", cookie), from)
		}
	}()
	defer func() {
		require.NoError(t, conn.Close())
		<-done
	}()
	list, err := Parse("p", strings.NewReader("## good\n> ping\n< pong\nagain\n< same\n## bad\n> offer A\n< ok\n    v=0\n"))
	require.NoError(t, err)
	r := Runner{Target: "udp:" + conn.LocalAddr().String()}
	good := Check(r, list[0], nil)
	require.True(t, good.Passed(), "%v %v", good.Diff, good.Err)
	bad := Check(r, list[1], nil)
	require.Equal(t, []string{"p.txt:7: reply to offer (- expected, + got, ~ accepted)", "- result: ok", "- v=0", "+ result: pong"}, bad.Diff)
	require.True(t, Compare(r, r, list[1], nil).Passed(), "two daemons that do the same differ in nothing")
	var record strings.Builder
	require.NoError(t, Write(&record, "## t\n> ping\n", []Event{{Line: 2, Lines: []string{"result: pong"}}}, false))
	require.Equal(t, "## t\n> ping\n< pong\n", record.String())
}

func TestPackets(t *testing.T) {
	b, err := build(map[string]string{"kind": "rtp", "pt": "8", "seq": "7", "ts": "160", "ssrc": "0x10", "marker": "1", "payload": "hello"})
	require.NoError(t, err)
	require.Equal(t, "rtp pt=8 marker=1 seq=7 ts=160 ssrc=0x10 payload=hello", describe(b))
	b, err = build(map[string]string{"kind": "rtcp", "ssrc": "0x10"})
	require.NoError(t, err)
	require.Equal(t, "rtcp type=201 ssrc=0x10", describe(b))
	_, err = build(map[string]string{"kind": "rtp", "colour": "red"})
	require.Error(t, err)
	require.Equal(t, "other hex=00", describe([]byte{0}))
}
