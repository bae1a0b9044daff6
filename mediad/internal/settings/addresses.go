package settings

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	defaultInterfaceName = "default"
	anyAddress           = "any"
	lookupTimeout        = 5 * time.Second
)

// addListen reads [address:]port. Without an address the port is opened on
// all addresses of both families; a host name stands for all its addresses.
func addListen(field func(*Settings) *[]netip.AddrPort) assign {
	return func(s *Settings, text string) error {
		addresses, err := parseListen(text)
		list := field(s)
		*list = append(*list, addresses...)
		return err
	}
}

// checkListen is for listeners that are not served.
func checkListen(_ *Settings, text string) error {
	_, err := parseListen(text)
	return err
}

// addAllowed reads an address or a prefix, several separated by commas.
func addAllowed(s *Settings, text string) error {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		prefix, err := netip.ParsePrefix(word)
		if err != nil {
			addr, err := netip.ParseAddr(word)
			if err != nil {
				return fmt.Errorf("%q is neither an address nor a prefix", word)
			}
			prefix = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		}
		s.Control.Allow = append(s.Control.Allow, prefix.Masked())
	}
	return nil
}

// Allows reports whether a client at the address may send commands.
func (c *Control) Allows(client netip.Addr) bool {
	client = client.Unmap().WithZone("")
	return len(c.Allow) == 0 || slices.ContainsFunc(c.Allow, func(p netip.Prefix) bool { return p.Contains(client) })
}

func parseListen(text string) ([]netip.AddrPort, error) {
	text = strings.TrimSpace(text)
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		host, portText = "", text // only a port
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is not [address:]port", text)
	}
	if host == "" {
		unspecified := netip.IPv6Unspecified() // takes IPv4 too
		if !bindable(unspecified) {
			unspecified = netip.IPv4Unspecified()
		}
		return []netip.AddrPort{netip.AddrPortFrom(unspecified, uint16(port))}, nil
	}
	addresses, err := lookupLocal(host)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, a := range addresses {
		out = append(out, netip.AddrPortFrom(a, uint16(port)))
	}
	return out, nil
}

// bindable reports whether this host has the address.
func bindable(a netip.Addr) bool {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// lookupLocal resolves a name of this host. A name like localhost may stand for
// addresses that it lacks, too; they are left out.
func lookupLocal(host string) ([]netip.Addr, error) {
	addresses, err := lookup(host)
	if err == nil && slices.ContainsFunc(addresses, bindable) {
		addresses = slices.DeleteFunc(addresses, func(a netip.Addr) bool { return !bindable(a) })
	}
	return addresses, err
}

// lookup resolves a host name or address.
func lookup(host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("host %q: %w", host, err)
	}
	var out []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, nil
}

// parseEndpoint reads host:port of somebody else.
func parseEndpoint(text string) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(strings.TrimSpace(text))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not host:port", text)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is not host:port", text)
	}
	addresses, err := lookup(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addresses[0], uint16(port)), nil
}

// addInterface reads [name/]address[!advertised] or name=other. The address
// may be an IP address, the name of a network device, "any": all addresses of
// all devices, or a host name. A device stands for all its addresses.
func addInterface(s *Settings, text string) error {
	text = strings.TrimSpace(text)
	if alias, other, ok := strings.Cut(text, "="); ok && !strings.ContainsAny(alias, "/!") {
		return addAlias(s, alias, other)
	}
	name, rest, named := strings.Cut(text, "/")
	if !named {
		name, rest = defaultInterfaceName, text
	}
	bind, advertised, advertises := strings.Cut(rest, "!")
	if name == "" || bind == "" || (advertises && advertised == "") {
		return fmt.Errorf("%q is not [name/]address[!advertised]", text)
	}
	return s.addAddresses(name, []string{bind}, advertised)
}

// addAddresses adds the addresses that the words bind stand for. Those of the
// family of advertised, an address or a host name, are told to peers as that.
func (s *Settings) addAddresses(name string, bind []string, advertised string) error {
	var addresses, public []netip.Addr
	for _, word := range bind {
		found, err := localAddresses(word)
		if err != nil {
			return err
		}
		addresses = append(addresses, found...)
	}
	if advertised != "" {
		var err error
		if public, err = lookup(advertised); err != nil {
			return fmt.Errorf("advertised address: %w", err)
		}
	}
	used := false
	for _, a := range addresses {
		i := Interface{Name: name, Address: a, Advertised: a}
		for _, b := range public {
			if b.Is4() == a.Is4() {
				i.Advertised, used = b, true
				break
			}
		}
		if i.Advertised.IsUnspecified() {
			return fmt.Errorf("%v cannot be written into SDP; give an advertised address", a)
		}
		if !slices.ContainsFunc(s.Network.Interfaces, i.same) {
			s.Network.Interfaces = append(s.Network.Interfaces, i)
		}
	}
	if advertised != "" && !used {
		return fmt.Errorf("advertised address %s is of another family than %s", advertised, strings.Join(bind, " "))
	}
	return nil
}

// same reports whether other is the same address under the same name.
func (i Interface) same(other Interface) bool {
	return i.Name == other.Name && i.Address == other.Address && i.Advertised == other.Advertised
}

func addAlias(s *Settings, alias, other string) error {
	if alias == "" {
		return errors.New("an alias needs a name")
	}
	before := len(s.Network.Interfaces)
	for _, i := range s.Network.Interfaces[:before] {
		// The alias of a group is a group.
		if rest, ok := strings.CutPrefix(i.Name, other); ok && (rest == "" || rest[0] == ':') {
			i.Name = alias + rest
			s.Network.Interfaces = append(s.Network.Interfaces, i)
		}
	}
	if len(s.Network.Interfaces) == before {
		return fmt.Errorf("there is no interface %q before its alias %q", other, alias)
	}
	return nil
}

func localAddresses(bind string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(strings.Trim(bind, "[]")); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	devices, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list of network devices: %w", err)
	}
	var usual, loopback []netip.Addr
	for _, d := range devices {
		if d.Name == bind {
			if found := addressesOf(d); len(found) > 0 {
				return found, nil
			}
			return nil, fmt.Errorf("device %q has no address", bind)
		}
		if d.Flags&net.FlagUp == 0 {
			continue
		}
		if d.Flags&net.FlagLoopback != 0 {
			loopback = append(loopback, addressesOf(d)...)
		} else {
			usual = append(usual, addressesOf(d)...)
		}
	}
	switch {
	case bind != anyAddress:
		found, err := lookupLocal(bind)
		if err != nil {
			return nil, fmt.Errorf("%q is no address, network device or host: %w", bind, err)
		}
		return found, nil
	case len(usual) > 0:
		return usual, nil
	case len(loopback) > 0:
		return loopback, nil
	}
	return nil, errors.New("no network device has an address")
}

// addressesOf returns the addresses of a device that can be written into SDP,
// which has no place for an IPv6 zone.
func addressesOf(d net.Interface) []netip.Addr {
	found, err := d.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, f := range found {
		if prefix, ok := f.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(prefix.IP); ok && !a.Unmap().IsLinkLocalUnicast() {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}
