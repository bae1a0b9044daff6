package sdp

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Origin is the o= line (RFC 8866 §5.2). ID and Version stay text, since real
// ones exceed 64 bits.
type Origin struct {
	Username string // may hold spaces
	ID       string
	Version  string
	Address  Address
}

// Address is a connection address: network and address type with the address
// as it was written (RFC 8866 §5.7).
type Address struct {
	Network string // "IN"
	Type    string // "IP4", "IP6"
	Host    string // address or host name, with "/ttl" of multicast
}

// String returns the address as in a c= line.
func (a Address) String() string { return a.Network + " " + a.Type + " " + a.Host }

// IP returns the address as an IP; false for host names and multicast with a
// TTL.
func (a Address) IP() (netip.Addr, bool) {
	ip, err := netip.ParseAddr(a.Host)
	if err != nil || ip.Zone() != "" {
		return netip.Addr{}, false
	}
	return ip.Unmap(), true
}

// AddressOf returns ip as an SDP address.
func AddressOf(ip netip.Addr) Address {
	if ip.Is4() || ip.Is4In6() {
		return Address{Network: "IN", Type: "IP4", Host: ip.Unmap().String()}
	}
	return Address{Network: "IN", Type: "IP6", Host: ip.WithZone("").String()}
}

// ParseOrigin reads the value of an o= line. The five last fields are taken
// from the end, so that a user name with spaces survives.
func ParseOrigin(value string) (Origin, bool) {
	f := strings.Fields(value)
	n := len(f)
	if n < 6 {
		return Origin{}, false
	}
	return Origin{
		Username: strings.Join(f[:n-5], " "),
		ID:       f[n-5],
		Version:  f[n-4],
		Address:  Address{f[n-3], f[n-2], f[n-1]},
	}, true
}

// String returns the value of the o= line.
func (o Origin) String() string {
	return o.Username + " " + o.ID + " " + o.Version + " " + o.Address.String()
}

// ParseConnection reads the value of a c= line.
func ParseConnection(value string) (Address, bool) {
	f := strings.Fields(value)
	if len(f) < 3 {
		return Address{}, false
	}
	return Address{f[0], f[1], f[2]}, true
}

// Connection returns the first c= line of the section.
func (s *Section) Connection() (Address, Line, bool) {
	for l := range s.Lines() {
		if l.Type != 'c' {
			continue
		}
		if a, ok := ParseConnection(l.Value); ok {
			return a, l, true
		}
	}
	return Address{}, Line{}, false
}

// Media is the value of an m= line (RFC 8866 §5.14).
type Media struct {
	Type     string // "audio", …
	Port     uint16 // 0 = refused
	Count    int    // of "port/count"; 1 if absent
	Protocol string
	Formats  []string // payload types for RTP
}

// ParseMedia reads the value of an m= line.
func ParseMedia(value string) (Media, bool) {
	f := strings.Fields(value)
	if len(f) < 3 {
		return Media{}, false
	}
	m := Media{Type: f[0], Count: 1, Protocol: f[2], Formats: f[3:]}
	port, count, slash := strings.Cut(f[1], "/")
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Media{}, false
	}
	m.Port = uint16(p)
	if slash {
		if m.Count, err = strconv.Atoi(count); err != nil || m.Count < 1 {
			return Media{}, false
		}
	}
	return m, true
}

// String returns the value of the m= line.
func (m Media) String() string {
	var b strings.Builder
	b.WriteString(m.Type)
	b.WriteByte(' ')
	b.WriteString(strconv.Itoa(int(m.Port)))
	if m.Count > 1 {
		b.WriteByte('/')
		b.WriteString(strconv.Itoa(m.Count))
	}
	b.WriteByte(' ')
	b.WriteString(m.Protocol)
	for _, f := range m.Formats {
		b.WriteByte(' ')
		b.WriteString(f)
	}
	return b.String()
}

// Media returns the m= line of the section; false in the session part or if
// the line cannot be read.
func (s *Section) Media() (Media, Line, bool) {
	if s.first >= s.last || s.doc.lines[s.first].typ != 'm' || s.doc.lines[s.first].deleted {
		return Media{}, Line{}, false
	}
	l := Line{Index: s.first, Type: 'm', Value: s.doc.value(&s.doc.lines[s.first])}
	if !s.known {
		s.media, s.readable = ParseMedia(l.Value)
		s.known = true
	}
	m := s.media
	m.Formats = slices.Clip(m.Formats) // who appends does not write into ours
	return m, l, s.readable
}

// Direction is the direction attribute (RFC 8866 §6.7).
type Direction uint8

// Directions. SendRecv is the zero value, being the default.
const (
	SendRecv Direction = iota
	SendOnly
	RecvOnly
	Inactive
)

// String returns the attribute name.
func (d Direction) String() string {
	return [...]string{"sendrecv", "sendonly", "recvonly", "inactive"}[d&3]
}

// Reverse returns the direction as the other side has it.
func (d Direction) Reverse() Direction {
	switch d {
	case SendOnly:
		return RecvOnly
	case RecvOnly:
		return SendOnly
	}
	return d
}

// ParseDirection returns the direction of an attribute name.
func ParseDirection(name string) (Direction, bool) {
	switch name {
	case "sendrecv":
		return SendRecv, true
	case "sendonly":
		return SendOnly, true
	case "recvonly":
		return RecvOnly, true
	case "inactive":
		return Inactive, true
	}
	return SendRecv, false
}

// Direction returns the last direction attribute of the section; false if
// there is none.
func (s *Section) Direction() (Direction, bool) {
	dir, found := SendRecv, false
	for a := range s.Attributes() {
		if d, ok := ParseDirection(a.Name); ok && a.Flag {
			dir, found = d, true
		}
	}
	return dir, found
}
