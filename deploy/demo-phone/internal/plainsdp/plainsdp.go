// Package plainsdp reads and writes the SDP of a phone that knows RTP/AVP audio and nothing else (RFC 8866, RFC 3264).
// It has no ICE, no SRTP, no rtcp-mux: such attributes are not understood, so they are never answered.
package plainsdp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

var (
	// ErrMalformed means the body is no SDP (SIP answer 400).
	ErrMalformed = errors.New("malformed SDP")
	// ErrNotAcceptable means the body is SDP, but holds no audio that this phone can take (SIP answer 488).
	ErrNotAcceptable = errors.New("no acceptable RTP/AVP audio")
)

// maxStreams bounds the m= lines of one description.
const maxStreams = 32

// Direction is the direction attribute of a stream as its sender sees it (RFC 3264 §5.1).
type Direction string

const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

// Sends tells whether the one who wrote d sends media.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly }

// Receives tells whether the one who wrote d wants media.
func (d Direction) Receives() bool { return d == SendRecv || d == RecvOnly }

// Answer is the widest direction that may answer an offer of d when this side would itself like want (RFC 3264 §6.1).
func (d Direction) Answer(want Direction) Direction {
	sends, receives := d.Receives() && want.Sends(), d.Sends() && want.Receives()
	switch {
	case sends && receives:
		return SendRecv
	case sends:
		return SendOnly
	case receives:
		return RecvOnly
	}
	return Inactive
}

// Format is one payload type of a stream.
type Format struct {
	Type uint8  // RTP payload type, 0-127
	Name string // upper case encoding name: PCMA, PCMU, TELEPHONE-EVENT …
	Rate int    // clock rate in Hz
}

// Stream is one m= line with what belongs to it.
type Stream struct {
	Kind     string // audio, video, …
	Port     uint16 // 0 = refused
	Protocol string // RTP/AVP, UDP/TLS/RTP/SAVPF, …
	Types    []string
	Formats  []Format
	Address  netip.Addr     // the zero address (old hold, RFC 3264 §8.4) is kept as such
	RTCP     netip.AddrPort // a=rtcp (RFC 3605), else port + 1
	Direction
}

// Description is a parsed session description.
type Description struct{ Streams []Stream }

// Parse reads a description. Unknown lines and attributes are skipped, broken known ones give ErrMalformed.
func Parse(body []byte) (Description, error) {
	p := parser{direction: SendRecv}
	for number, line := range strings.Split(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n") {
		if line == "" {
			continue
		}
		if len(line) < 2 || line[1] != '=' {
			return Description{}, fmt.Errorf("line %d: %w", number+1, ErrMalformed)
		}
		if number == 0 && line != "v=0" {
			return Description{}, fmt.Errorf("no v=0 first: %w", ErrMalformed)
		}
		if err := p.take(line[0], strings.TrimRight(line[2:], " ")); err != nil {
			return Description{}, fmt.Errorf("line %d: %w", number+1, err)
		}
	}
	if len(p.streams) == 0 {
		return Description{}, fmt.Errorf("no m= line: %w", ErrMalformed)
	}
	for i := range p.streams {
		if s := &p.streams[i]; !s.RTCP.IsValid() && s.Port < 65535 {
			s.RTCP = netip.AddrPortFrom(s.Address, s.Port+1)
		}
	}
	return Description{p.streams}, nil
}

type parser struct {
	address   netip.Addr
	direction Direction
	streams   []Stream
}

func (p *parser) take(kind byte, value string) error {
	switch kind {
	case 'c':
		address, err := connection(value)
		if err != nil {
			return err
		}
		if s := p.last(); s != nil {
			s.Address = address
		} else {
			p.address = address
		}
	case 'm':
		return p.stream(value)
	case 'a':
		return p.attribute(value)
	}
	return nil
}

func (p *parser) last() *Stream {
	if len(p.streams) == 0 {
		return nil
	}
	return &p.streams[len(p.streams)-1]
}

func (p *parser) stream(value string) error {
	fields := strings.Fields(value)
	if len(fields) < 4 || len(p.streams) == maxStreams {
		return fmt.Errorf("m=%s: %w", value, ErrMalformed)
	}
	port, err := strconv.ParseUint(strings.SplitN(fields[1], "/", 2)[0], 10, 16)
	if err != nil {
		return fmt.Errorf("port of m=%s: %w", value, ErrMalformed)
	}
	s := Stream{Kind: fields[0], Port: uint16(port), Protocol: fields[2], Types: fields[3:], Address: p.address, Direction: p.direction}
	for _, text := range s.Types {
		switch text { // static payload types need no rtpmap (RFC 3551 §6)
		case "0":
			s.Formats = append(s.Formats, Format{0, "PCMU", 8000})
		case "8":
			s.Formats = append(s.Formats, Format{8, "PCMA", 8000})
		default:
			if number, err := strconv.ParseUint(text, 10, 7); err == nil {
				s.Formats = append(s.Formats, Format{Type: uint8(number)})
			}
		}
	}
	p.streams = append(p.streams, s)
	return nil
}

func (p *parser) attribute(value string) error {
	name, rest, _ := strings.Cut(value, ":")
	s := p.last()
	switch name {
	case "sendrecv", "sendonly", "recvonly", "inactive":
		if s == nil {
			p.direction = Direction(name)
		} else {
			s.Direction = Direction(name)
		}
	case "rtpmap":
		if s != nil {
			return s.rtpmap(rest)
		}
	case "rtcp":
		if s != nil {
			return s.rtcp(rest)
		}
	}
	return nil
}

func (s *Stream) rtpmap(value string) error {
	number, encoding, _ := strings.Cut(value, " ")
	payload, err := strconv.ParseUint(number, 10, 7)
	parts := strings.Split(strings.TrimSpace(encoding), "/")
	if err != nil || len(parts) < 2 {
		return fmt.Errorf("rtpmap:%s: %w", value, ErrMalformed)
	}
	rate, err := strconv.Atoi(parts[1])
	if err != nil {
		return fmt.Errorf("rtpmap:%s: %w", value, ErrMalformed)
	}
	for i := range s.Formats {
		if s.Formats[i].Type == uint8(payload) {
			s.Formats[i].Name, s.Formats[i].Rate = strings.ToUpper(parts[0]), rate
		}
	}
	return nil
}

func (s *Stream) rtcp(value string) error {
	number, where, _ := strings.Cut(value, " ")
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return fmt.Errorf("rtcp:%s: %w", value, ErrMalformed)
	}
	address := s.Address
	if where != "" {
		if address, err = connection(where); err != nil {
			return err
		}
	}
	s.RTCP = netip.AddrPortFrom(address, uint16(port))
	return nil
}

// connection reads "IN IP4 address". A host name is not understood: a plain phone has no resolver for media.
func connection(value string) (netip.Addr, error) {
	fields := strings.Fields(value)
	if len(fields) != 3 || fields[0] != "IN" {
		return netip.Addr{}, fmt.Errorf("c=%s: %w", value, ErrMalformed)
	}
	address, err := netip.ParseAddr(strings.SplitN(fields[2], "/", 2)[0])
	if err != nil || address.Is4() != (fields[1] == "IP4") {
		return netip.Addr{}, fmt.Errorf("c=%s: %w", value, ErrMalformed)
	}
	return address, nil
}
