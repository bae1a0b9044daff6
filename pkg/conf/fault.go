package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	File   string // file name, or "environment"
	Line   int    // 1-based; 0 if the key is not in the file
	Key    string // path, for example listeners[1].transport; may be empty
	Reason string
}

// String formats the fault as file:line: key: reason.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	if f.Key != "" {
		b.WriteString(": ")
		b.WriteString(f.Key)
	}
	b.WriteString(": ")
	b.WriteString(f.Reason)
	return b.String()
}

// Faults is the error of a configuration that must not be used.
type Faults []Fault

// Error lists all faults, one a line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// sort orders the faults by line, keeping the order of faults of one line.
func (f Faults) sort() {
	slices.SortStableFunc(f, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
}
