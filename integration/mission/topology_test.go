//go:build integration

package mission

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tandem-sbc/tandem/integration/harness"
	"github.com/tandem-sbc/tandem/ng-protocol/conformance"
)

// The namespaces. The exam itself runs in the office, whose hosts are addresses of one interface. The border does not
// route: what passes it goes through proxy and media daemon.
//
//	page 10.10.1.2 ── natA 198.51.100.2 ── 198.51.100.1 ┐                  ┌ 10.0.0.251 Kamailio
//	                                             border 192.0.2.1 ── 10.0.0.1
//	page 10.10.2.2 ── natB 203.0.113.2  ── 203.0.113.1  ┘                  └ 10.0.0.11 to .13 phones
const (
	public  = "192.0.2.1"
	private = "10.0.0.1"
	server  = "10.0.0.251"
	deskA   = "10.0.0.11"
	deskB   = "10.0.0.12"
	deskC   = "10.0.0.13"
)

func TestMain(m *testing.M) {
	code, err := conformance.Isolate()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if code >= 0 {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

type topology struct {
	border       *harness.Namespace
	pageA, pageB *harness.Namespace
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func namespace(t *testing.T, name string, addresses ...string) *harness.Namespace {
	t.Helper()
	n, err := harness.NewNamespace(fmt.Sprintf("R%d%s", os.Getpid()%100000, name), addresses...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// build makes the networks; they go with the test.
func build(t *testing.T) topology {
	t.Helper()
	top := topology{border: namespace(t, "border", public)}
	// Moved, a namespace's end takes the pair with it.
	ip(t, "link", "add", "office", "type", "veth", "peer", "name", "priv", "netns", top.border.Name())
	for _, host := range []string{server, deskA, deskB, deskC} {
		ip(t, "addr", "add", host+"/24", "dev", "office")
	}
	ip(t, "link", "set", "office", "up")
	up(t, top.border, "priv", private)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "office").Run() })
	top.pageA = behindNAT(t, top.border, "A", "198.51.100", "10.10.1")
	top.pageB = behindNAT(t, top.border, "B", "203.0.113", "10.10.2")
	return top
}

func up(t *testing.T, n *harness.Namespace, dev, address string) {
	t.Helper()
	ip(t, "-n", n.Name(), "addr", "add", address+"/24", "dev", dev)
	ip(t, "-n", n.Name(), "link", "set", dev, "up")
}

// behindNAT makes a home network behind a router that lets in answers only.
func behindNAT(t *testing.T, border *harness.Namespace, name, wan, lan string) *harness.Namespace {
	t.Helper()
	nat, page := namespace(t, "nat"+name), namespace(t, "page"+name)
	ip(t, "-n", nat.Name(), "link", "add", "wan", "type", "veth", "peer", "name", "wan"+name, "netns", border.Name())
	ip(t, "-n", nat.Name(), "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", page.Name())
	up(t, border, "wan"+name, wan+".1")
	up(t, nat, "wan", wan+".2")
	up(t, nat, "lan", lan+".1")
	up(t, page, "eth0", lan+".2")
	ip(t, "-n", nat.Name(), "route", "add", "default", "via", wan+".1")
	ip(t, "-n", page.Name(), "route", "add", "default", "via", lan+".1")
	rules := exec.Command("ip", "netns", "exec", nat.Name(), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward && nft -f -")
	rules.Stdin = strings.NewReader(`
table ip nat {
	chain post {
		type nat hook postrouting priority srcnat;
		oifname "wan" masquerade
	}
}
table ip filter {
	chain across {
		type filter hook forward priority filter; policy drop;
		iifname "lan" accept
		iifname "wan" ct state established,related accept
	}
	chain self {
		type filter hook input priority filter; policy accept;
		iifname "wan" ct state new drop
	}
}`)
	if out, err := rules.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return page
}
