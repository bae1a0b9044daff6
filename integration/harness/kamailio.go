package harness

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// Domain is the SIP domain of every exam.
	Domain = "tandem.test"
	// Password is that of every test user.
	Password = "exam-password"
	// RingTime is how long the signalling peers let a callee ring.
	RingTime = 4 * time.Second
)

// Signalling is a running SIP proxy and the addresses it listens at.
type Signalling struct {
	*Process
	SIP string // host:port for UDP
	WSS string // URL for browsers
}

// StartKamailio runs Debian's Kamailio with integration/kamailio/kamailio.cfg on
// host, using the media daemon at ngAddress.
func StartKamailio(config, host, ngAddress, dir string) (*Signalling, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "kamailio.cfg")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, err
	}
	certificate, err := MakeCertificate(dir, host)
	if err != nil {
		return nil, err
	}
	var ports [3]string
	for i := range ports {
		port, err := FreePort(host)
		if err != nil {
			return nil, err
		}
		ports[i] = strconv.Itoa(port)
	}
	site := [][2]string{
		{"SIP_ADDR", host}, {"SIP_PORT", ports[0]}, {"WSS_PORT", ports[1]}, {"WS_PORT", ports[2]},
		{"SIP_DOMAIN", Domain}, {"NG_SOCK", "udp:" + ngAddress}, {"TEST_PASSWORD", Password},
		{"TLS_CERT", certificate.Chain}, {"TLS_KEY", certificate.Key},
		{"RING_MS", strconv.Itoa(int(RingTime.Milliseconds()))},
	}
	var lines strings.Builder
	for _, pair := range site {
		fmt.Fprintf(&lines, "#!substdef \"!%s!%s!g\"\n", pair[0], pair[1])
	}
	if err := os.WriteFile(filepath.Join(dir, "site.cfg"), []byte(lines.String()), 0o600); err != nil {
		return nil, err
	}
	s := &Signalling{SIP: net.JoinHostPort(host, ports[0]), WSS: "wss://" + net.JoinHostPort(host, ports[1]) + "/"}
	s.Process, err = Start(Spec{Name: "kamailio", Path: "kamailio", Dir: dir,
		Args: []string{"-DD", "-E", "-m", "64", "-M", "8", "-Y", dir, "-f", file}})
	if err != nil {
		return nil, err
	}
	if err := s.Ready(listening(net.JoinHostPort(host, ports[1]))); err != nil {
		return nil, s.fail(err)
	}
	return s, nil
}

// listening checks that something accepts TCP at address.
func listening(address string) func() error {
	return func() error {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
