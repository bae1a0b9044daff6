package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/pkg/conf"
)

func write(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "proxy.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const smallest = `
listeners: [{name: a, transport: wss, address: "127.0.0.1:0"}]
domains: [Example.org]
`

func TestDefaults(t *testing.T) {
	s, err := Load(write(t, smallest+`
users: [{name: alice, password: x}]
routes: [{to: registered}]
profiles:
  sip: {interface: inside}
  own: {flags: "RTP/AVP"}
`))
	require.NoError(t, err)
	require.Equal(t, ProfileWebRTC, s.Listeners[0].Profile)
	require.Equal(t, "Example.org", s.Users[0].Domain)
	require.Equal(t, []string{FromUsers}, s.Routes[0].From)
	require.Equal(t, ProfileSIP, s.Routes[0].Profile)
	require.Equal(t, builtinProfiles()[ProfileSIP].Flags, s.Profiles[ProfileSIP].Flags)
	require.Equal(t, "inside", s.Profiles[ProfileSIP].Interface)
	require.Contains(t, s.Profiles, ProfileSRTP)
	require.Equal(t, time.Hour, time.Duration(s.Registrar.MaxExpires))
}

func TestSampleIsGood(t *testing.T) {
	s, err := Load("../../../deploy/proxy.yaml")
	require.NoError(t, err)
	require.True(t, s.Web.Phone)
	require.False(t, s.Web.Demo)
	require.Empty(t, s.Users, "no account that everybody knows")
}

// Each fault is found, at its line.
func TestFaults(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "listeners: at least one|domains: at least one"},
		{smallest + "listner: 1", "4: listner: unknown key"},
		{"listeners:\n  - {name: a, transport: upd, address: \"h:1\"}\n  - {name: a, transport: udp, path: /x, origins: [x]}\ndomains: [d]",
			`2: listeners[0].transport: "upd" is none of|2: listeners[0].address: "h" is not an IP|3: listeners[1].name: "a" is taken|3: listeners[1].address: missing|3: listeners[1].path: only|3: listeners[1].origins: only|3: listeners[1].origins[0]: "x" is neither`},
		{smallest + "domains: []", "given twice"},
		{"listeners: [{name: a, transport: wss, address: \"127.0.0.1:0\", profile: p, path: x}]\ndomains: [\"a b\"]",
			`1: listeners[0].profile: no profile|1: listeners[0].path: must begin|2: domains[0]: "a b" is not`},
		{smallest + "users:\n  - {name: \"a b\", password: x}\n  - {name: c}\n  - {name: c, password: x, ha1: {md5: zz, sha256: \"00\"}, domain: e.org}",
			"users[0].name|users[1].password: missing|users[2].domain|users[2].ha1: password and|users[2].ha1.md5: must be 32|users[2].ha1.sha256: must be 64"},
		{smallest + "dialogs:\n  store: paper\n  session_timer: {min: 30s, interval: 10s}\n  limits: {per_user: -1}",
			"5: dialogs.store: \"paper\" is neither|6: dialogs.session_timer.min: 30s is not from 1m30s|6: dialogs.session_timer.interval|7: dialogs.limits.per_user"},
		{smallest + "users: [{name: c, password: x},{name: c, password: y}]", "users[1].name: c@example.org is given twice"},
		{smallest + "registrar: {min_expires: 1s, max_expires: 48h, default_expires: 72h, max_contacts: 0}",
			"min_expires|max_expires|default_expires|max_contacts: 0 is not from 1 to 100"},
		{smallest + "auth: {algorithms: []}", "auth.algorithms: at least one"},
		{smallest + "auth: {algorithms: [MD5, SHA-1, MD5]}", `auth.algorithms[1]: "SHA-1" is neither|auth.algorithms[2]: "MD5"`},
		{smallest + "trunks:\n  - {name: users, sources: [0.0.0.0/0], profile: q}\n  - {}",
			`trunks[0].name: "users" is taken|trunks[0].sources[0]: 0.0.0.0/0 would trust everybody|trunks[0].profile|trunks[1].name: missing|trunks[1].sources: at least`},
		{smallest + "routes:\n  - {from: [x], domain: \"a b\", prefix: a, pattern: \"(\", strip: 99, add: \"a@b\", to: \"http://x\"}\n  - {to: \"sip:u@h\"}\n  - {}",
			"routes[0].from[0]|routes[0].domain|routes[0].pattern: prefix and|routes[0].pattern: error parsing|routes[0].strip|routes[0].add|routes[0].to|routes[1].to: the URI must have no user|routes[2].to"},
		{smallest + "media:\n  nodes: [\"tcp:a:1\", \"udp:a\", \"udp:a:1=x\"]\n  timeout: 1ms\n  max_calls: 0",
			"5: media.nodes[0]|5: media.nodes[1]|5: media.nodes[2]: \"udp:a:1=x\": the weight|6: media.timeout|7: media.max_calls"},
		{smallest + "media:\n  nodes:\n    - {address: \"udp:a:1\", weight: 1001}\n    - udp:a:1\n    - {address: \"udp:b:1\", interfaces: {x: y}}",
			`6: media.nodes[0]: the weight must be|7: media.nodes[1]: "udp:a:1" is listed twice|8: media.nodes[2].interfaces.x: no profile`},
		{smallest + "storage: {path: \"\"}\ntls: {certificate: x, local_ca: \"\"}\nweb: {demo: true}",
			"4: storage.path: missing|5: tls: certificate and key|6: web.demo_users: demo needs"},
		{smallest + "web: {demo: true, demo_users: [eve]}", `web.demo_users[0]: "eve" is no user`},
		{smallest + "limits: {connections: 0, header: 1, idle: 1ms, requests_per_second: 0}\nlog: {level: loud, format: xml}",
			"limits.connections|limits.header|limits.idle|limits.requests_per_second: must be|log.level: \"loud\"|log.format: \"xml\""},
	} {
		_, err := Load(write(t, c.text))
		require.Error(t, err, c.text)
		for _, want := range strings.Split(c.want, "|") {
			require.ErrorContains(t, err, want)
		}
		require.Equal(t, strings.Count(c.want, "|")+1, strings.Count(err.Error(), "\n")+1, err.Error())
	}
}

// The manual names every key that exists, and no other.
func TestManual(t *testing.T) {
	manual, err := os.ReadFile("../../../docs/proxy-config.md")
	require.NoError(t, err)
	keys := conf.Keys(Settings{})
	known := make(map[string]bool, len(keys))
	for _, key := range keys {
		// A list of plain values may be written without its brackets.
		known[key], known[strings.TrimSuffix(key, "[]")] = true, true
		require.True(t, strings.Contains(string(manual), "| `"+key+"` |") || strings.Contains(string(manual), "| `"+strings.TrimSuffix(key, "[]")+"` |"), "not in the manual: %s", key)
	}
	for _, line := range strings.Split(string(manual), "\n") {
		rest, ok := strings.CutPrefix(line, "| `")
		if !ok {
			continue
		}
		for _, cell := range strings.Split(rest, "`, `") {
			name, _, _ := strings.Cut(cell, "`")
			if strings.Contains(name, ".") {
				require.True(t, known[name], "in the manual, but no key: %s", name)
			}
		}
	}
}

