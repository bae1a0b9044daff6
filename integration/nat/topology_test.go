//go:build integration

package nat

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The five namespaces of the exam. Nothing in core has a route to a private
// network, so media only flows when mediad learns where the NATs sent from.
//
//	phone 10.10.1.2 ── 10.10.1.1 natphone 198.51.100.2 ── 198.51.100.1 ┐
//	                                                                    core 192.0.2.1 (proxy, mediad)
//	page  10.10.2.2 ── 10.10.2.1 natpage  203.0.113.2  ── 203.0.113.1  ┘
const coreAddr = "192.0.2.1"

type topology struct {
	core, natPhone, phone, natPage, page string
}

// filter of a NAT: what its mapping looks like from outside.
type filter string

const (
	// portRestricted keeps the source port and lets in only who was sent to.
	portRestricted filter = "masquerade"
	// symmetric picks a new random port for every destination.
	symmetric filter = "masquerade fully-random"
)

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func in(ns string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...)
}

// namespaces makes the namespaces and removes them at the test's end.
func namespaces(t *testing.T, phoneNAT, pageNAT filter) topology {
	t.Helper()
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: run integration/install.sh as root", tool)
		}
	}
	p := fmt.Sprintf("tdm%d", os.Getpid()%10000)
	top := topology{core: p + "core", natPhone: p + "nph", phone: p + "ph", natPage: p + "npg", page: p + "pg"}
	for _, ns := range []string{top.core, top.natPhone, top.phone, top.natPage, top.page} {
		command(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
		command(t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	command(t, "ip", "-n", top.core, "addr", "add", coreAddr+"/32", "dev", "lo")
	side(t, top, top.natPhone, top.phone, "198.51.100", "10.10.1", phoneNAT)
	side(t, top, top.natPage, top.page, "203.0.113", "10.10.2", pageNAT)
	return top
}

func side(t *testing.T, top topology, nat, inner, wan, lan string, f filter) {
	t.Helper()
	up := func(ns, dev, addr string) {
		command(t, "ip", "-n", ns, "addr", "add", addr, "dev", dev)
		command(t, "ip", "-n", ns, "link", "set", dev, "up")
	}
	command(t, "ip", "-n", nat, "link", "add", "wan", "type", "veth", "peer", "name", nat, "netns", top.core)
	command(t, "ip", "-n", nat, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", inner)
	up(top.core, nat, wan+".1/24")
	up(nat, "wan", wan+".2/24")
	up(nat, "lan", lan+".1/24")
	up(inner, "eth0", lan+".2/24")
	command(t, "ip", "-n", nat, "route", "add", "default", "via", wan+".1")
	command(t, "ip", "-n", inner, "route", "add", "default", "via", lan+".1")
	if out, err := in(nat, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward").CombinedOutput(); err != nil {
		t.Fatalf("ip_forward: %v\n%s", err, out)
	}
	rules := in(nat, "nft", "-f", "-")
	rules.Stdin = strings.NewReader(fmt.Sprintf(`
table ip nat {
	chain post {
		type nat hook postrouting priority srcnat;
		oifname "wan" %s
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
}`, f))
	if out, err := rules.CombinedOutput(); err != nil {
		t.Fatalf("nft in %s: %v\n%s", nat, err, out)
	}
}
