package connect

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ErrCandidate says that a candidate attribute is malformed or not usable here.
var ErrCandidate = errors.New("connect: unusable candidate")

const (
	// maxRemotes bounds the remote candidates of one ICE session that are taken from SDP (RFC 8445 §6.1.2.5 expects at most 100
	// pairs; we have one local address).
	maxRemotes  = 32
	minUfrag    = 4  // RFC 8839 §5.4
	minPassword = 22 // RFC 8839 §5.4
	iceChars    = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	// localPreference of the only address a port has (RFC 8445 §5.1.2.2).
	localPreference = 65535
	hostPreference  = 126
)

// Candidate is a UDP candidate from SDP (RFC 8839 §5.1).
type Candidate struct {
	Foundation string
	Component  uint16
	Priority   uint32
	Address    netip.AddrPort
	// Type is host, srflx, prflx or relay.
	Type string
}

// ParseCandidate reads the value of a candidate attribute, with or without "candidate:" before it. The error wraps ErrCandidate; TCP
// candidates and host names (mDNS) are errors too.
func ParseCandidate(line string) (Candidate, error) {
	line = strings.TrimPrefix(strings.TrimSpace(line), "candidate:")
	f := strings.Fields(line)
	if len(f) < 8 || f[6] != "typ" || len(f[0]) > 32 {
		return Candidate{}, fmt.Errorf("%w: malformed", ErrCandidate)
	}
	component, err := strconv.ParseUint(f[1], 10, 16)
	if err != nil || component < 1 || component > 256 {
		return Candidate{}, fmt.Errorf("%w: component", ErrCandidate)
	}
	if !strings.EqualFold(f[2], "udp") {
		return Candidate{}, fmt.Errorf("%w: transport %q", ErrCandidate, f[2])
	}
	priority, err := strconv.ParseUint(f[3], 10, 32)
	if err != nil {
		return Candidate{}, fmt.Errorf("%w: priority", ErrCandidate)
	}
	addr, err := netip.ParseAddr(f[4])
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
		return Candidate{}, fmt.Errorf("%w: address", ErrCandidate)
	}
	port, err := strconv.ParseUint(f[5], 10, 16)
	if err != nil || port == 0 {
		return Candidate{}, fmt.Errorf("%w: port", ErrCandidate)
	}
	switch f[7] {
	case "host", "srflx", "prflx", "relay":
	default:
		return Candidate{}, fmt.Errorf("%w: type", ErrCandidate)
	}
	return Candidate{
		Foundation: f[0], Component: uint16(component), Priority: uint32(priority),
		Address: netip.AddrPortFrom(addr.Unmap(), uint16(port)), Type: f[7],
	}, nil
}

// String is the value of a candidate attribute, without "candidate:".
func (c Candidate) String() string {
	return fmt.Sprintf("%s %d UDP %d %s %d typ %s", c.Foundation, c.Component, c.Priority, c.Address.Addr(), c.Address.Port(), c.Type)
}

// HostCandidate is the candidate of a local port for one component, with the address that peers are to be told.
func HostCandidate(public netip.AddrPort, component uint16) Candidate {
	return Candidate{
		Foundation: foundation(public.Addr()),
		Component:  component,
		Priority:   hostPreference<<24 | localPreference<<8 | (256 - uint32(component)),
		Address:    public,
		Type:       "host",
	}
}

// foundation is equal for candidates of the same type and address (RFC 8445 §5.1.1.3).
func foundation(a netip.Addr) string {
	const offset, prime = 2166136261, 16777619 // FNV-1a
	h := uint32(offset)
	for _, b := range a.AsSlice() {
		h = (h ^ uint32(b)) * prime
	}
	return strconv.FormatUint(uint64(h), 10)
}

// Candidate of the agent's port, for SDP.
func (a *Agent) Candidate() Candidate {
	public := a.cfg.Local
	if a.cfg.Advertised.IsValid() {
		public = netip.AddrPortFrom(a.cfg.Advertised, public.Port())
	}
	return HostCandidate(public, a.cfg.Component)
}

// NewCredentials makes random ones, of rtpengine's length: 47 bits of ufrag and 154 bits of password (RFC 8445 §5.3 asks for 24 and
// 128).
func NewCredentials() Credentials {
	return Credentials{Ufrag: randomICE(8), Password: randomICE(26)}
}

func randomICE(n int) string {
	s := make([]byte, 0, n)
	b := make([]byte, 2*n)
	for len(s) < n {
		_, _ = rand.Read(b) // never fails (Go 1.24)
		for _, v := range b {
			if v &= 63; int(v) < len(iceChars) && len(s) < n {
				s = append(s, iceChars[v])
			}
		}
	}
	return string(s)
}
