//go:build integration

package negotiate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

type flags map[string]any

// step is one command: from is the party whose SDP it is.
type step struct {
	command, from, to string
	flags             flags
	body              string
}

// comparison is a sequence of commands that both daemons get. different lists
// the lines in which the results may, and must, differ: "2-a=x" is a line that
// only rtpengine has in the result of step 2, "2+a=x" one that only we have.
type comparison struct {
	name      string
	steps     []step
	different []string
	reason    string
}

// Differences that are left out everywhere, because the golden files show what
// we do and why:
//   - order of attributes (we keep that of the input), a=sendrecv where it is
//     the default, a=rtpmap of static payload types (rtpengine adds both);
//   - attributes of refused media (rtpengine drops them);
//   - feedback attributes (we drop them towards a profile without feedback,
//     rtpengine leaves them);
//   - suites that we do not offer (AES_192, F8, NULL) and thereby the tags of
//     those behind them;
//   - a=ptime (rtpengine repeats that of the other side);
//   - session keys (rtpengine passes them through between two SDES legs).
func normalize(t *testing.T, body string) []string {
	t.Helper()
	if !strings.HasPrefix(body, "v=") {
		return []string{body}
	}
	d, err := sdp.Parse([]byte(body))
	require.NoError(t, err)
	list := normalizeSection(d.Session(), "s ", sdp.Media{})
	for i, s := range d.Medias() {
		m, _, ok := s.Media()
		require.True(t, ok)
		list = append(list, normalizeSection(s, strconv.Itoa(i)+" ", m)...)
	}
	return list
}

func normalizeSection(s *sdp.Section, prefix string, m sdp.Media) []string {
	var fixed, attributes, suites []string
	for l := range s.Lines() {
		a, ok := l.Attribute()
		switch {
		case l.Type == 'm':
			out := m
			out.Count = 1
			if m.Port != 0 && relayed(m.Protocol) {
				out.Port = 1
			}
			fixed = append(fixed, prefix+"m="+out.String())
		case !ok:
			if l.Type != 0 {
				fixed = append(fixed, prefix+string(l.Type)+"="+l.Value)
			}
		case m.Type != "" && m.Port == 0, l.Value == "sendrecv", a.Name == "tls-id", a.Name == "ptime":
		case a.Name == "rtpmap" && len(strings.Fields(a.Value)[0]) < 3 && strings.Fields(a.Value)[0] < "35":
		case a.Name == "crypto":
			c, _ := sdp.ParseCrypto(a.Value)
			if slices.Contains(DefaultSuites(), c.Suite) {
				suites = append(suites, fmt.Sprint(c.Tag, " ", c.Suite, c.Params))
			}
		default:
			attributes = append(attributes, prefix+"a="+normalizeAttribute(a, int(m.Port)))
		}
	}
	if len(suites) > 1 { // tags depend on how many suites are left out
		for i := range suites {
			_, suites[i], _ = strings.Cut(suites[i], " ")
		}
	}
	for _, c := range suites {
		attributes = append(attributes, prefix+"a=crypto:"+c)
	}
	slices.Sort(attributes)
	return append(fixed, attributes...)
}

func normalizeAttribute(a sdp.Attribute, port int) string {
	relative := func(n uint16) string {
		switch d := int(n) - port; {
		case n < 10000: // of a party, not of ours
			return strconv.Itoa(int(n))
		case d > 1: // port is that of a party
			return "foreign"
		default:
			return fmt.Sprintf("port%+d", d)
		}
	}
	switch a.Name {
	case "ice-ufrag", "ice-pwd":
		return a.Name
	case loopMarker:
		return a.Name
	case "fingerprint":
		return "fingerprint:" + strings.Fields(a.Value)[0]
	case "rtcp":
		if r, ok := sdp.ParseRTCP(a.Value); ok {
			return "rtcp:" + relative(r.Port) + " " + r.Address.Host
		}
	case "candidate":
		if c, ok := sdp.ParseCandidate(a.Value); ok {
			return fmt.Sprintf("candidate %d %s %d %s %s %s %s", c.Component, c.Transport, c.Priority, c.Host, relative(c.Port), c.Type, c.RelatedHost)
		}
	}
	return a.Line.Value
}

// diff returns the lines that only one of the two has.
func diff(step int, theirs, ours []string) []string {
	var list []string
	for _, l := range theirs {
		if !slices.Contains(ours, l) {
			list = append(list, fmt.Sprintf("%d-%s", step, l))
		}
	}
	for _, l := range ours {
		if !slices.Contains(theirs, l) {
			list = append(list, fmt.Sprintf("%d+%s", step, l))
		}
	}
	return list
}

// TestAgainstRTPEngine gives the same commands to Debian's rtpengine and to
// this package and compares the bodies that come back.
func TestAgainstRTPEngine(t *testing.T) {
	engine := startRTPEngine(t)
	if engine == nil {
		return
	}
	cases := comparisons()
	t.Logf("%d cases", len(cases))
	for n, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			callID := fmt.Sprintf("differential-%d", n)
			call := newPorts()
			var different []string
			for i, s := range c.steps {
				theirs, err := engine.step(callID, s)
				require.NoError(t, err)
				text, err := json.Marshal(s.flags)
				require.NoError(t, err)
				req := request(t, s.command, string(text), strings.ReplaceAll(s.body, "\n", "\r\n"))
				ours, _, err := call.step(req, s.from, s.to)
				var reason ng.Reason
				if errors.As(err, &reason) {
					ours = "error: " + string(reason)
				} else {
					require.NoError(t, err)
				}
				different = append(different, diff(i, normalize(t, theirs), normalize(t, ours))...)
			}
			slices.Sort(different)
			want := slices.Sorted(slices.Values(c.different))
			require.Equal(t, want, append([]string(nil), different...), c.reason)
			_, err := engine.command(map[string]any{"command": "delete", "call-id": callID, "from-tag": "A", "delete-delay": 0})
			require.NoError(t, err)
		})
	}
}

// with returns f with more entries.
func (f flags) with(more flags) flags {
	all := maps.Clone(f)
	if all == nil {
		all = flags{}
	}
	maps.Copy(all, more)
	return all
}
