package sdp

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Fingerprint is the value of a=fingerprint (RFC 8122).
type Fingerprint struct {
	Hash  string // lower case: "sha-256"
	Value string // hex pairs with colons
}

// ParseFingerprint reads the value of a=fingerprint.
func ParseFingerprint(value string) (Fingerprint, bool) {
	f := strings.Fields(value)
	if len(f) != 2 {
		return Fingerprint{}, false
	}
	print := Fingerprint{Hash: strings.ToLower(f[0]), Value: strings.ToUpper(f[1])}
	digest, err := hex.DecodeString(strings.ReplaceAll(print.Value, ":", ""))
	return print, err == nil && len(digest) > 0 && len(digest) == print.size() && len(print.Value) == 3*len(digest)-1
}

// size is the length of the digest in bytes, 0 for an unknown hash.
func (f Fingerprint) size() int {
	switch f.Hash {
	case "sha-1":
		return 20
	case "sha-224":
		return 28
	case "sha-256":
		return 32
	case "sha-384":
		return 48
	case "sha-512":
		return 64
	}
	return 0
}

// String returns the value of a=fingerprint.
func (f Fingerprint) String() string { return f.Hash + " " + f.Value }

// Setup is the value of a=setup (RFC 4145 §4).
type Setup uint8

// Values of Setup.
const (
	SetupAbsent Setup = iota
	SetupActive
	SetupPassive
	SetupActPass
	SetupHoldConn
)

// ParseSetup reads the value of a=setup; SetupAbsent if it is unknown.
func ParseSetup(value string) Setup {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "active":
		return SetupActive
	case "passive":
		return SetupPassive
	case "actpass":
		return SetupActPass
	case "holdconn":
		return SetupHoldConn
	}
	return SetupAbsent
}

// String returns the value of a=setup.
func (s Setup) String() string {
	switch s {
	case SetupActive:
		return "active"
	case SetupPassive:
		return "passive"
	case SetupActPass:
		return "actpass"
	case SetupHoldConn:
		return "holdconn"
	}
	return ""
}

// Candidate is the value of a=candidate (RFC 8839 §5.1).
type Candidate struct {
	Foundation string
	Component  int // 1 = RTP, 2 = RTCP
	Transport  string
	Priority   uint32
	Host       string // IP address or host name (mDNS)
	Port       uint16
	Type       string // "host", "srflx", "prflx", "relay"

	RelatedHost string // raddr; empty = none
	RelatedPort uint16
	Extensions  string // what follows, as written: "generation 0"
}

// ParseCandidate reads the value of a=candidate.
func ParseCandidate(value string) (Candidate, bool) {
	f := strings.Fields(value)
	if len(f) < 8 || !strings.EqualFold(f[6], "typ") || len(f[0]) > 32 {
		return Candidate{}, false
	}
	component, err1 := strconv.ParseUint(f[1], 10, 8)
	priority, err2 := strconv.ParseUint(f[3], 10, 32)
	port, err3 := strconv.ParseUint(f[5], 10, 16)
	if err1 != nil || err2 != nil || err3 != nil || component == 0 {
		return Candidate{}, false
	}
	c := Candidate{
		Foundation: f[0],
		Component:  int(component),
		Transport:  strings.ToLower(f[2]),
		Priority:   uint32(priority),
		Host:       f[4],
		Port:       uint16(port),
		Type:       strings.ToLower(f[7]),
	}
	rest := f[8:]
	if len(rest) >= 2 && strings.EqualFold(rest[0], "raddr") {
		c.RelatedHost, rest = rest[1], rest[2:]
	}
	if len(rest) >= 2 && strings.EqualFold(rest[0], "rport") {
		p, err := strconv.ParseUint(rest[1], 10, 16)
		if err != nil {
			return Candidate{}, false
		}
		c.RelatedPort, rest = uint16(p), rest[2:]
	}
	c.Extensions = strings.Join(rest, " ")
	return c, true
}

// AddrPort returns the candidate's transport address; false for host names.
func (c Candidate) AddrPort() (netip.AddrPort, bool) {
	ip, err := netip.ParseAddr(c.Host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip.Unmap(), c.Port), true
}

// String returns the value of a=candidate.
func (c Candidate) String() string {
	b := make([]byte, 0, 96)
	b = append(b, c.Foundation...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(c.Component), 10)
	b = append(b, ' ')
	b = append(b, c.Transport...)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(c.Priority), 10)
	b = append(b, ' ')
	b = append(b, c.Host...)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(c.Port), 10)
	b = append(b, " typ "...)
	b = append(b, c.Type...)
	if c.RelatedHost != "" {
		b = append(b, " raddr "...)
		b = append(b, c.RelatedHost...)
		b = append(b, " rport "...)
		b = strconv.AppendUint(b, uint64(c.RelatedPort), 10)
	}
	if c.Extensions != "" {
		b = append(b, ' ')
		b = append(b, c.Extensions...)
	}
	return string(b)
}

