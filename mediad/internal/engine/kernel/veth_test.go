//go:build integration

package kernel

import (
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// between is two hosts with us between them.
func between(t *testing.T) (client, server *host) {
	t.Helper()
	client, server = newHost(t), newHost(t)
	client.cable("left", 1)
	server.cable("right", 2)
	return client, server
}

// badChecksums counts the UDP packets that a host has dropped for their checksum.
func (h *host) badChecksums() (n int) {
	h.t.Helper()
	h.do(func() {
		b, err := os.ReadFile("/proc/thread-self/net/snmp")
		require.NoError(h.t, err)
		b6, err := os.ReadFile("/proc/thread-self/net/snmp6")
		require.NoError(h.t, err)
		var head []string
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if f[0] == "Udp:" && head == nil {
				head = f
			} else if f[0] == "Udp:" {
				for i, name := range head {
					if name == "InCsumErrors" {
						v, err := strconv.Atoi(f[i])
						require.NoError(h.t, err)
						n += v
					}
				}
			}
		}
		for line := range strings.Lines(string(b6)) {
			if f := strings.Fields(line); f[0] == "Udp6InCsumErrors" {
				v, err := strconv.Atoi(f[1])
				require.NoError(h.t, err)
				n += v
			}
		}
	})
	return n
}

// TestBetween: two hosts, each behind a device of its own, with checksums by hardware and in software.
func TestBetween(t *testing.T) {
	for _, filters := range []bool{false, true} {
		for _, on := range []string{"on", "off"} {
			t.Run("filters="+strconv.FormatBool(filters)+"/offload="+on, func(t *testing.T) {
				client, server := between(t)
				for _, device := range []string{"left", "right"} {
					offload(t, device, on)
				}
				for _, h := range []*host{client, server} {
					h.do(func() { offload(t, "eth0", on) })
				}
				e := newEngine(t, Config{TOS: 0xb8, filters: filters})
				for _, at := range [][4]string{
					{"10.77.1.2:0", "10.77.2.2:0", "10.77.1.1", "10.77.2.1"},
					{"[fd77:1::2]:0", "[fd77:2::2]:0", "fd77:1::1", "fd77:2::1"},
				} {
					t.Run(at[2], func(t *testing.T) {
						c := newCall(t, e, client.phone(at[0]), server.phone(at[1]), at[2], at[3])
						c.both()
						before := e.Numbers().Packets
						c.exchange(50)
						require.EqualValues(t, 100, e.Numbers().Packets-before)
						require.Zero(t, client.badChecksums()+server.badChecksums())
					})
				}
			})
		}
	}
}

// TestGateway: the peer is behind a router, which changes.
func TestGateway(t *testing.T) {
	client, server := between(t)
	e := newEngine(t, Config{})
	server.do(func() { configure(t, "lo", "10.99.0.1/32") })
	way := func(via string) *netlink.Route {
		dst, err := netlink.ParseIPNet("10.99.0.0/24")
		require.NoError(t, err)
		l, err := netlink.LinkByName("right")
		require.NoError(t, err)
		gw, err := netlink.ParseIPNet(via + "/32")
		require.NoError(t, err)
		return &netlink.Route{Dst: dst, Gw: gw.IP, LinkIndex: l.Attrs().Index}
	}
	require.NoError(t, netlink.RouteAdd(way("10.77.2.2")))
	server.route("10.77.2.1")
	c := newCall(t, e, client.phone("10.77.1.2:0"), server.phone("10.99.0.1:0"), "10.77.1.1", "10.77.2.1")
	c.both()
	c.exchange(10)
	server.do(func() { configure(t, "eth0", "10.77.2.3/24") })
	require.NoError(t, netlink.RouteReplace(way("10.77.2.3")))
	require.Eventually(t, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		family, hop := hopOf(c.bob.addr.Addr())
		_, want := hopOf(netip.MustParseAddr("10.77.2.3"))
		r := e.records[c.toA]
		return r.installed() && r.entry.route.HopFamily == family && r.entry.route.Hop != hop && r.entry.route.Hop == want
	}, 3*time.Second, 5*time.Millisecond)
	c.exchange(10)
}

// TestTunnel: the way to a peer is no Ethernet.
func TestTunnel(t *testing.T) {
	client, _ := between(t)
	e := newEngine(t, Config{})
	require.NoError(t, netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, Mode: netlink.TUNTAP_MODE_TUN}))
	configure(t, "tunnel", "10.88.0.1/24")
	t.Cleanup(func() {
		l, err := netlink.LinkByName("tunnel")
		require.NoError(t, err)
		require.NoError(t, netlink.LinkDel(l))
	})
	far := &phone{t: t, addr: netip.MustParseAddrPort("10.88.0.2:4000")}
	c := newCall(t, e, client.phone("10.77.1.2:0"), far, "10.77.1.1", "10.88.0.1")
	c.alice.talk(c.toA.LocalAddr(), 1)
	require.Eventually(t, func() bool { _, why := e.Carrier(c.toA); return why == whyDevice }, 3*time.Second, 5*time.Millisecond)
}

// TestStacked: the peers are behind devices on top of others, one of which comes after the start: VLANs where the kernel has them, else
// MACVLANs. What arrives at the device below is not for it.
func TestStacked(t *testing.T) {
	client, server := between(t)
	add := func(device string) {
		parent, err := netlink.LinkByName(device)
		require.NoError(t, err)
		attrs := netlink.LinkAttrs{Name: device + ".9", ParentIndex: parent.Attrs().Index}
		err = netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: 9})
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
		}
		require.NoError(t, err)
	}
	tag := func(on string, h *host, n int) {
		add(on)
		configure(t, on+".9", address(n, 1))
		h.do(func() { add("eth0"); configure(t, "eth0.9", address(n, 2)) })
	}
	tag("left", client, 11)
	e := newEngine(t, Config{})
	tag("right", server, 12)
	c := newCall(t, e, client.phone("10.77.11.2:0"), server.phone("10.77.12.2:0"), "10.77.11.1", "10.77.12.1")
	require.Eventually(t, func() bool {
		l, err := netlink.LinkByName("right.9")
		require.NoError(t, err)
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.network.attached[l.Attrs().Index] != nil
	}, 3*time.Second, 5*time.Millisecond)
	c.both()
	before := e.Numbers().Packets
	c.exchange(50)
	require.EqualValues(t, 100, e.Numbers().Packets-before)
}

// TestLocalAndRemote: one peer is on the host itself, the other is not. The kernel takes the direction that it can.
func TestLocalAndRemote(t *testing.T) {
	client, _ := between(t)
	e := newEngine(t, Config{})
	c := newCall(t, e, client.phone("10.77.1.2:0"), newPhone(t, "10.77.1.1:0"), "10.77.1.1", "10.77.1.1")
	c.both()
	before := e.Numbers().Packets
	c.exchange(10)
	require.EqualValues(t, 10, e.Numbers().Packets-before) // from the host itself; to it through user space
	require.EqualValues(t, 11, c.toA.Statistics().PacketsIn)
	require.EqualValues(t, 11, c.toA.Statistics().PacketsOut)
}
