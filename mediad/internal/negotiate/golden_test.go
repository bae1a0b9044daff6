package negotiate

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// ports is a call as far as these tests need one: it hands out ports,
// credentials and keys that can be told from each other in golden files.
type ports struct {
	opts    Options
	parties map[string]Party
}

func testOptions() Options {
	return Options{
		Interfaces: []Interface{{"pub", true, false}, {"priv", true, false}, {"six", false, true}, {"dual", true, true}},
		Instance:   "golden",
	}
}

func newPorts() *ports {
	return &ports{opts: testOptions(), parties: map[string]Party{}}
}

// address of the local interfaces as advertised.
func address(l *Local) netip.Addr {
	v4 := map[string]string{"pub": "203.0.113.1", "priv": "10.0.0.1", "dual": "203.0.113.9"}
	v6 := map[string]string{"six": "2001:db8::6", "dual": "2001:db8::9"}
	if l.Family == ng.FamilyIP6 {
		return netip.MustParseAddr(v6[l.Interface])
	}
	return netip.MustParseAddr(v4[l.Interface])
}

// locals makes what the local sides towards the party demand.
func (c *ports) locals(p *Party) []LocalMedia {
	base := uint16(30000)
	if p.Tag != "A" {
		base = 40000
	}
	list := make([]LocalMedia, len(p.Sides))
	for i := range p.Sides {
		l := &p.Sides[i].Local
		if !l.Active {
			list[i].Address = address(l)
			continue
		}
		m := LocalMedia{
			Address:     address(l),
			RTPPort:     base + uint16(10*i),
			ICEUfrag:    fmt.Sprintf("u%s%dg%d", p.Tag, i, l.ICE.Generation),
			ICEPwd:      fmt.Sprintf("password-of-side-%s%d-g%d", p.Tag, i, l.ICE.Generation),
			Fingerprint: sdp.Fingerprint{Hash: l.DTLS.Hash, Value: "0A:0B:0C"},
		}
		if l.RTCPPort {
			m.RTCPPort = m.RTPPort + 1
		}
		for _, line := range l.SDES.Lines {
			m.Keys = append(m.Keys, bytes.Repeat([]byte{byte(line.Tag)}, KeyLength(line.Suite)))
		}
		list[i] = m
	}
	return list
}

// step plays one command: from is the party whose SDP it is.
func (c *ports) step(req *ng.Request, from, to string) (string, *Plan, error) {
	a, b := c.parties[from], c.parties[to]
	a.Tag, b.Tag = from, to
	plan, err := NewPlan(req, a, b, c.opts)
	if err != nil {
		return "", nil, err
	}
	body, err := plan.Rewrite(c.locals(&plan.To))
	if err != nil {
		return "", nil, err
	}
	if !plan.Untouched {
		c.parties[from], c.parties[to] = plan.From, plan.To
	}
	return body, plan, nil
}

// request makes a request of a command, its flags as JSON and a body.
func request(t *testing.T, command, flags, body string) *ng.Request {
	t.Helper()
	object := map[string]any{}
	if f := strings.TrimSpace(flags); f != "" && f != "null" {
		require.NoError(t, json.Unmarshal([]byte(flags), &object), flags)
	}
	object["command"], object["call-id"], object["from-tag"], object["to-tag"] = command, "c", "A", "B"
	object["sdp"] = body
	raw, err := json.Marshal(object)
	require.NoError(t, err)
	req, _, err := ng.DecodeRequest(raw)
	require.NoError(t, err)
	require.Empty(t, req.Unknown, "flags that the protocol package does not know")
	return req
}

// A golden file is a sequence of commands. Each has a head line
// "-- offer A B {flags}" (party whose SDP it is, receiver), the body, then
// "-- plan" and "-- out" with what is expected; -update writes those.
type goldenStep struct {
	head, body, plan, out string
}

