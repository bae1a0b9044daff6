package conf

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span written like 500ms, 30s, 1h30m.
type Duration time.Duration

// UnmarshalText parses the span; a bare number is refused because its unit
// would be a guess.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a time span; write for example 500ms, 30s or 1h", text)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	*d = Duration(v)
	return nil
}

// String formats the span.
func (d Duration) String() string { return time.Duration(d).String() }

// Size is a number of bytes, written like 4096, 64KiB, 1MiB.
type Size int64

// UnmarshalText parses the size.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := string(text), int64(1)
	for suffix, bytes := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1e3, "MB": 1e6, "GB": 1e9} {
		if cut, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = strings.TrimSpace(cut), bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return fmt.Errorf("%q is not a size; write for example 4096, 64KiB or 1MiB", text)
	}
	*s = Size(n * unit)
	return nil
}

// Endpoint is host:port; the host may be a name, an IPv4 or a bracketed IPv6
// address, or empty (all addresses).
type Endpoint struct {
	Host string // without brackets
	Port uint16
}

// UnmarshalText parses host:port.
func (e *Endpoint) UnmarshalText(text []byte) error {
	host, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return fmt.Errorf("%q is not host:port", text)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("%q: the port must be 0 to 65535", text)
	}
	if strings.Contains(host, ":") {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q: bad IPv6 address", text)
		}
	} else if strings.ContainsAny(host, " /@;<>\"") {
		return fmt.Errorf("%q: bad host name", text)
	}
	*e = Endpoint{Host: host, Port: uint16(n)}
	return nil
}

// IsZero reports whether the endpoint was not given.
func (e Endpoint) IsZero() bool { return e == Endpoint{} }

// String formats host:port.
func (e Endpoint) String() string {
	return net.JoinHostPort(e.Host, strconv.FormatUint(uint64(e.Port), 10))
}

// Network is a range of addresses: 192.0.2.0/24, 2001:db8::/32, or one address.
type Network netip.Prefix

// UnmarshalText parses a prefix or one address.
func (n *Network) UnmarshalText(text []byte) error {
	s := string(text)
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		*n = Network(netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("%q is neither an address nor a range like 192.0.2.0/24", text)
	}
	*n = Network(prefix.Masked())
	return nil
}

// Contains reports whether addr is in the range; an IPv4-mapped address counts
// as IPv4.
func (n Network) Contains(addr netip.Addr) bool {
	return netip.Prefix(n).Contains(addr.Unmap())
}

// String formats the range.
func (n Network) String() string { return netip.Prefix(n).String() }

// List is a list of plain values; one alone may be written without brackets.
type List []string

// Secret is a password or key: it prints as dots, so that it cannot get into a
// log by accident.
type Secret string

// UnmarshalText takes the text as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}

// String hides the secret.
func (s Secret) String() string { return "…" }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return "…" }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }
