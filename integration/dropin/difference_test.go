//go:build integration

package dropin

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// an acceptance is a kind of difference that is meant to be.
type acceptance struct {
	sign         byte   // '-' for a line that only rtpengine has, '+' for one that only mediad has
	conversation string // in both patterns * stands for any text
	line         string
	reason       string
}

//go:embed differences.txt
var differencesFile string

// accepted reads differences.txt.
var accepted = sync.OnceValue(func() (list []acceptance) {
	for line := range strings.Lines(differencesFile) {
		fields := strings.Split(strings.TrimSpace(line), " | ")
		if strings.HasPrefix(line, "#") || len(fields) < 3 {
			continue
		}
		list = append(list, acceptance{fields[0][0], strings.TrimSpace(fields[0][1:]), fields[1], fields[2]})
	}
	return list
})

// remaining marks accepted differences with ~ and returns nil if no other is left.
func remaining(conversation string, lines []string) []string {
	left := false
	for i, line := range lines {
		if line[0] == ' ' {
			continue
		}
		if slices.ContainsFunc(accepted(), func(a acceptance) bool {
			return a.sign == line[0] && matches(a.conversation, conversation) && matches(a.line, line[1:])
		}) {
			lines[i] = "~" + line
			continue
		}
		left = true
	}
	if !left {
		return nil
	}
	return lines
}

// matches compares text with a pattern in which * stands for any text.
func matches(pattern, text string) bool {
	first, rest, several := strings.Cut(pattern, "*")
	if !several {
		return pattern == text
	}
	if !strings.HasPrefix(text, first) {
		return false
	}
	for i := len(first); i <= len(text); i++ {
		if matches(rest, text[i:]) {
			return true
		}
	}
	return false
}

// difference returns nil if a and b are equal, else a list of lines with " ", "-"
// (only in a) and "+" (only in b).
func difference(a, b []string) []string {
	if slices.Equal(a, b) {
		return nil
	}
	width := len(b) + 1
	common := make([]int, (len(a)+1)*width) // of a[i:] and b[j:]
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, " "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[(i+1)*width+j] >= common[i*width+j+1]:
			out = append(out, "-"+a[i])
			i++
		default:
			out = append(out, "+"+b[j])
			j++
		}
	}
	return out
}

// excerpt keeps the changed lines and a few around them.
func excerpt(lines []string) []string {
	const around = 4
	keep := make([]bool, len(lines))
	for i, line := range lines {
		for k := max(0, i-around); (line[0] == '-' || line[0] == '+') && k < min(len(lines), i+around+1); k++ {
			keep[k] = true
		}
	}
	var out []string
	for i, line := range lines {
		switch {
		case keep[i] || strings.HasPrefix(line, " > "):
			out = append(out, line)
		case len(out) > 0 && out[len(out)-1] != "...":
			out = append(out, "...")
		}
	}
	return out
}
