package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Format writes the requests of a scenario as a scenario file.
func Format(s Scenario) string {
	_, title, _ := strings.Cut(s.Name, ": ")
	var out strings.Builder
	fmt.Fprintf(&out, "## %s\n", title)
	for _, step := range s.Steps {
		arrow := ">"
		if step.JSON {
			arrow = ">json"
		}
		words := []string{arrow, step.Command}
		for _, tag := range []string{step.Party, step.To} {
			if tag != "" {
				words = append(words, tag)
			}
		}
		if len(step.Keys) > 0 {
			keys, err := json.Marshal(step.Keys)
			if err != nil {
				keys = []byte(err.Error())
			}
			words = append(words, string(keys))
		}
		out.WriteString("\n" + strings.Join(words, " ") + "\n")
		for _, line := range step.Body {
			out.WriteString("    " + line + "\n")
		}
	}
	return out.String()
}

// Write writes a scenario file anew with the replies that events tell where
// the scenario expects none yet: how scenarios are made from a daemon that is
// known to be right. With again, an SDP that is expected is replaced, too.
// source is the file's text, from line 1.
func Write(w io.Writer, source string, events []Event, again bool) error {
	lines := strings.Split(strings.TrimSuffix(source, "\n"), "\n")
	var out strings.Builder
	var old *Event // whose expected SDP is to be replaced
	for i := 0; i < len(lines); i++ {
		out.WriteString(lines[i] + "\n")
		skip := func(keep bool) {
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "    ") {
				if i++; keep {
					out.WriteString(lines[i] + "\n")
				}
			}
		}
		if old != nil && strings.HasPrefix(lines[i], "< ") {
			skip(false)
			for _, l := range old.Lines[sdpAt(old.Lines):] {
				out.WriteString("    " + l + "\n")
			}
			old = nil
		}
		at := slices.IndexFunc(events, func(e Event) bool { return e.Line == i+1 })
		switch {
		case at < 0:
		case events[at].Want == nil:
			skip(true)
			out.WriteString(expectation(events[at].Lines))
		case again && strings.HasPrefix(events[at].What, "reply"):
			old = &events[at]
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func expectation(lines []string) string {
	var keys []string
	var body strings.Builder
	result := ""
	for _, l := range lines {
		name, value, isKey := strings.Cut(l, ": ")
		switch {
		case name == "result" && isKey:
			result = value
		case isKey && !strings.Contains(name, "="):
			keys = append(keys, fmt.Sprintf("%q: %q", name, value))
		default:
			body.WriteString("    " + l + "\n")
		}
	}
	head := "< " + result
	if len(keys) > 0 {
		head += " {" + strings.Join(keys, ", ") + "}"
	}
	return head + "\n" + body.String()
}
