package conformance

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed *.exceptions
var lists embed.FS

// ErrStale means that exceptions of a list were never needed.
var ErrStale = errors.New("conformance: stale exception")

// Exception accepts one kind of difference: a line that the reference (the
// scenario or the first daemon) has and the target lacks ("-"), or the reverse
// ("+").
type Exception struct {
	Sign     byte
	Scenario string // glob of scenario names ("*" = all)
	Text     string // glob of the line
	Reason   string
	used     bool
}

// Exceptions is a list of accepted differences.
type Exceptions []*Exception

// ParseExceptions reads lines "- scenario-glob | line-glob | reason". Lines
// that begin with # are comments. In globs only * is special.
func ParseExceptions(r io.Reader) (Exceptions, error) {
	var list Exceptions
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.SplitN(line[1:], " | ", 3)
		if len(f) != 3 || line[0] != '-' && line[0] != '+' || strings.TrimSpace(f[2]) == "" {
			return nil, fmt.Errorf("%w: exceptions:%d: want \"-|+ scenario | line | reason\"", ErrSyntax, n)
		}
		list = append(list, &Exception{
			Sign: line[0], Scenario: strings.TrimSpace(f[0]), Text: strings.TrimSpace(f[1]), Reason: strings.TrimSpace(f[2]),
		})
	}
	return list, lines.Err()
}

func (list Exceptions) accept(scenario, difference string) bool {
	for _, e := range list {
		if e.Sign == difference[0] && glob(e.Scenario, scenario) && glob(e.Text, difference[2:]) {
			e.used = true
			return true
		}
	}
	return false
}

// String is the entry as it stands in a file.
func (e Exception) String() string {
	return fmt.Sprintf("%c %s | %s | %s", e.Sign, e.Scenario, e.Text, e.Reason)
}

// Used returns the entries that have accepted something.
func (list Exceptions) Used() Exceptions {
	return slices.DeleteFunc(slices.Clone(list), func(e *Exception) bool { return !e.used })
}

// Accepted returns the built-in list for a program, by the last part of its
// path: rtpengine, mediad; empty for any other.
func Accepted(program string) (Exceptions, error) {
	f, err := lists.Open(path.Base(program) + ".exceptions")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseExceptions(f)
}

// Stale returns an error for every exception that has accepted nothing.
func (list Exceptions) Stale() error {
	var errs []error
	for _, e := range list {
		if !e.used {
			errs = append(errs, fmt.Errorf("%w: %c %s | %s", ErrStale, e.Sign, e.Scenario, e.Text))
		}
	}
	return errors.Join(errs...)
}

// glob matches text with a pattern in which * stands for any bytes.
func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, ok := strings.Cut(text, part)
		if !ok {
			return false
		}
		text = after
	}
	return strings.HasSuffix(text, parts[len(parts)-1])
}

// Outcome is the result of one scenario.
type Outcome struct {
	Scenario Scenario
	Events   []Event // of the (last) target
	Diff     []string
	Err      error // could not be played
}

// Passed tells whether nothing differs.
func (o Outcome) Passed() bool { return o.Err == nil && len(o.Diff) == 0 }

// Check plays a scenario and compares with what it expects.
func Check(r Runner, s Scenario, accepted Exceptions) Outcome {
	events, err := r.Play(s)
	o := Outcome{Scenario: s, Events: events, Err: err}
	for _, e := range events {
		if e.Want != nil {
			o.Diff = append(o.Diff, difference(r, s, e, e.Want, e.Lines, accepted)...)
		}
	}
	return o
}

// Compare plays a scenario to two daemons and compares their replies and
// packets with each other.
func Compare(reference, target Runner, s Scenario, accepted Exceptions) Outcome {
	theirs, err := reference.Play(s)
	if err != nil {
		return Outcome{Scenario: s, Err: fmt.Errorf("reference: %w", err)}
	}
	ours, err := target.Play(s)
	o := Outcome{Scenario: s, Events: ours, Err: err}
	for i := range ours {
		if i < len(theirs) {
			o.Diff = append(o.Diff, difference(target, s, ours[i], theirs[i].Lines, ours[i].Lines, accepted)...)
		}
	}
	return o
}

// difference returns a readable diff, nil if every difference is accepted.
func difference(r Runner, s Scenario, e Event, want, got []string, accepted Exceptions) []string {
	if r.Unordered {
		want, got = unordered(want), unordered(got)
	}
	list := diffLines(want, got)
	ok := true
	for i, d := range list {
		switch {
		case d[0] == ' ':
		case accepted.accept(s.Name, d):
			list[i] = "~" + d[1:]
		default:
			ok = false
		}
	}
	if ok {
		return nil
	}
	head := fmt.Sprintf("%s.txt:%d: %s (- expected, + got, ~ accepted)", file(s), e.Line, e.What)
	return append([]string{head}, list...)
}

func file(s Scenario) string {
	name, _, _ := strings.Cut(s.Name, ":")
	return path.Clean(name)
}

// diffLines is the shortest edit from a to b: lines with "- ", "+ " or "  ".
func diffLines(a, b []string) []string {
	length := make([][]int, len(a)+1) // of the longest common subsequence of a[i:], b[j:]
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			length[i][j] = max(length[i+1][j], length[i][j+1])
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	for _, l := range a[i:] {
		out = append(out, "- "+l)
	}
	for _, l := range b[j:] {
		out = append(out, "+ "+l)
	}
	return out
}
