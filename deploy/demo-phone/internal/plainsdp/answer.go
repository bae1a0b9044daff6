package plainsdp

import (
	"bytes"
	"fmt"
	"net/netip"
)

// event is the name of RFC 4733's DTMF format.
const event = "TELEPHONE-EVENT"

// Local is this phone's side of the description.
type Local struct {
	ID      uint64 // o= session id
	Version uint64 // o= version, one more at each change (RFC 3264 §8)
	Address netip.Addr
	Port    uint16 // RTP; RTCP is on the next port
	Codecs  []string
	Direction
}

// Chosen is what an offer and its answer have in common.
type Chosen struct {
	Stream          // the peer's audio stream
	Audio  []Format // common codecs, the peer's preferred first, with the peer's payload types
	Event  Format   // telephone-event/8000; Name is empty when the peer has none
	index  int
}

// Choose finds the first stream of d that this phone can take: RTP/AVP audio with one of codecs, in the address family of local.
func (d Description) Choose(codecs []string, local netip.Addr) (Chosen, error) {
	for i, s := range d.Streams {
		if s.Kind != "audio" || s.Port == 0 || s.Protocol != "RTP/AVP" ||
			!s.Address.IsValid() || s.Address.Is4() != local.Is4() {
			continue
		}
		chosen := Chosen{Stream: s, index: i}
		for _, f := range s.Formats {
			if f.Rate != 8000 {
				continue
			}
			if f.Name == event && chosen.Event.Name == "" {
				chosen.Event = f
			}
			for _, name := range codecs {
				if f.Name == name {
					chosen.Audio = append(chosen.Audio, f)
				}
			}
		}
		if len(chosen.Audio) > 0 {
			return chosen, nil
		}
	}
	return Chosen{}, ErrNotAcceptable
}

// Offer writes local as an offer with the static payload types and telephone-event on 101.
func (l Local) Offer() []byte {
	var out bytes.Buffer
	l.session(&out)
	var formats []Format
	for _, name := range l.Codecs {
		formats = append(formats, Format{staticType(name), name, 8000})
	}
	l.audio(&out, append(formats, Format{101, event, 8000}), l.Direction)
	return out.Bytes()
}

// Answer writes local as the answer to an offer from which chosen was taken: every other m= line is refused in its place
// (RFC 3264 §6), and the direction is what the offer leaves of local's own.
func (l Local) Answer(offer Description, chosen Chosen) []byte {
	var out bytes.Buffer
	l.session(&out)
	for i, s := range offer.Streams {
		if i != chosen.index {
			fmt.Fprintf(&out, "m=%s 0 %s %s\r\n", s.Kind, s.Protocol, s.Types[0])
			continue
		}
		formats := chosen.Audio
		if chosen.Event.Name != "" {
			formats = append(formats[:len(formats):len(formats)], chosen.Event)
		}
		l.audio(&out, formats, s.Direction.Answer(l.Direction))
	}
	return out.Bytes()
}

func (l Local) session(out *bytes.Buffer) {
	family := "IP4"
	if l.Address.Is6() {
		family = "IP6"
	}
	fmt.Fprintf(out, "v=0\r\no=phone %d %d IN %s %s\r\ns=-\r\nc=IN %[3]s %[4]s\r\nt=0 0\r\n", l.ID, l.Version, family, l.Address)
}

func (l Local) audio(out *bytes.Buffer, formats []Format, direction Direction) {
	fmt.Fprintf(out, "m=audio %d RTP/AVP", l.Port)
	for _, f := range formats {
		fmt.Fprintf(out, " %d", f.Type)
	}
	out.WriteString("\r\n")
	for _, f := range formats {
		if f.Name == event {
			fmt.Fprintf(out, "a=rtpmap:%d telephone-event/%d\r\na=fmtp:%[1]d 0-15\r\n", f.Type, f.Rate)
			continue
		}
		fmt.Fprintf(out, "a=rtpmap:%d %s/%d\r\n", f.Type, f.Name, f.Rate)
	}
	fmt.Fprintf(out, "a=ptime:20\r\na=%s\r\n", direction)
}

func staticType(name string) uint8 {
	if name == "PCMA" {
		return 8
	}
	return 0
}
