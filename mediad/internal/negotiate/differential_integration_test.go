//go:build integration

package negotiate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
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
// only rtpengine has in the result of step 2 (or has at another place), "2+a=x"
// one that only we have.
type comparison struct {
	name      string
	steps     []step
	different []string
	reason    string
}

// normalize replaces what each daemon chooses for itself. Lines, their order
// and their endings stay.
func normalize(body string) []string {
	ports := map[int]int{}
	var list []string
	for line := range strings.Lines(body) {
		text := strings.TrimRight(line, "\r\n")
		ending := line[len(text):]
		text = chosenPort.ReplaceAllStringFunc(text, func(digits string) string {
			n, _ := strconv.Atoi(digits)
			if i, ok := ports[n-1]; ok {
				return fmt.Sprint("port", i, "+1") // of RTCP
			}
			if _, ok := ports[n]; !ok {
				ports[n] = len(ports)
			}
			return fmt.Sprint("port", ports[n])
		})
		for _, r := range chosenText {
			text = r.pattern.ReplaceAllString(text, r.name)
		}
		if ending == "\r\n" {
			ending = ""
		}
		list = append(list, text+ending)
	}
	return list
}

// chosenPort matches the local ports of both daemons: those of rtpengine are
// set by its options, ours come from the tests.
var chosenPort = regexp.MustCompile(`\b(3[01]|4[0-7])\d{3}\b`)

var chosenText = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`^(a=ice-ufrag|a=ice-pwd|a=tls-id|a=rtpengine):.*`), "$1"},
	{regexp.MustCompile(`^(a=fingerprint:\S+) .*`), "$1"},
	{regexp.MustCompile(`^a=candidate:\S+`), "a=candidate:x"},
	{regexp.MustCompile(`inline:[A-Za-z0-9+/]+`), "inline:key"},
}

// diff returns the lines that only one of the two has at its place.
func diff(step int, theirs, ours []string) []string {
	var list []string
	add := func(sign string, lines []string) {
		for _, l := range lines {
			list = append(list, fmt.Sprint(step, sign, l))
		}
	}
	for len(theirs) > 0 && len(ours) > 0 {
		if theirs[0] == ours[0] {
			theirs, ours = theirs[1:], ours[1:]
			continue
		}
		// The nearer place at which they come together again.
		skip, drop := slices.Index(theirs, ours[0]), slices.Index(ours, theirs[0])
		switch {
		case skip < 0 && drop < 0:
			add("-", theirs[:1])
			add("+", ours[:1])
			theirs, ours = theirs[1:], ours[1:]
		case drop < 0 || skip >= 0 && skip <= drop:
			add("-", theirs[:skip])
			theirs = theirs[skip:]
		default:
			add("+", ours[:drop])
			ours = ours[drop:]
		}
	}
	add("-", theirs)
	add("+", ours)
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
				different = append(different, diff(i, normalize(theirs), normalize(ours))...)
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