// Crypto is the value of a=crypto (RFC 4568 §4). Only the first key parameter
// is kept apart; further ones stay in Rest.
type Crypto struct {
	Tag    int    // 1–999999999
	Suite  string // upper case
	Inline string // base64 of key and salt, as written
	Rest   string // "|lifetime|mki" and ";inline:…" as written, with the bar
	Params []string
}

// ParseCrypto reads the value of a=crypto; false without an inline key.
func ParseCrypto(value string) (Crypto, bool) {
	f := strings.Fields(value)
	if len(f) < 3 || len(f[0]) > 9 {
		return Crypto{}, false
	}
	tag, err := strconv.Atoi(f[0])
	if err != nil || tag < 0 || f[0][0] == '+' {
		return Crypto{}, false
	}
	key, ok := strings.CutPrefix(f[2], "inline:")
	if !ok {
		return Crypto{}, false
	}
	c := Crypto{Tag: tag, Suite: strings.ToUpper(f[1]), Inline: key, Params: f[3:]}
	if n := strings.IndexAny(key, "|;"); n >= 0 {
		c.Inline, c.Rest = key[:n], key[n:]
	}
	return c, c.Inline != ""
}

// String returns the value of a=crypto.
func (c Crypto) String() string {
	s := strconv.Itoa(c.Tag) + " " + c.Suite + " inline:" + c.Inline + c.Rest
	for _, p := range c.Params {
		s += " " + p
	}
	return s
}

// RTCP is the value of a=rtcp (RFC 3605). Address is zero if it has none.
type RTCP struct {
	Port    uint16
	Address Address
}

// ParseRTCP reads the value of a=rtcp.
func ParseRTCP(value string) (RTCP, bool) {
	f := strings.Fields(value)
	if len(f) == 0 {
		return RTCP{}, false
	}
	port, err := strconv.ParseUint(f[0], 10, 16)
	if err != nil {
		return RTCP{}, false
	}
	r := RTCP{Port: uint16(port)}
	if len(f) >= 4 {
		r.Address = Address{f[1], f[2], f[3]}
	}
	return r, true
}

// Payload is one payload type of an m= line with its a=rtpmap.
type Payload struct {
	Type     uint8    // 0–127
	Encoding string   // "PCMA", "telephone-event"; empty if unknown
	Clock    int      // Hz; 0 if unknown
	Channels int      // 1 if absent
	Format   string   // of a=fmtp, as written
	Feedback []string // of a=rtcp-fb, as written
}

// RTPMap returns the value of a=rtpmap, for a payload type that nothing is
// known of with an empty name and a clock of 0.
func (p Payload) RTPMap() string {
	s := strconv.Itoa(int(p.Type)) + " " + p.Encoding + "/" + strconv.Itoa(p.Clock)
	if p.Channels > 1 {
		s += "/" + strconv.Itoa(p.Channels)
	}
	return s
}

