package conformance

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Write writes a scenario file anew with the replies that events tell where
// the scenario expects none yet: how scenarios are made from a daemon that is
// known to be right. source is the file's text, from line 1.
func Write(w io.Writer, source string, events []Event) error {
	lines := strings.Split(strings.TrimSuffix(source, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		if _, err := fmt.Fprintln(w, lines[i]); err != nil {
			return err
		}
		at := slices.IndexFunc(events, func(e Event) bool { return e.Line == i+1 && e.Want == nil })
		if at < 0 {
			continue
		}
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "    ") {
			i++
			if _, err := fmt.Fprintln(w, lines[i]); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(w, expectation(events[at].Lines)); err != nil {
			return err
		}
	}
	return nil
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