func TestDomains(t *testing.T) {
	d := NewDomains([]string{"Example.org", "two.example"}, "198.51.100.7", "sbc.example", "")
	for host, want := range map[string]string{
		"example.ORG": "example.org", "example.org.": "example.org", "TWO.example": "two.example", "localhost": "example.org",
		"127.0.0.1": "example.org", "[::1]": "example.org", "::ffff:127.0.0.1": "example.org", "198.51.100.7": "example.org",
	} {
		got, ok := d.Canonical(host)
		require.True(t, ok, host)
		require.Equal(t, want, got, host)
	}
	for _, host := range []string{"", "elsewhere.net", "203.0.113.1", "evil-example.org"} {
		_, ok := d.Canonical(host)
		require.False(t, ok, host)
	}
}

func TestNodes(t *testing.T) {
	s, err := Load(write(t, smallest+`
profiles: {sip: {interface: in}}
media:
  nodes:
    - "udp:[::1]:2223=0"
    - udp:h:1
    - {address: "udp:a:2223", weight: 3, interfaces: {in: lan}}
  reanchor: {after: 1s}
`))
	require.NoError(t, err)
	n := s.Media.Nodes
	require.Equal(t, "[::1]:2223", n[0].HostPort())
	require.Equal(t, []int{0, 1, 3}, []int{n[0].Share(), n[1].Share(), n[2].Share()})
	require.Equal(t, map[string]string{"in": "lan"}, n[2].Interfaces)
	require.Equal(t, 500, s.Media.Reanchor.CallsPerSecond)
}