// ParsePtime reads the value of a=ptime in milliseconds; 0 if there is none.
func ParsePtime(value string) int {
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// staticPayload returns a payload type that needs no a=rtpmap (RFC 3551 §6).
func staticPayload(pt uint8) (Payload, bool) {
	p := Payload{Type: pt, Clock: 8000, Channels: 1}
	switch pt {
	case 0:
		p.Encoding = "PCMU"
	case 3:
		p.Encoding = "GSM"
	case 4:
		p.Encoding = "G723"
	case 5:
		p.Encoding = "DVI4"
	case 6:
		p.Encoding, p.Clock = "DVI4", 16000
	case 7:
		p.Encoding = "LPC"
	case 8:
		p.Encoding = "PCMA"
	case 9:
		p.Encoding = "G722"
	case 10:
		p.Encoding, p.Clock = "L16", 44100
	case 11:
		p.Encoding, p.Clock, p.Channels = "L16", 44100, 2
	case 12:
		p.Encoding = "QCELP"
	case 13:
		p.Encoding = "CN"
	case 14:
		p.Encoding, p.Clock = "MPA", 90000
	case 15:
		p.Encoding = "G728"
	case 16:
		p.Encoding, p.Clock = "DVI4", 11025
	case 17:
		p.Encoding, p.Clock = "DVI4", 22050
	case 18:
		p.Encoding = "G729"
	case 25:
		p.Encoding, p.Clock = "CelB", 90000
	case 26:
		p.Encoding, p.Clock = "JPEG", 90000
	case 28:
		p.Encoding, p.Clock = "nv", 90000
	case 31:
		p.Encoding, p.Clock = "H261", 90000
	case 32:
		p.Encoding, p.Clock = "MPV", 90000
	case 33:
		p.Encoding, p.Clock = "MP2T", 90000
	case 34:
		p.Encoding, p.Clock = "H263", 90000
	default:
		return Payload{Type: pt, Channels: 1}, false
	}
	return p, true
}

// ParseRTPMap reads the value of a=rtpmap: one space between number and name.
func ParseRTPMap(value string) (Payload, bool) {
	pt, rest, ok := SplitPayload(value)
	if _, after, _ := strings.Cut(value, " "); !ok || strings.HasPrefix(after, " ") {
		return Payload{}, false
	}
	parts := strings.Split(rest, "/")
	p := Payload{Type: pt, Encoding: parts[0], Channels: 1}
	if len(parts) > 1 {
		clock, err := strconv.ParseUint(strings.TrimSpace(parts[1]), 10, 31)
		if err != nil {
			return Payload{}, false
		}
		p.Clock = int(clock)
	}
	if len(parts) > 2 {
		if n, err := strconv.ParseUint(strings.TrimSpace(parts[2]), 10, 8); err == nil && n > 0 {
			p.Channels = int(n)
		}
	}
	return p, p.Encoding != ""
}

// SplitPayload takes the value of an attribute of one payload type apart:
// "96 rest".
func SplitPayload(value string) (uint8, string, bool) {
	value = strings.TrimLeft(value, " \t")
	number, rest, _ := strings.Cut(value, " ")
	pt, err := strconv.ParseUint(number, 10, 8)
	if err != nil || pt > 127 {
		return 0, "", false
	}
	return uint8(pt), strings.TrimSpace(rest), true
}

// Payloads returns the payload types of the section in the order of its m=
// line, with names from a=rtpmap or RFC 3551.
func (s *Section) Payloads() []Payload {
	m, _, ok := s.Media()
	if !ok {
		return nil
	}
	list := make([]Payload, 0, min(len(m.Formats), MaxPayloads))
	for _, f := range m.Formats {
		n, err := strconv.ParseUint(strings.TrimPrefix(f, "+"), 10, 32)
		if err != nil || n > 127 || len(list) == MaxPayloads {
			continue
		}
		p, _ := staticPayload(uint8(n))
		list = append(list, p)
	}
	for a := range s.Attributes("rtpmap", "fmtp", "rtcp-fb") {
		describe(list, a)
	}
	for i := range list {
		list[i].Feedback = list[place(list, list[i].Type)].Feedback
	}
	return list
}

// place is where a payload type stands first, -1 if nowhere.
func place(list []Payload, pt uint8) int {
	return slices.IndexFunc(list, func(p Payload) bool { return p.Type == pt })
}

// describe adds to the payload types what an attribute says of one of them, which
// may stand in the m= line several times. Feedback is collected once.
func describe(list []Payload, a Attribute) {
	pt, rest, ok := SplitPayload(a.Value)
	if !ok {
		return
	}
	var named Payload
	if a.Name == "rtpmap" {
		if named, ok = ParseRTPMap(a.Value); !ok {
			return
		}
	}
	first := place(list, pt)
	for i := max(first, 0); first >= 0 && i < len(list); i++ {
		p := &list[i]
		switch {
		case p.Type != pt:
		case a.Name == "rtpmap":
			p.Encoding, p.Clock, p.Channels = named.Encoding, named.Clock, named.Channels
		case a.Name == "fmtp":
			p.Format = rest
		case i == first:
			p.Feedback = append(p.Feedback, rest)
		}
	}
}

// Group is the value of a=group (RFC 5888).
type Group struct {
	Semantics string // "BUNDLE", "LS", …
	MIDs      []string
}

// ParseGroup reads the value of a=group.
func ParseGroup(value string) (Group, bool) {
	f := strings.Fields(value)
	if len(f) == 0 {
		return Group{}, false
	}
	return Group{Semantics: f[0], MIDs: f[1:]}, true
}

// Extmap is the value of a=extmap (RFC 8285).
type Extmap struct {
	ID        int
	Direction string // empty if absent
	URI       string
}

// ParseExtmap reads the value of a=extmap.
func ParseExtmap(value string) (Extmap, bool) {
	f := strings.Fields(value)
	if len(f) < 2 {
		return Extmap{}, false
	}
	number, direction, _ := strings.Cut(f[0], "/")
	id, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return Extmap{}, false
	}
	return Extmap{ID: int(id), Direction: direction, URI: f[1]}, true
}
