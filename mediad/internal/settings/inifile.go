package settings

import (
	"fmt"
	"strings"
)

// iniFile is a file in GLib's key file format.
type iniFile struct {
	name     string
	sections []section // in order of appearance
}

// section is what stands under one header; it may be in several pieces.
type section struct {
	name    string
	entries []entry // of equal keys the last one counts, in the place of the first
}

// entry is one key of a section. The value has its escapes yet.
type entry struct {
	key, value string
	line       int // from 1
}

func parseINI(name, text string) (*iniFile, error) {
	f := &iniFile{name: name}
	var into *section
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
			into = f.open(s[1 : len(s)-1])
		case into == nil:
			return nil, fmt.Errorf("%s:%d: no section header before the first key", name, line)
		default:
			key, value, ok := strings.Cut(s, "=")
			if !ok {
				return nil, fmt.Errorf("%s:%d: %q is neither a key nor a comment", name, line, s)
			}
			into.put(entry{key: strings.TrimSpace(key), value: strings.TrimSpace(value), line: line})
		}
	}
	return f, nil
}

// section returns the section with the name, nil if there is none.
func (f *iniFile) section(name string) *section {
	for i := range f.sections {
		if f.sections[i].name == name {
			return &f.sections[i]
		}
	}
	return nil
}

func (f *iniFile) open(name string) *section {
	if s := f.section(name); s != nil {
		return s
	}
	f.sections = append(f.sections, section{name: name})
	return &f.sections[len(f.sections)-1]
}

func (s *section) put(e entry) {
	for i := range s.entries {
		if s.entries[i].key == e.key {
			s.entries[i] = e
			return
		}
	}
	s.entries = append(s.entries, e)
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

// splitList splits a list value at ";", which "\;" escapes.
func splitList(value string) []string {
	var out []string
	for part := range strings.SplitSeq(strings.ReplaceAll(value, `\;`, "\x00"), ";") {
		if part = strings.TrimSpace(strings.ReplaceAll(part, "\x00", ";")); part != "" {
			out = append(out, part)
		}
	}
	return out
}
