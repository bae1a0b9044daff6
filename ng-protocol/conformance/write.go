package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Format writes the steps of a scenario, but not what they expect, as a
// scenario file.
func Format(s Scenario) string {
	_, title, _ := strings.Cut(s.Name, ": ")
	var out strings.Builder
	fmt.Fprintf(&out, "## %s\n", title)
	for _, step := range s.Steps {
		out.WriteString("\n" + formatStep(step) + "\n")
		for _, line := range step.Body {
			out.WriteString("    " + line + "\n")
		}
	}
	return out.String()
}

func formatStep(s Step) string {
	var words []string
	switch s.Kind {
	case Raw:
		return "raw " + s.Command
	case Repeat:
		return "again"
	case Ask:
		words = []string{">", s.Command}
		if s.JSON {
			words[0] = ">json"
		}
		for _, tag := range []string{s.Party, s.To} {
			if tag != "" {
				words = append(words, tag)
			}
		}
		if len(s.Keys) > 0 {
			words = append(words, object(s.Keys))
		}
		return strings.Join(words, " ")
	case Send:
		words = []string{s.Party, "sends"}
	case Receive:
		words = []string{s.Party, "receives"}
	case Connect:
		words = []string{s.Party, "connects"}
	}
	words = append(words, s.Packet["kind"])
	for _, key := range slices.Sorted(maps.Keys(s.Packet)) {
		if key != "kind" {
			words = append(words, key+"="+s.Packet[key])
		}
	}
	return strings.Join(words, " ")
}

// Write writes a scenario file anew with the replies that events tell where
// the scenario expects none yet: how scenarios are made from a daemon that is
// known to be right. With again, the keys and the SDP that are expected are
// replaced, too. source is the file's text, from line 1.
func Write(w io.Writer, source string, events []Event, again bool) error {
	lines := strings.Split(strings.TrimSuffix(source, "\n"), "\n")
	var out strings.Builder
	var old *Event // whose expected reply is to be replaced
	for i := 0; i < len(lines); i++ {
		if old != nil && strings.HasPrefix(lines[i], "< ") {
			out.WriteString(expectation(*old))
			for old = nil; i+1 < len(lines) && strings.HasPrefix(lines[i+1], "    "); i++ {
			}
			continue
		}
		out.WriteString(lines[i] + "\n")
		at := slices.IndexFunc(events, func(e Event) bool { return e.Line == i+1 })
		switch {
		case at < 0:
		case events[at].Want == nil:
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "    ") {
				i++
				out.WriteString(lines[i] + "\n")
			}
			out.WriteString(expectation(events[at]))
		case again && strings.HasPrefix(events[at].Want[0], "result: ") && events[at].Want[0] != "result: same":
			old = &events[at]
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// expectation writes a reply as a scenario file expects it.
func expectation(e Event) string {
	head := "< " + strings.TrimPrefix(e.Lines[0], "result: ")
	if len(e.Keys) > 0 {
		head += " " + object(e.Keys)
	}
	for _, l := range e.Lines[sdpAt(e.Lines):] {
		head += "\n    " + l
	}
	return head + "\n"
}

// object writes keys as JSON in one line.
func object(keys map[string]any) string {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false) // "<int>" is meant to be read
	if err := e.Encode(keys); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(out.String())
}
