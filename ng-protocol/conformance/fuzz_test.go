package conformance

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// FuzzParse: scenario files are written by people.
func FuzzParse(f *testing.F) {
	f.Add("## t\n> offer A B {\"flags\": [\"x\"]}\n    v=0\n< ok {\"a\": {\"?\": \"b\"}}\n    v=0\nA sends rtp pt=0\nB receives nothing\nA connects dtls\nraw x\nagain\n< same\n")
	f.Add("## t\n>json ping {\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Parse("x", strings.NewReader(text))
		if err != nil {
			require.ErrorIs(t, err, ErrSyntax)
			return
		}
		for _, s := range list {
			again, err := Parse("x", strings.NewReader(Format(s)))
			require.NoError(t, err, "%q", Format(s))
			require.Len(t, again, 1)
		}
	})
}

// FuzzMessageEnd: a TCP stream of any bytes; a message never ends behind it, and
// a complete message ends at its end.
func FuzzMessageEnd(f *testing.F) {
	for _, s := range []string{"c d6:result4:ponge", "c d1:ali7e3:abcee", "c d6:result", "c i5e", "c 99999999999999999999:", "c d-1:e"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		end := messageEnd(b)
		require.True(t, end >= 0 && end <= len(b))
		if end > 0 {
			require.Equal(t, end, messageEnd(b[:end]))
		}
	})
}

// FuzzGenerator: every conversation of the grammars can be written, read and
// sent, and the examined daemon's own decoder understands it.
func FuzzGenerator(f *testing.F) {
	f.Add(uint64(1), uint16(0))
	f.Add(uint64(7), uint16(4711))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16) {
		g := Generator{Seed: seed}
		for _, s := range []Scenario{g.Scenario(int(n)), g.Requests(int(n))} {
			require.NotEmpty(t, s.Steps)
			for _, step := range s.Steps {
				keys := map[string]any{"command": step.Command, "call-id": "c", "sdp": strings.Join(step.Body, "\r\n")}
				for key, v := range step.Keys {
					keys[key] = v
				}
				for _, isJSON := range []bool{false, true} {
					body, err := encode(keys, isJSON)
					require.NoError(t, err)
					if _, _, err := ng.DecodeRequest(body); err != nil {
						require.NotEmpty(t, ng.Fail(err).Reason, "%q", body)
					}
				}
			}
		}
	})
}

// FuzzNormalizer: replies come from a daemon that may be wrong in any way.
func FuzzNormalizer(f *testing.F) {
	f.Add("v=0\r\no=- 1 2 IN IP4 203.0.113.1\r\nc=IN IP4 203.0.113.1\r\nm=audio 30000/2 RTP/AVP 0\r\na=rtcp:30001 IN IP4 203.0.113.1\r\na=candidate:1 1 UDP 1 203.0.113.1 30000 typ host raddr 203.0.113.1 rport 1\r\na=crypto:1 S inline:AAAA|1:1")
	f.Fuzz(func(t *testing.T, body string) {
		var n normalizer
		once := n.body(body)
		require.Equal(t, once, n.body(body), "the second time the same")
		unordered(once)
	})
}

func TestShrinkFindsTheCause(t *testing.T) {
	s := Generator{Seed: 3}.Scenario(5)
	s.Steps = append(s.Steps, Step{Kind: Ask, Command: "query", Keys: map[string]any{"flags": []any{"a", "b", "cause", "d"}, "x": map[string]any{"y": "z"}}})
	small := shrink(s, func(s Scenario) bool {
		for _, step := range s.Steps {
			if list, ok := step.Keys["flags"].([]any); ok && step.Command == "query" && slices.Contains(list, any("cause")) {
				return true
			}
		}
		return false
	})
	require.Len(t, small.Steps, 1)
	require.Equal(t, map[string]any{"flags": []any{"cause"}}, small.Steps[0].Keys)
}

func TestShrinkLeavesOutLinesAndFormats(t *testing.T) {
	s := Scenario{Steps: []Step{
		{Command: "offer", Body: []string{"v=0", "o=x", "m=audio 1 RTP/AVP 0 8 9", "a=one", "a=cause", "m=video 2 RTP/AVP 31"}},
		{Command: "answer", Body: []string{"v=0"}},
		{Command: "offer", Body: []string{"v=0"}},
		{Command: "answer", Body: []string{"v=0"}},
	}}
	small := shrink(s, func(s Scenario) bool { return len(s.Steps) > 0 && slices.Contains(s.Steps[0].Body, "a=cause") })
	require.Equal(t, []Step{{Command: "offer", Body: []string{"v=0", "o=x", "m=audio 1 RTP/AVP 9", "a=cause"}}}, small.Steps)
}

func TestKindsOfDifference(t *testing.T) {
	require.Equal(t, []string{"offer: adds a=c", "offer: differs in m=audio (port)", "offer: lacks a=b", "offer: order of a=x"}, kinds("offer", []string{
		"  v=0", "- m=audio {port1} RTP/AVP 0", "+ m=audio {port2} RTP/AVP 0", "- a=b:1", "- a=x", "+ a=c", "+ a=x",
	}))
	require.Equal(t, []string{"offer: differs in m=audio (formats)"}, kinds("offer", []string{"- m=audio 1 RTP/AVP 0", "+ m=audio 1 RTP/AVP 8"}))
	require.Equal(t, []string{"offer: differs in m=audio (profile)"}, kinds("offer", []string{"- m=audio 1 RTP/AVP 0", "+ m=audio 1 RTP/SAVP 0"}))
	require.Equal(t, []string{"query: another result"}, kinds("query", []string{"- result: ok", "+ result: error", "+ error-reason: x"}))
	require.True(t, transcodes(Step{Command: "answer", Body: []string{"m=audio 1 RTP/AVP 8"}}, []string{"result: ok", "m=audio 2 RTP/AVP 0"}))
	require.False(t, transcodes(Step{Command: "answer", Body: []string{"m=audio 1 RTP/AVP 8 0"}}, []string{"m=audio 2 RTP/AVP 0"}))
}

// crowd answers offers like two daemons that differ in one line, and dies once.
func TestFuzzerFindsADifference(t *testing.T) {
	serve := func(extra string) string {
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
				cookie, body, _ := strings.Cut(string(buffer[:n]), " ")
				sdp := "v=0\r\nm=audio 0 RTP/AVP 0\r\n"
				if strings.Contains(body, "strict source") {
					sdp += extra
				}
				reply, _ := encode(map[string]any{"result": "ok", "sdp": sdp}, strings.HasPrefix(body, "{"))
				_, _ = conn.WriteTo([]byte(cookie+" "+string(reply)), from)
			}
		}()
		t.Cleanup(func() {
			_ = conn.Close()
			<-done
		})
		return "udp:" + conn.LocalAddr().String()
	}
	a, b := serve("a=first\r\n"), serve("")
	f := Fuzzer{
		Connect:  func() (Runner, Runner, error) { return Runner{Target: a}, Runner{Target: b}, nil },
		Scenario: Generator{Seed: 1}.Scenario,
	}
	found, err := f.Run(context.Background(), 0, 300)
	require.NoError(t, err)
	require.Equal(t, 300, found.Played)
	require.Positive(t, found.Differing)
	require.Less(t, found.Differing, 100)
	for _, c := range found.Clusters {
		require.Contains(t, c.Kind, "lacks a=first")
		for _, example := range c.Cases {
			require.Contains(t, Format(example.Scenario), `{"flags":["strict source"]}`, "the cause, and nothing else")
		}
	}
}
