//go:build integration

package dropin

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// normal replaces what a daemon chose at random by names in order of appearance:
// a value that comes back later has to be the same one.
type normal struct {
	names  map[string]string
	counts map[string]int
	said   strings.Builder // all SDP that the parties sent
}

func (n *normal) sent(text string) { n.said.WriteString(text + "\n") }

func (n *normal) isSent(value string) bool { return strings.Contains(n.said.String(), value) }

// name returns the placeholder of a value of one kind.
func (n *normal) name(kind, value string) string {
	if n.names == nil {
		n.names, n.counts = map[string]string{}, map[string]int{}
	}
	key := kind + "\x00" + value
	if n.names[key] == "" {
		n.counts[kind]++
		n.names[key] = fmt.Sprintf("{%s%d}", kind, n.counts[kind])
	}
	return n.names[key]
}

// port names a media port of the daemon, told apart by address; others stay.
func (n *normal) port(host, text string) string {
	if !isOurs(text) {
		return text
	}
	return n.name("port", host+" "+text)
}

// rtcpPort names the neighbour of a known port after it.
func (n *normal) rtcpPort(host, text string) string {
	if !isOurs(text) {
		return text
	}
	port, _ := strconv.Atoi(text)
	rtp, known := n.names["port\x00"+host+" "+strconv.Itoa(port-1)]
	if own := "port\x00" + host + " " + text; known && n.names[own] == "" {
		n.names[own] = rtp + "+1"
	}
	return n.port(host, text)
}

func isOurs(text string) bool {
	port, err := strconv.Atoi(text)
	return err == nil && port >= 30000 && port <= 40000
}

// reply writes a reply as sorted lines, the SDP last.
func (n *normal) reply(reply map[string]any) []string {
	list := n.flat("", "", reply)
	if text, ok := reply["sdp"].(string); ok {
		list = append(list, n.body(text)...)
	}
	return list
}

// volatile are keys whose numbers differ from run to run.
var volatile = regexp.MustCompile(`(^|\.)(created|created_us|created_ts|last signal|last packet|last user packet|last kernel packet|last redis update)$`)

func (n *normal) flat(prefix, host string, v any) []string {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return []string{prefix + ": {}"}
		}
		if address, ok := v["local address"].(string); ok {
			host = address
		}
		var list []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if prefix == "" && key == "sdp" {
				continue
			}
			list = append(list, n.flat(strings.TrimPrefix(prefix+"."+key, "."), host, v[key])...)
		}
		return list
	case []any:
		list := []string{fmt.Sprintf("%s: [%d]", prefix, len(v))}
		for i, e := range v {
			list = append(list, n.flat(fmt.Sprintf("%s[%d]", prefix, i), host, e)...)
		}
		return list
	}
	text := fmt.Sprint(v)
	switch {
	case prefix == "to-tag" || prefix == "call-id": // that the daemon has made up
		text = n.name(prefix, text)
	case strings.HasSuffix(prefix, "streams[1].local port"):
		text = n.rtcpPort(host, text)
	case strings.HasSuffix(prefix, "local port"):
		text = n.port(host, text)
	case volatile.MatchString(prefix) && text != "0":
		text = "{number}"
	}
	return []string{prefix + ": " + text}
}

// body writes an SDP with its line ends checked.
func (n *normal) body(text string) []string {
	lines := strings.Split(text, "\r\n")
	session, host := "", ""
	inMedia := false
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line, "m="):
			inMedia, host = true, session
			for _, later := range lines[i+1:] {
				if strings.HasPrefix(later, "m=") {
					break
				}
				if strings.HasPrefix(later, "c=") {
					host = lastField(later)
				}
			}
		case strings.HasPrefix(line, "c=") && !inMedia:
			session = lastField(line)
		}
		lines[i] = n.line(line, host)
	}
	return lines
}

func lastField(line string) string {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return ""
	}
	return fields[len(fields)-1]
}

func (n *normal) line(line, host string) string {
	fields := strings.Split(line, " ")
	name, value, _ := strings.Cut(fields[0], ":")
	switch name {
	case "a=rtcp":
		if len(fields) == 4 {
			host = fields[3]
		}
		fields[0] = name + ":" + n.rtcpPort(host, value)
	case "a=ice-ufrag", "a=ice-pwd", "a=tls-id", "a=rtpengine":
		if !n.isSent(value) {
			fields[0] = name + ":" + n.name(name[2:], value)
		}
	case "a=fingerprint":
		if len(fields) == 2 && !n.isSent(fields[1]) {
			fields[1] = n.name("fingerprint", fields[1]) + fmt.Sprint(len(fields[1]))
		}
	case "a=crypto":
		if len(fields) > 2 {
			key, rest, found := strings.Cut(fields[2], "|")
			if !n.isSent(key) {
				fields[2] = n.name("key", key) + fmt.Sprint(len(key))
				if found {
					fields[2] += "|" + rest
				}
			}
		}
	case "a=candidate":
		if len(fields) > 5 && !n.isSent(value) {
			fields[0] = name + ":" + n.name("foundation", value)
			port := n.port
			if fields[1] == "2" {
				port = n.rtcpPort
			}
			fields[5] = port(fields[4], fields[5])
			for i := 6; i+1 < len(fields); i++ {
				if fields[i] == "rport" {
					fields[i+1] = port(fields[i-1], fields[i+1])
				}
			}
		}
	default:
		if strings.HasPrefix(line, "m=") && len(fields) > 1 {
			fields[1] = n.port(host, fields[1])
		}
	}
	return strings.Join(fields, " ")
}

// legacyReply hides the cookie and the port.
func (t *talk) legacyReply(text string) string {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return "(empty)"
	}
	fields[0] = "{cookie}"
	for i := 1; i+1 < len(fields); i++ {
		fields[i] = t.normal.port(fields[i+1], fields[i])
	}
	return strings.Join(fields, " ")
}
