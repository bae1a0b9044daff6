package settings

import (
	"fmt"
	"strings"
)

// entry is one key of an INI file.
type entry struct {
	key, value string
	line       int // from 1
}

// parseINI returns the keys of one section of a file in GLib's key file
// format. A section may be in several pieces; of equal keys the last one
// counts. A missing section is an error.
func parseINI(name, text, section string) ([]entry, error) {
	var out []entry
	inside, any, found := false, false, false
	line := 0
	for raw := range strings.Lines(text) {
		line++
		s := strings.TrimSpace(raw)
		switch {
		case s == "" || s[0] == '#':
		case s[0] == '[':
			if !strings.HasSuffix(s, "]") || len(s) == 2 {
				return nil, fmt.Errorf("%s:%d: %q is not a section header", name, line, s)
			}
			any = true
			inside = s[1:len(s)-1] == section
			found = found || inside
		case !any:
			return nil, fmt.Errorf("%s:%d: no section header before the first key", name, line)
		default:
			key, value, ok := strings.Cut(s, "=")
			if !ok {
				return nil, fmt.Errorf("%s:%d: %q is neither a key nor a comment", name, line, s)
			}
			if !inside {
				continue
			}
			key = strings.TrimSpace(key)
			value, err := unescape(strings.TrimSpace(value))
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %s: %w", name, line, key, err)
			}
			out = replaceEntry(out, entry{key: key, value: value, line: line})
		}
	}
	if !found {
		return nil, fmt.Errorf("%s: there is no section [%s]", name, section)
	}
	return out, nil
}

func replaceEntry(list []entry, e entry) []entry {
	for i := range list {
		if list[i].key == e.key {
			list[i] = e
			return list
		}
	}
	return append(list, e)
}

// unescape replaces \s \n \t \r \\ in a value. "\;" is left for splitList.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf(`lone \ at the end`)
		}
		switch s[i] {
		case 's':
			b.WriteByte(' ')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case '\\':
			b.WriteByte('\\')
		case ';':
			b.WriteString(`\;`)
		default:
			return "", fmt.Errorf(`\%c is not an escape`, s[i])
		}
	}
	return b.String(), nil
}
