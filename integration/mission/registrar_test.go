//go:build integration

package mission

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// office is a Kamailio with passwords and the proxy as mid-registrar before it, without browsers and media.
type office struct {
	pbx   *pbx
	proxy *harness.Process
	host  string // of the proxy
}

const officeConfig = `listeners:
  - {name: outside, transport: tcp, address: "%[1]s:5061"}
  - {name: inside, transport: udp, address: "%[1]s:5060"}
  - {name: outside-udp, transport: udp, address: "%[1]s:5061"}
domains: [` + harness.Domain + `]
registrar: {upstream: pbx, mode: %[3]s, upstream_expires: 1h}
trunks:
  - {name: pbx, sources: [%[2]s], targets: [{uri: "sip:%[2]s:5060;transport=udp"}]}
%[4]sstorage: {path: ":memory:"}
log: {level: debug}
`

func newOffice(t *testing.T, program string, net int, mode, more string) *office {
	t.Helper()
	dir := t.TempDir()
	server, host := fmt.Sprintf("127.0.%d.1", net), fmt.Sprintf("127.0.%d.2", net)
	o := &office{pbx: startPBX(t, dir, server+":5060"), host: host}
	config := filepath.Join(dir, "proxy.yaml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, officeConfig, host, server, mode, more), 0o600))
	p, err := harness.Start(harness.Spec{Name: "proxy", Path: program, Dir: dir, Args: []string{"-config", config}})
	o.proxy = keep(t, p, err)
	must(t, p.Ready(func() error {
		if !strings.Contains(p.Tail(100000), "proxy ready") {
			return fmt.Errorf("not ready")
		}
		return nil
	}))
	return o
}

func (o *office) outside(t *testing.T, user string) *client {
	t.Helper()
	return newClient(t, "tcp", o.host, o.host+":5061", user)
}

func want(t *testing.T, message string, status int) {
	t.Helper()
	if code(message) != status {
		t.Fatalf("want %d:\n%s", status, message)
	}
}

// known waits until the upstream has these contacts of alice.
func (o *office) known(t *testing.T, number int, like string) {
	t.Helper()
	if err := harness.Eventually(step, func() error {
		all := o.pbx.contacts(pageUser)
		if len(all) != number || slices.ContainsFunc(all, func(c string) bool { return !strings.Contains(c, like) }) {
			return fmt.Errorf("the upstream has %v, want %d like %s", all, number, like)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestMidRegistrar(t *testing.T) {
	program, err := harness.Build(t.TempDir(), "proxy")
	must(t, err)
	if _, err := exec.LookPath("kamcmd"); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		mode     string
		absorbs  bool
		contacts int // of two devices
	}{{"aor", true, 1}, {"contact", true, 2}, {"mirror", false, 2}} {
		t.Run(c.mode, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, program, 10+i, c.mode, "")
			like := "sip:" + pageUser + "@" + o.host + ":5060"
			if c.mode != "aor" {
				like += ";ctid="
			}
			desk := o.outside(t, pageUser)
			want(t, desk.register(600), 200) // Kamailio's 401, answered
			if desk.proof == "" {
				t.Fatal("the upstream has not asked for a password")
			}
			o.known(t, 1, like)

			before := o.pbx.accepted(t)
			for range 3 {
				want(t, desk.register(600), 200)
			}
			if heard := o.pbx.accepted(t) - before; c.absorbs != (heard == 0) {
				t.Errorf("the upstream has heard of %d refreshes of 3", heard)
			}
			// Somebody without the password, while refreshes are absorbed.
			for _, expires := range []int{600, 0} {
				stranger := o.outside(t, pageUser)
				stranger.send("REGISTER", "sip:"+harness.Domain, fmt.Sprintf("Contact: %s;expires=%d", stranger.contact(), expires))
				want(t, stranger.receive(), 401)
				stranger.send("MESSAGE", "sip:"+deskUser+"@"+harness.Domain)
				want(t, stranger.receive(), 403)
			}
			o.known(t, 1, like)

			cell := o.outside(t, pageUser)
			want(t, cell.register(600), 200)
			o.known(t, c.contacts, like)
			o.message(t, desk, cell) // reaches both of them

			must(t, desk.conn.Close())
			o.known(t, c.contacts, like[:len(like)-len(";ctid=")])
			if c.mode != "aor" {
				o.known(t, 1, like)
			}
			o.message(t, cell)
			must(t, cell.conn.Close()) // without a word: the proxy says it for the user
			o.known(t, 0, "")
			o.nobody(t)
		})
	}
	t.Run("account at the proxy", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t, program, 20, "aor", "users: [{name: "+pageUser+", password: "+harness.Password+"}]\n")
		desk := newClient(t, "udp", o.host, o.host+":5061", pageUser)
		desk.send("REGISTER", "sip:"+harness.Domain, "Contact: "+desk.contact()+";expires=600")
		res := desk.receive()
		want(t, res, 401)
		if !strings.Contains(res, "algorithm=SHA-256") {
			t.Errorf("the proxy itself does not ask:\n%s", res)
		}
		want(t, desk.register(600), 200)
		o.known(t, 1, o.host)
		before := o.pbx.accepted(t)
		want(t, desk.register(600), 200)
		if heard := o.pbx.accepted(t) - before; heard != 0 {
			t.Errorf("the upstream has heard of %d refreshes", heard)
		}
		want(t, desk.register(0), 200)
		o.known(t, 0, "")
	})
}

// message sends a MESSAGE from a phone of the office, which all clients get.
func (o *office) message(t *testing.T, to ...*client) {
	t.Helper()
	phone := newClient(t, "udp", o.host, o.pbx.address, deskUser)
	o.deliver(t, phone, func() {
		for _, c := range to {
			m := c.receive()
			if !strings.HasPrefix(m, "MESSAGE sip:"+pageUser+"@"+c.host()) {
				t.Fatalf("%s gets\n%s", c.conn.LocalAddr(), m)
			}
			c.answer(m)
		}
	}, 200)
}

// nobody expects that the user is not there, and is said so at once.
func (o *office) nobody(t *testing.T) {
	t.Helper()
	began := time.Now()
	o.deliver(t, newClient(t, "udp", o.host, o.pbx.address, deskUser), func() {}, 404)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("said after %v", took)
	}
}

func (o *office) deliver(t *testing.T, phone *client, then func(), status int) {
	t.Helper()
	uri := "sip:" + pageUser + "@" + harness.Domain
	phone.send("MESSAGE", uri)
	res := phone.receive()
	want(t, res, 407)
	phone.send("MESSAGE", uri, phone.prove(res, "MESSAGE", uri))
	then()
	want(t, phone.receive(), status)
}
