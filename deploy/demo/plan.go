package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
)

// Ports that are tried first; if one is taken, a free one is used.
const (
	pagePort = 8443
	sipPort  = 5060
)

// mediaPorts is how many ports mediad takes: 100 calls.
const mediaPorts = 400

// numbers are what the demo phone answers.
var numbers = [...]struct{ number, behaviour, text string }{
	{"600", "echo", "echo: you hear yourself"},
	{"601", "tone", "a plain phone: 440 Hz, and it repeats your digits"},
	{"602", "callback", "it hangs up and calls you back"},
}

// users may sign in on the page without asking.
var users = [...]string{"alice", "bob"}

// plan is what was chosen for this run. Accounts get new passwords each time.
type plan struct {
	page, sip, ng, control int // ports
	passwords              map[string]string
}

func newPlan() (*plan, error) {
	p := &plan{passwords: make(map[string]string)}
	var err error
	for _, choice := range []struct {
		port      *int
		network   string
		host      string
		preferred int
	}{
		{&p.page, "tcp", "0.0.0.0", pagePort},
		{&p.sip, "udp", "0.0.0.0", sipPort},
		{&p.ng, "udp", "127.0.0.1", 0},
		{&p.control, "tcp", "127.0.0.1", 0},
	} {
		if *choice.port, err = freePort(choice.network, choice.host, choice.preferred); err != nil {
			return nil, err
		}
	}
	for _, u := range users {
		p.passwords[u] = rand.Text()
	}
	for _, n := range numbers {
		p.passwords[n.number] = rand.Text()
	}
	return p, nil
}

// freePort returns the preferred port if nobody has it, else any free one.
func freePort(network, host string, preferred int) (int, error) {
	for _, port := range []int{preferred, 0} {
		address := net.JoinHostPort(host, fmt.Sprint(port))
		if network == "udp" {
			conn, err := net.ListenPacket("udp4", address)
			if err != nil {
				continue
			}
			defer conn.Close()
			return conn.LocalAddr().(*net.UDPAddr).Port, nil
		}
		listener, err := net.Listen("tcp4", address)
		if err != nil {
			continue
		}
		defer listener.Close()
		return listener.Addr().(*net.TCPAddr).Port, nil
	}
	return 0, fmt.Errorf("no free %s port on %s", network, host)
}

// proxyConfig is the configuration of this run.
func (p *plan) proxyConfig(dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Made by the demo at each start.
listeners:
  - {name: browsers, transport: wss, address: "0.0.0.0:%d"}
  - {name: phones, transport: udp, address: "0.0.0.0:%d"}
domains: [localhost]
media: {nodes: ["udp:127.0.0.1:%d"]}
storage: {path: %q}
tls: {local_ca: %q}
`, p.page, p.sip, p.ng, filepath.Join(dir, "proxy.db"), filepath.Join(dir, "ca"))
	b.WriteString("users:\n")
	for _, u := range users {
		fmt.Fprintf(&b, "  - {name: %q, password: %q}\n", u, p.passwords[u])
	}
	for _, n := range numbers {
		fmt.Fprintf(&b, "  - {name: %q, password: %q}\n", n.number, p.passwords[n.number])
	}
	fmt.Fprintf(&b, "web:\n  phone: true\n  demo: true\n  demo_users: [%s]\n  dial:\n", strings.Join(users[:], ", "))
	for _, n := range numbers {
		fmt.Fprintf(&b, "    - {number: %q, text: %q}\n", n.number, n.text)
	}
	return b.String()
}

func (p *plan) mediaArgs() []string {
	return []string{
		"--config-file=none", "--interface=any", fmt.Sprintf("--listen-ng=127.0.0.1:%d", p.ng),
		fmt.Sprintf("--auto-port-range=%d", mediaPorts), "--delete-delay=0", "--foreground", "--log-stderr",
	}
}

func (p *plan) phoneArgs() []string {
	args := []string{
		"-registrar", fmt.Sprintf("127.0.0.1:%d", p.sip), "-domain", "localhost",
		"-control", fmt.Sprintf("127.0.0.1:%d", p.control),
	}
	for _, n := range numbers {
		args = append(args, "-account", n.number+":"+p.passwords[n.number]+":"+n.behaviour)
	}
	return args
}

// mediaReady reports whether mediad answers a ping.
func (p *plan) mediaReady(ctx context.Context) error {
	client, err := ngclient.New(ngclient.Config{
		Nodes:    []ngclient.NodeConfig{{Address: fmt.Sprintf("127.0.0.1:%d", p.ng), Weight: 1}},
		Interval: 100 * time.Millisecond, PingInterval: -1,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ping(ctx)
}

// pageReady reports whether the page is served under the certificate of the
// local CA.
func (p *plan) pageReady(ctx context.Context, dir string) error {
	pem, err := os.ReadFile(filepath.Join(dir, "ca", "ca.pem"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	return get(ctx, transport, fmt.Sprintf("https://localhost:%d/", p.page), io.Discard)
}

// phoneReady reports whether all numbers are registered.
func (p *plan) phoneReady(ctx context.Context) error {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	var body strings.Builder
	if err := get(ctx, transport, fmt.Sprintf("http://127.0.0.1:%d/accounts", p.control), &body); err != nil {
		return err
	}
	var accounts []struct {
		Registered bool `json:"registered"`
	}
	if err := json.Unmarshal([]byte(body.String()), &accounts); err != nil {
		return err
	}
	for _, a := range accounts {
		if !a.Registered {
			return errors.New("not registered yet")
		}
	}
	return nil
}

func get(ctx context.Context, transport *http.Transport, url string, into io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		return fmt.Errorf("%s: %s: %s", url, res.Status, strings.TrimSpace(string(text)))
	}
	_, err = io.Copy(into, io.LimitReader(res.Body, 1<<20))
	return err
}

// greet tells where to go and what to dial.
func (p *plan) greet(out io.Writer, dir string) {
	if p.page != pagePort {
		fmt.Fprintf(out, "port %d is taken, so the page is on port %d\n", pagePort, p.page)
	}
	if p.sip != sipPort {
		fmt.Fprintf(out, "port %d is taken, so SIP over UDP is on port %d\n", sipPort, p.sip)
	}
	fmt.Fprintf(out, "\nOpen   https://localhost:%d/\n", p.page)
	for _, a := range localAddresses() {
		fmt.Fprintf(out, "   or  https://%s/\n", netip.AddrPortFrom(a, uint16(p.page)))
	}
	fmt.Fprintf(out, "The browser warns once: the certificate is of the local CA %s.\n\nDial\n", filepath.Join(dir, "ca", "ca.pem"))
	for _, n := range numbers {
		fmt.Fprintf(out, "  %s  %s\n", n.number, n.text)
	}
	fmt.Fprintf(out, "  %s  the other page, if you open it twice\n\nLogs are in %s. Ctrl-C ends everything.\n", strings.Join(users[:], ", "), filepath.Join(dir, "log"))
}

// localAddresses are the addresses under which others reach this machine.
func localAddresses() []netip.Addr {
	var out []netip.Addr
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() && prefix.Addr().IsGlobalUnicast() {
			out = append(out, prefix.Addr())
		}
	}
	return out
}
