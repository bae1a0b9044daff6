package settings

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTrunkDefaults(t *testing.T) {
	s, err := Load(write(t, smallest+`
trunks:
  - name: carrier
    targets: [{uri: "sip:a.example"}, {uri: "sip:b.example;transport=tls", weight: 3, priority: 1}]
    credentials: {user: u, password: p}
    register: [{aor: "sip:100@a.example"}, {aor: "sip:200@a.example", credentials: {user: x, password: y}}]
    rewrite: [{match: "^00", strip: 2, add: "+"}]
  - name: pbx
    sources: [192.0.2.1]
    targets: [{uri: "sip:192.0.2.1"}]
    identity: {trusted: false}
routes: [{to: carrier}, {to: [carrier, pbx], profile: srtp}, {to: "sip:h"}]
`))
	require.NoError(t, err)
	carrier := s.Trunk("carrier")
	require.Equal(t, []int{1, 3}, []int{carrier.Targets[0].Weight, carrier.Targets[1].Weight})
	require.Equal(t, 5*time.Second, time.Duration(carrier.Timeout))
	require.Equal(t, []string{"u", "x"}, []string{carrier.Register[0].Credentials.User, carrier.Register[1].Credentials.User})
	require.Equal(t, Rewrite{Direction: "out", Number: "called", Match: "^00", Strip: 2, Add: "+"}, carrier.Rewrite[0])
	require.True(t, *carrier.Identity.Trusted)
	require.False(t, *s.Trunk("pbx").Identity.Trusted)
	require.Equal(t, []string{"", "srtp", "sip"}, []string{s.Routes[0].Profile, s.Routes[1].Profile, s.Routes[2].Profile})
}

func TestTrunkFaults(t *testing.T) {
	_, err := Load(write(t, smallest+`
trunks:
  - name: reject
    sources: [192.0.2.1]
    targets: [{uri: "sip:u@h"}, {uri: "tel:1"}]
    failover: [200, 6xx, 5xx]
    timeout: 1h
    probe: {interval: 1ms, down_after: 1000}
    credentials: {user: x}
    register: [{aor: h, contact: "a b", expires: 1s}]
    identity: {headers: [From], number: "a@b", domain: "x y"}
    codecs: ["PC MA"]
    rewrite: [{direction: up, number: both, match: "(", replace: "$1", add: x}, {replace: x}]
    max_calls: -1
    calls_per_second: -1
  - name: b
    sources: [192.0.2.2]
    register: [{aor: "sip:a@b"}]
routes: [{to: [b, c]}, {to: b}, {to: [reject, reject, "sip:h"]}]
resolver: {servers: [x], timeout: 1ms}
`))
	require.Error(t, err)
	for _, want := range []string{
		`trunks[0].name: "reject" is taken`, "trunks[0].targets[0].uri: the URI must have no user", `trunks[0].targets[1].uri: "tel:1"`,
		`trunks[0].failover[0]: "200" is not`, "failover[1]", "trunks[0].timeout: must be", "probe.interval", "probe.down_after",
		"trunks[0].credentials: user and password", `register[0].aor: "h" is not like`, "register[0].contact", "register[0].expires",
		"register[0].credentials: user and", `identity.headers[0]: "From" is neither`, "identity.number", "identity.domain", "trunks[0].codecs[0]",
		`rewrite[0].direction: "up"`, "rewrite[0].number", "rewrite[0].match: error", "rewrite[0].replace: cannot stand beside", "rewrite[1].replace: needs match",
		"max_calls", "calls_per_second: must not", "trunks[1].register[0].registrar: missing",
		`routes[0].to[0]: trunk "b" has no targets`, `routes[0].to[1]: no trunk is called "c"`, `routes[1].to: trunk "b" has no`,
		`routes[2].to[1]: "reject" is given twice`, "routes[2].to[2]: no trunk", "resolver.servers[0]", "resolver.timeout",
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestCodes(t *testing.T) {
	in := Codes([]string{"408", "5xx"})
	for code, want := range map[int]bool{408: true, 409: false, 499: false, 500: true, 599: true, 600: false} {
		require.Equal(t, want, in(code), code)
	}
}
