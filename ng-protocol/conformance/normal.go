package conformance

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// normalizer replaces what a daemon chose at random by placeholders, so that
// two runs can be compared: what the scenario itself has sent stays.
type normalizer struct {
	sent  strings.Builder // everything sent in this scenario
	ports []int           // daemon's ports in order of appearance
	hosts []string        // daemon's addresses in order of appearance
}

var tokens = regexp.MustCompile(`[^\s:|;,]+`)

// isSent tells whether the scenario has used the token itself.
func (n *normalizer) isSent(token string) bool {
	return slices.Contains(strings.Fields(n.sent.String()), token)
}

// note remembers a text that was sent.
func (n *normalizer) note(text string) {
	for _, token := range tokens.FindAllString(text, -1) {
		n.sent.WriteString(token + "\n")
	}
	for _, line := range strings.Split(text, "\n") {
		for _, field := range strings.Fields(line) {
			n.sent.WriteString(field + "\n")
			if _, value, ok := strings.Cut(field, ":"); ok {
				n.sent.WriteString(value + "\n")
			}
		}
	}
}

func (n *normalizer) port(text string) string {
	value, err := strconv.Atoi(text)
	if err != nil || value == 0 || value == 9 || n.isSent(text) {
		return text
	}
	if at := slices.Index(n.ports, value); at >= 0 {
		return fmt.Sprintf("{port%d}", at+1)
	}
	if at := slices.Index(n.ports, value-1); at >= 0 {
		return fmt.Sprintf("{port%d+1}", at+1)
	}
	n.ports = append(n.ports, value)
	return fmt.Sprintf("{port%d}", len(n.ports))
}

func (n *normalizer) host(text string) string {
	if text == "0.0.0.0" || text == "::" || n.isSent(text) {
		return text
	}
	at := slices.Index(n.hosts, text)
	if at < 0 {
		n.hosts = append(n.hosts, text)
		at = len(n.hosts) - 1
	}
	return fmt.Sprintf("{ip%d}", at+1)
}

// body normalizes an SDP; attributes of one section come sorted, as their
// order has no meaning (RFC 8866 §5.13), except that of a=crypto.
func (n *normalizer) body(text string) []string {
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n")
	var out []string
	start := 0
	flush := func() {
		slices.SortStableFunc(out[start:], func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
		start = len(out)
	}
	for _, section := range splitSections(lines) {
		suites := 0
		for _, l := range section {
			if strings.HasPrefix(l, "a=crypto:") {
				suites++
			}
		}
		for _, l := range section {
			out = append(out, n.line(l, suites))
		}
		flush()
	}
	return out
}

func splitSections(lines []string) [][]string {
	var list [][]string
	for i, l := range lines {
		if i == 0 || strings.HasPrefix(l, "m=") {
			list = append(list, nil)
		}
		list[len(list)-1] = append(list[len(list)-1], l)
	}
	return list
}

// rank sorts attributes behind the lines whose place the grammar fixes.
func rank(line string) string {
	switch {
	case !strings.HasPrefix(line, "a="):
		return ""
	case strings.HasPrefix(line, "a=crypto:"):
		return "a=crypto:"
	}
	return line
}

func (n *normalizer) line(line string, suites int) string {
	switch {
	case strings.HasPrefix(line, "o="), strings.HasPrefix(line, "c="):
		f := strings.Split(line, " ")
		f[len(f)-1] = n.host(f[len(f)-1])
		return strings.Join(f, " ")
	case strings.HasPrefix(line, "m="):
		f := strings.Split(line, " ")
		if len(f) > 2 {
			f[1] = n.port(f[1])
		}
		return strings.Join(f, " ")
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return line
	}
	f := strings.Split(value, " ")
	switch name {
	case "a=rtcp":
		f[0] = n.port(f[0])
		if len(f) == 4 {
			f[3] = n.host(f[3])
		}
	case "a=ice-ufrag", "a=ice-pwd", "a=tls-id", "a=rtpengine":
		if !n.isSent(value) {
			f = []string{"{" + strings.TrimPrefix(name, "a=") + "}"}
		}
	case "a=fingerprint":
		if len(f) == 2 && !n.isSent(f[1]) {
			f[1] = "{fingerprint}"
		}
	case "a=candidate":
		n.candidate(f)
	case "a=crypto":
		n.crypto(f, suites)
	}
	return name + ":" + strings.Join(f, " ")
}

func (n *normalizer) candidate(f []string) {
	if len(f) < 8 || n.isSent(f[0]) {
		return
	}
	f[0] = "{foundation}"
	f[4], f[5] = n.knownHost(f[4]), n.knownPort(f[5])
	for i := 8; i+1 < len(f); i += 2 {
		switch f[i] {
		case "raddr":
			f[i+1] = n.knownHost(f[i+1])
		case "rport":
			f[i+1] = n.knownPort(f[i+1])
		}
	}
}

// knownPort gives no number to a port that stands only in candidates: how many
// there are depends on the addresses of the interface.
func (n *normalizer) knownPort(text string) string {
	value, err := strconv.Atoi(text)
	if err == nil && !slices.Contains(n.ports, value) && !slices.Contains(n.ports, value-1) && !n.isSent(text) {
		return "{port}"
	}
	return n.port(text)
}

func (n *normalizer) knownHost(text string) string {
	if !slices.Contains(n.hosts, text) && !n.isSent(text) {
		return "{ip}"
	}
	return n.host(text)
}

// crypto hides the key; and the tag among several, which depends on how many
// suites a daemon knows.
func (n *normalizer) crypto(f []string, suites int) {
	if len(f) < 3 {
		return
	}
	key, rest, _ := strings.Cut(strings.TrimPrefix(f[2], "inline:"), "|")
	if n.isSent(key) {
		return
	}
	f[2] = "inline:{key}"
	if rest != "" {
		f[2] += "|" + rest
	}
	if suites > 1 {
		f[0] = "{tag}"
	}
}
