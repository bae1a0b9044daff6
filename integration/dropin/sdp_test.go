//go:build integration

package dropin

import (
	"net/netip"
	"strconv"
	"strings"
)

// A description is an SDP as its receiver reads it.
type description struct {
	session []string
	media   []section
}

// A section is one m= line with what belongs to it.
type section struct {
	lines []string
	host  string // of its c= line or the session's
}

func parse(text string) description {
	var d description
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if strings.HasPrefix(line, "m=") {
			d.media = append(d.media, section{})
		}
		if len(d.media) == 0 {
			d.session = append(d.session, line)
			continue
		}
		s := &d.media[len(d.media)-1]
		s.lines = append(s.lines, line)
	}
	for i := range d.media {
		for _, line := range append(append([]string(nil), d.session...), d.media[i].lines...) {
			if strings.HasPrefix(line, "c=") {
				d.media[i].host = lastField(line)
			}
		}
	}
	return d
}

// attribute is the value of the first a= line of that name, of the section or of
// the session.
func (d description) attribute(media int, name string) string {
	for _, line := range append(append([]string(nil), d.media[media].lines...), d.session...) {
		if value, ok := strings.CutPrefix(line, "a="+name+":"); ok {
			return value
		}
	}
	return ""
}

// rtp is where media number i is to be sent.
func (d description) rtp(i int) netip.AddrPort {
	port, _ := strconv.ParseUint(strings.Fields(d.media[i].lines[0])[1], 10, 16)
	address, _ := netip.ParseAddr(d.media[i].host)
	return netip.AddrPortFrom(address, uint16(port))
}

// rtcp is where its reports go.
func (d description) rtcp(i int) netip.AddrPort {
	rtp := d.rtp(i)
	for _, line := range d.media[i].lines {
		if line == "a=rtcp-mux" {
			return rtp
		}
	}
	if value := d.attribute(i, "rtcp"); value != "" {
		port, _ := strconv.ParseUint(strings.Fields(value)[0], 10, 16)
		return netip.AddrPortFrom(rtp.Addr(), uint16(port))
	}
	return netip.AddrPortFrom(rtp.Addr(), rtp.Port()+1)
}
