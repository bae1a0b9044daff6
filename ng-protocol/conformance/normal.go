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
	ports []transport     // daemon's ports in order of appearance
	hosts []string        // daemon's addresses in order of appearance
	base  uint64          // session version that the daemon has begun with
	names map[int]string  // of the parties' ports: "A", "A+1"
}

// transport is an address and port: two interfaces may have the same number in use.
type transport struct {
	host string
	port int
}

var number = regexp.MustCompile(`\b[0-9]{5}\b`)

var tokens = regexp.MustCompile(`[^\s:|;,=\[\]]+`)

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

// find returns the place of a port among those known, -1 if it is new. A
// connection of 0.0.0.0 (hold) tells nothing of the interface.
func (n *normalizer) find(host string, port int) int {
	return slices.IndexFunc(n.ports, func(t transport) bool {
		return t.port == port && (t.host == host || unspecified(host) || unspecified(t.host))
	})
}

func unspecified(host string) bool { return host == "0.0.0.0" || host == "::" || host == "" }

func (n *normalizer) port(host, text string) string {
	value, err := strconv.Atoi(text)
	if err != nil || value == 0 || value == 9 || n.names[value] != "" || n.isSent(text) {
		return text
	}
	if at := n.find(host, value); at >= 0 {
		return fmt.Sprintf("{port%d}", at+1)
	}
	if at := n.find(host, value-1); at >= 0 {
		return fmt.Sprintf("{port%d+1}", at+1)
	}
	n.ports = append(n.ports, transport{host, value})
	return fmt.Sprintf("{port%d}", len(n.ports))
}

// session hides a random session identifier.
func (n *normalizer) session(text string) string {
	if value, err := strconv.ParseUint(text, 10, 64); err != nil || n.isSent(text) || value < 1<<16 {
		return text
	}
	return "{session}"
}

// version hides a random session version, but not by how much it grows.
func (n *normalizer) version(text string) string {
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n.isSent(text) || value < 1<<16 {
		return text
	}
	if n.base == 0 || value < n.base || value-n.base > 100 {
		n.base = value
	}
	return "{version+" + strconv.FormatUint(value-n.base, 10) + "}"
}

// named puts the name of a party's port in its place.
func (n *normalizer) named(text string) string {
	value, err := strconv.Atoi(text)
	if name := n.names[value]; err == nil && name != "" {
		return "{" + name + "}"
	}
	return text
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

// body normalizes an SDP.
func (n *normalizer) body(text string) []string {
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n")
	var out []string
	session := ""
	for _, section := range splitSections(lines) {
		host := session
		for _, l := range section {
			if f := strings.Fields(l); strings.HasPrefix(l, "c=") && len(f) == 3 {
				host = f[2]
			}
		}
		if len(out) == 0 {
			session = host
		}
		for _, l := range section {
			out = append(out, number.ReplaceAllStringFunc(n.line(host, l), n.named))
		}
	}
	return out
}

// unordered sorts the attributes of each section of the SDP in the lines of an
// event, except that crypto lines keep theirs, which is an order of preference;
// their tags are hidden where there are several.
func unordered(lines []string) []string {
	at := sdpAt(lines)
	out := slices.Clone(lines[:at])
	for _, section := range splitSections(lines[at:]) {
		section = slices.Clone(section)
		suites := 0
		for _, l := range section {
			if strings.HasPrefix(l, "a=crypto:") {
				suites++
			}
		}
		for i, l := range section {
			if tag, rest, ok := strings.Cut(l, " "); ok && suites > 1 && strings.HasPrefix(tag, "a=crypto:") {
				section[i] = "a=crypto:{tag} " + rest
			}
		}
		slices.SortStableFunc(section, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
		out = append(out, section...)
	}
	return out
}

// sdpAt is where the SDP begins in the lines of an event.
func sdpAt(lines []string) int {
	at := slices.IndexFunc(lines, func(l string) bool { return len(l) > 1 && l[1] == '=' })
	if at < 0 {
		return len(lines)
	}
	return at
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

// line normalizes a line of a section whose connection address is host.
func (n *normalizer) line(host, line string) string {
	switch {
	case strings.HasPrefix(line, "o="), strings.HasPrefix(line, "c="):
		f := strings.Split(line, " ")
		if len(f) == 6 {
			f[1], f[2] = n.session(f[1]), n.version(f[2])
		}
		f[len(f)-1] = n.host(f[len(f)-1])
		return strings.Join(f, " ")
	case strings.HasPrefix(line, "s=rtpengine") && !n.isSent(strings.TrimPrefix(line, "s=")):
		return "s={daemon}" // its name and version
	case strings.HasPrefix(line, "m="):
		f := strings.Split(line, " ")
		if len(f) > 2 {
			port, count, several := strings.Cut(f[1], "/")
			f[1] = n.port(host, port)
			if several {
				f[1] += "/" + count
			}
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
		if len(f) == 4 {
			host, f[3] = f[3], n.host(f[3])
		}
		f[0] = n.port(host, f[0])
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
		n.crypto(f)
	}
	return name + ":" + strings.Join(f, " ")
}

func (n *normalizer) candidate(f []string) {
	if len(f) < 8 || n.isSent(f[0]) {
		return
	}
	f[0] = "{foundation}"
	f[4], f[5] = n.knownTransport(f[4], f[5])
	for i := 8; i+3 < len(f); i += 2 {
		if f[i] == "raddr" {
			f[i+1], f[i+3] = n.knownTransport(f[i+1], f[i+3])
		}
	}
}

// knownTransport gives no number to an address or port that stands only in
// candidates: how many there are depends on the addresses of the interface.
func (n *normalizer) knownTransport(host, port string) (string, string) {
	if !slices.Contains(n.hosts, host) && !n.isSent(host) {
		return "{ip}", "{port}"
	}
	value, err := strconv.Atoi(port)
	if err == nil && n.find(host, value) < 0 && n.find(host, value-1) < 0 && !n.isSent(port) {
		return n.host(host), "{port}"
	}
	return n.host(host), n.port(host, port)
}

// crypto hides the key.
func (n *normalizer) crypto(f []string) {
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
}
