//go:build integration

// Package nat is the exam of calls through NATs: a plain phone behind one, a
// browser-like peer behind another, proxy and mediad on a public address, each
// in a network namespace of its own.
package nat

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

const (
	phoneControl = "10.10.1.2:8099"
	toneLimit    = 20.0 // Hz a tone may be off
	talk         = 6 * time.Second
)

const proxyConfig = `listeners:
  - {name: phones, transport: udp, address: "` + coreAddr + `:5060"}
  - {name: browsers, transport: wss, address: "` + coreAddr + `:8443", path: /ws, origins: ["*"]}
domains: [example.test]
users:
  - {name: page, password: secret}
  - {name: "601", password: secret}
routes:
  - {name: users, to: registered}
media:
  nodes: ["udp:127.0.0.1:2223"]
storage: {path: ":memory:"}
tls: {local_ca: "ca"}
log: {level: debug}
`

func TestCallsThroughNAT(t *testing.T) {
	programs := build(t)
	for _, c := range []struct {
		name        string
		phone, page filter
	}{
		{"port-restricted", portRestricted, portRestricted},
		{"symmetric", symmetric, symmetric},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := filepath.Abs(filepath.Join("..", "out", "nat", c.name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			x := &exam{top: namespaces(t, c.phone, c.page), programs: programs, dir: dir}
			x.start(t)
			t.Run("page calls phone", x.pageCallsPhone)
			t.Run("phone calls page", x.phoneCallsPage)
		})
	}
}

type exam struct {
	top      topology
	programs map[string]string
	dir      string
	media    *harness.Process
}

// run starts a program in a namespace and ends it with the test.
func (x *exam) run(t *testing.T, ns, name string, args ...string) *harness.Process {
	t.Helper()
	p, err := harness.Start(harness.Spec{
		Name: name, Path: "ip", Dir: x.dir,
		Args: append([]string{"netns", "exec", ns, x.programs[name]}, args...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (x *exam) start(t *testing.T) {
	t.Helper()
	x.media = x.run(t, x.top.core, "mediad", "--config-file=none", "--foreground", "--log-stderr", "--log-level=7",
		"--interface="+coreAddr, "--listen-ng=127.0.0.1:2223", "--port-min=30000", "--port-max=30099", "--delete-delay=0")
	config := filepath.Join(x.dir, "proxy.yaml")
	if err := os.WriteFile(config, []byte(proxyConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := x.run(t, x.top.core, "proxy", "-config", config)
	if err := proxy.Ready(func() error {
		out, err := in(x.top.core, "ss", "-Hltun", "sport", "=", ":8443").CombinedOutput()
		if err == nil && len(strings.TrimSpace(string(out))) == 0 {
			err = fmt.Errorf("port 8443 is not open")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	phone := x.run(t, x.top.phone, "demo-phone", "-listen", "10.10.1.2:5060", "-control", phoneControl,
		"-registrar", coreAddr+":5060", "-domain", "example.test", "-record", filepath.Join(x.dir, "heard"),
		"-log-sip", filepath.Join(x.dir, "phone-sip.jsonl"), "-account", "601:secret:tone,ring=200ms")
	if err := phone.Ready(func() error {
		var accounts []struct{ Registered bool }
		if err := x.control(&accounts, "get", "/accounts"); err != nil {
			return err
		}
		if len(accounts) != 1 || !accounts[0].Registered {
			return fmt.Errorf("not registered: %+v", accounts)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// control asks the phone's HTTP interface from inside its namespace.
func (x *exam) control(result any, method, path string, body ...string) error {
	args := append([]string{x.programs["webrtcpeer"], method, "http://" + phoneControl + path}, body...)
	out, err := in(x.top.phone, args...).Output()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", method, path, err, out)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(out, result)
}

// event is one line of webrtcpeer's report.
type event struct {
	Event, Reason, ICE, SDP string
	Frequency               float64
	Packets, Lost           int
}

// peer runs the browser-like peer behind its NAT and hands each event to on.
func (x *exam) peer(t *testing.T, on func(event), args ...string) []event {
	t.Helper()
	cmd := in(x.top.page, append([]string{x.programs["webrtcpeer"], "-url", "wss://" + coreAddr + ":8443/ws",
		"-domain", "example.test", "-user", "page", "-password", "secret"}, args...)...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	events := read(pipe, on)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("webrtcpeer: %v, events %+v", err, events)
	}
	return events
}

func read(pipe io.Reader, on func(event)) []event {
	var events []event
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			events = append(events, e)
			on(e)
		}
	}
	return events
}

// call is what the phone tells of a call.
type call struct {
	State, RemoteSDP string
	RTP              struct {
		Sent, Received, Lost int
		FrequencyHz          float64
	}
}

// judge checks the tones that both sides heard while they talked.
func (x *exam) judge(t *testing.T, events []event, during call) {
	t.Helper()
	var last event
	for _, e := range events {
		if e.Event == "media" {
			last = e
		}
	}
	if d := last.Frequency - 440; d < -toneLimit || d > toneLimit {
		t.Errorf("the page heard %v Hz, want 440: %+v", last.Frequency, events)
	}
	if last.Lost*100 > last.Packets {
		t.Errorf("the page lost %d of %d packets", last.Lost, last.Packets)
	}
	if d := during.RTP.FrequencyHz - 1000; d < -toneLimit || d > toneLimit {
		t.Errorf("the phone heard %v Hz, want 1000: %+v", during.RTP.FrequencyHz, during)
	}
	if during.RTP.Lost*100 > during.RTP.Received {
		t.Errorf("the phone lost %d of %d packets", during.RTP.Lost, during.RTP.Received)
	}
	if strings.Contains(during.RemoteSDP, "a=candidate") || !strings.Contains(during.RemoteSDP, "RTP/AVP") {
		t.Errorf("the phone was offered more than RTP/AVP:\n%s", during.RemoteSDP)
	}
	if err := harness.Eventually(5*time.Second, func() error {
		ports, err := harness.UDPPorts(x.media.PID(), 30000, 30099)
		if err == nil && len(ports) > 0 {
			err = fmt.Errorf("mediad still holds %v", ports)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// listen keeps the phone's newest account of its call while packets flow.
func (x *exam) listen(during *call) func(event) {
	return func(e event) {
		if e.Event != "media" {
			return
		}
		var calls []call
		if err := x.control(&calls, "get", "/calls"); err != nil {
			return
		}
		for _, c := range calls {
			if c.State == "established" {
				*during = c
			}
		}
	}
}

func (x *exam) pageCallsPhone(t *testing.T) {
	var during call
	events := x.peer(t, x.listen(&during), "-call", "601", "-talk", talk.String())
	x.judge(t, events, during)
}

func (x *exam) phoneCallsPage(t *testing.T) {
	var during call
	listen := x.listen(&during)
	events := x.peer(t, func(e event) {
		if e.Event == "registered" {
			if err := x.control(nil, "post", "/call", `{"user":"601","to":"sip:page@example.test"}`); err != nil {
				t.Error(err)
			}
		}
		listen(e)
	}, "-talk", talk.String())
	x.judge(t, events, during)
}

// build compiles the programs of the exam.
func build(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	programs := map[string]string{}
	for name, pkg := range map[string]string{
		"proxy": "proxy", "mediad": "mediad", "demo-phone": "deploy/demo-phone", "webrtcpeer": "integration/webrtcpeer",
	} {
		program, err := harness.Build(dir, pkg)
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = program
	}
	return programs
}
