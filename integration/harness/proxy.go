package harness

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// proxyConfig has, in order: host, SIP and WSS ports, users, ringing time, ng address,
// certificate chain and key.
const proxyConfig = `listeners:
  - {name: phones, transport: udp, address: "%[1]s:%[2]s"}
  - {name: browsers, transport: wss, address: "%[1]s:%[3]s", path: /ws, origins: ["*"]}
domains: [` + Domain + `]
users:
%[4]sroutes:
  - {name: users, to: registered, timeout: %[5]s}
media:
  nodes: ["udp:%[6]s"]
storage: {path: ":memory:"}
tls: {certificate: "%[7]s", key: "%[8]s"}
log: {level: debug}
`

// StartProxy runs the project's proxy on host with all users of an exam, using
// the media daemon at ngAddress.
func StartProxy(program, host, ngAddress, dir string) (*Signalling, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	certificate, err := MakeCertificate(dir, host)
	if err != nil {
		return nil, err
	}
	var ports [2]string
	for i := range ports {
		port, err := FreePort(host)
		if err != nil {
			return nil, err
		}
		ports[i] = strconv.Itoa(port)
	}
	var accounts strings.Builder
	for _, user := range slices.Concat(PhoneUsers, []string{PageUser, OtherUser}) {
		fmt.Fprintf(&accounts, "  - {name: %q, password: %q}\n", user, Password)
	}
	text := fmt.Sprintf(proxyConfig, host, ports[0], ports[1], accounts.String(), RingTime,
		ngAddress, certificate.Chain, certificate.Key)
	file := filepath.Join(dir, "proxy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	wss := net.JoinHostPort(host, ports[1])
	s := &Signalling{SIP: net.JoinHostPort(host, ports[0]), WSS: "wss://" + wss + "/ws"}
	s.Process, err = Start(Spec{Name: "proxy", Path: program, Dir: dir, Args: []string{"-config", file}})
	if err != nil {
		return nil, err
	}
	if err := s.Ready(listening(wss)); err != nil {
		return nil, s.fail(err)
	}
	return s, nil
}