func readGolden(t *testing.T, path string) (comment string, steps []goldenStep) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var target *string = &comment
	for line := range strings.Lines(string(raw)) {
		switch {
		case strings.HasPrefix(line, "-- plan"):
			target = &steps[len(steps)-1].plan
		case strings.HasPrefix(line, "-- out"):
			target = &steps[len(steps)-1].out
		case strings.HasPrefix(line, "-- "):
			steps = append(steps, goldenStep{head: strings.TrimSpace(line[3:])})
			target = &steps[len(steps)-1].body
		default:
			*target += line
		}
	}
	return comment, steps
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			comment, steps := readGolden(t, path)
			call := newPorts()
			var now strings.Builder
			now.WriteString(comment)
			for _, s := range steps {
				word := strings.SplitN(s.head, " ", 4)
				require.GreaterOrEqual(t, len(word), 3, s.head)
				flags := ""
				if len(word) == 4 {
					flags = word[3]
				}
				eol := strings.NewReplacer("\n", "\r\n")
				out, plan, err := call.step(request(t, word[0], flags, eol.Replace(s.body)), word[1], word[2])
				fmt.Fprintf(&now, "-- %s\n%s", s.head, s.body)
				fmt.Fprintf(&now, "-- plan\n%s-- out\n", describe(plan, err))
				require.Equal(t, strings.Count(out, "\n"), strings.Count(out, "\r\n"), "line endings")
				now.WriteString(strings.ReplaceAll(out, "\r\n", "\n"))
			}
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(now.String()), 0o644))
				return
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), now.String())
		})
	}
}

var update = flag.Bool("update", false, "write the golden files")

// describe prints what a plan demands, one line a side.
func describe(p *Plan, err error) string {
	if err != nil {
		var reason ng.Reason
		if !errors.As(err, &reason) {
			return "error without a reason: " + err.Error() + "\n"
		}
		return "error: " + string(reason) + "\n"
	}
	if p.Untouched {
		return "untouched\n"
	}
	var b strings.Builder
	for i := range p.From.Sides {
		for _, party := range [...]*Party{&p.From, &p.To} {
			fmt.Fprintf(&b, "%s %d: %s\n", party.Tag, i, describeSide(&party.Sides[i]))
		}
	}
	return b.String()
}

func describeSide(s *Side) string {
	l := &s.Local
	if !l.Active {
		return "inactive"
	}
	family := "IP4"
	if l.Family == ng.FamilyIP6 {
		family = "IP6"
	}
	words := []string{l.Protocol, l.Interface, family}
	add := func(on bool, format string, args ...any) {
		if on {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(l.Raw, "raw")
	add(l.RTCPPort, "rtcp-port")
	add(l.RTCPMux, "mux")
	add(l.RTCPMuxOffered && !l.RTCPMux, "mux-offered")
	add(l.ICE.Mode == ICEFull, "ice=full/%d", l.ICE.Generation)
	add(l.ICE.Mode == ICELite, "ice=lite/%d", l.ICE.Generation)
	add(l.ICE.Controlling, "controlling")
	add(l.DTLS.Role != DTLSNone, "dtls=%s/%d", [...]string{"none", "passive", "active", "undecided"}[l.DTLS.Role], l.DTLS.Generation)
	for _, line := range l.SDES.Lines {
		add(line.Tag == l.SDES.Chosen, "sdes=%d:%s(remote %d)", line.Tag, line.Suite, l.SDES.RemoteTag)
	}
	add(len(l.SDES.Lines) > 0 && l.SDES.Chosen == 0, "sdes=%d offered", len(l.SDES.Lines))
	add(s.Security() == SecurityMissing, "keys missing")
	add(l.Source.Strict, "strict")
	add(l.Source.Handover, "handover")
	add(l.Source.Asymmetric, "asymmetric")
	add(l.Source.Learning != ng.LearningHeuristic, "learning=%d", l.Source.Learning)
	add(s.Remote.RTP.IsValid(), "peer=%s", s.Remote.RTP)
	add(s.Remote.RTCP.IsValid() && s.Remote.RTCP != s.Remote.RTP, "peer-rtcp=%s", s.Remote.RTCP)
	add(s.Remote.Hold, "hold")
	return strings.Join(words, " ")
}
