package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// proxy is the process that is stormed.
type proxy struct {
	*harness.Process
	sip, wss string // host:port
	roots    *x509.CertPool
}

const host = "127.0.0.1"

// startProxy runs the proxy with an account for every agent. kind is the key of its certificate, ecdsa or rsa; binary an already
// built one or empty.
func startProxy(dir, kind, binary, extra string, users []string) (*proxy, error) {
	if binary == "" {
		var err error
		if binary, err = harness.Build(dir, "proxy"); err != nil {
			return nil, err
		}
	}
	p := &proxy{roots: x509.NewCertPool()}
	var ports [2]int
	for i := range ports {
		port, err := harness.FreePort(host)
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	p.sip, p.wss = net.JoinHostPort(host, strconv.Itoa(ports[0])), net.JoinHostPort(host, strconv.Itoa(ports[1]))
	files := harness.Certificate{Chain: filepath.Join(dir, "ca", "server.pem")}
	secure := fmt.Sprintf("{local_ca: %q}", filepath.Join(dir, "ca"))
	if kind == "rsa" {
		var err error
		if files, err = makeRSA(dir); err != nil {
			return nil, err
		}
		secure = fmt.Sprintf("{certificate: %q, key: %q}", files.Chain, files.Key)
	}
	var accounts strings.Builder
	for _, u := range users {
		fmt.Fprintf(&accounts, "- {name: %s, password: %s}\n", u, password)
	}
	config := filepath.Join(dir, "proxy.yaml")
	text := fmt.Sprintf(`listeners:
- {name: phones, transport: udp, address: "%s"}
- {name: browsers, transport: wss, address: "%s"}
domains: [%s]
users:
%sstorage: {path: %q}
tls: %s
limits: {connections: 200000}
dialogs: {grace: 1m}
log: {level: warn}
%s
`, p.sip, p.wss, domain, accounts.String(), filepath.Join(dir, "proxy.db"), secure, extra)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	var err error
	p.Process, err = harness.Start(harness.Spec{Name: "proxy", Path: binary, Dir: dir, Args: []string{"-config", config}})
	if err != nil {
		return nil, err
	}
	err = p.Ready(func() error {
		conn, err := net.DialTimeout("tcp", p.wss, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err == nil {
		var chain []byte
		chain, err = os.ReadFile(strings.Replace(files.Chain, filepath.Join("ca", "server.pem"), filepath.Join("ca", "ca.pem"), 1))
		p.roots.AppendCertsFromPEM(chain)
	}
	if err != nil {
		_ = p.Stop()
		return nil, err
	}
	return p, nil
}

// makeRSA writes a self-signed certificate with an RSA key of 2048 bits, which costs a server more than one with ECDSA.
func makeRSA(dir string) (harness.Certificate, error) {
	files := harness.Certificate{Chain: filepath.Join(dir, "rsa.pem"), Key: filepath.Join(dir, "rsa.key")}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return files, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.ParseIP(host)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return files, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return files, err
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	if err := os.WriteFile(files.Chain, block("CERTIFICATE", der), 0o644); err != nil {
		return files, err
	}
	return files, os.WriteFile(files.Key, block("PRIVATE KEY", private), 0o600)
}

// load is what a process has used so far.
type load struct {
	resident int           // bytes
	cpu      time.Duration // user and system
}

// use reads /proc; clock ticks are 10 ms on Linux.
func (p *proxy) use() (load, error) {
	var l load
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return l, err
	}
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				return l, err
			}
			l.resident = kib << 10
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return l, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	for _, i := range []int{11, 12} {
		ticks, err := strconv.Atoi(fields[i])
		if err != nil {
			return l, err
		}
		l.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	return l, nil
}
