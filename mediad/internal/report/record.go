package report

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Record is the call detail record of a call that has ended.
type Record struct {
	CallID      string
	CreatedFrom string // address of the ng client that made the call
	LastSignal  time.Time
	TOS         uint8
	Legs        []Leg
}

// Leg is one party in a Record.
type Leg struct {
	Start, End  time.Time
	Termination string // REGULAR, TIMEOUT, SILENT_TIMEOUT, FINAL_TIMEOUT, OFFER_TIMEOUT, FORCED
	Tag, Peer   string // Peer is the tag of whom it talked to; empty = none
	Role        string // FROM_TAG, TO_TAG or UNKNOWN
	Medias      []Media
}

// Media is one m= line of a Leg.
type Media struct {
	Index       int // from 1
	PayloadType int // last received, -1 = none
	TOS         uint8
	RTP         Stream
	RTCP        *Stream // nil if RTCP came by the same port
}

// Stream is one port of a Media, with what was received.
type Stream struct {
	Endpoint, Local        netip.AddrPort
	Packets, Bytes, Errors uint64
	Last                   time.Time
}

// Record reports the end of a call. It must not be changed any more.
func (r *Reporter) Record(c *Record) {
	if r == nil || r.cfg.CDR == nil {
		return
	}
	r.enqueue(item{record: c})
}

// Records reports whether records are wanted.
func (r *Reporter) Records() bool { return r != nil && r.cfg.CDR != nil }

// line is the record in rtpengine's form.
func (c *Record) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "ci=%s, created_from=%s, last_signal=%d, tos=%d, ", c.CallID, c.CreatedFrom, c.LastSignal.Unix(), c.TOS)
	for i := range c.Legs {
		l := &c.Legs[i]
		fmt.Fprintf(&b, "ml%d_start_time=%s, ml%d_end_time=%s, ml%d_duration=%.6f, ml%d_termination=%s, ml%d_local_tag=%s, "+
			"ml%d_local_tag_type=%s, ml%d_remote_tag=%s, ",
			i, stamp(l.Start), i, stamp(l.End), i, l.End.Sub(l.Start).Seconds(), i, l.Termination, i, orNull(l.Tag),
			i, l.Role, i, orNull(l.Peer))
		for k := range l.Medias {
			m := &l.Medias[k]
			payload := "unknown"
			if m.PayloadType >= 0 {
				payload = fmt.Sprint(m.PayloadType)
			}
			fmt.Fprintf(&b, "payload_type=%s, ", payload)
			m.RTP.write(&b, fmt.Sprintf("ml%d_midx%d_rtp", i, m.Index), m.TOS)
			if m.RTCP != nil {
				m.RTCP.write(&b, fmt.Sprintf("ml%d_midx%d_rtcp", i, m.Index), m.TOS)
			}
		}
	}
	return b.String()
}

func (s *Stream) write(b *strings.Builder, prefix string, tos uint8) {
	fmt.Fprintf(b, "%s_endpoint_ip=%s, %s_endpoint_port=%d, %s_local_relay_ip=%s, %s_local_relay_port=%d, ",
		prefix, address(s.Endpoint, ""), prefix, s.Endpoint.Port(), prefix, address(s.Local, "0.0.0.0"), prefix, s.Local.Port())
	fmt.Fprintf(b, "%s_relayed_packets=%d, %s_relayed_bytes=%d, %s_relayed_errors=%d, %s_last_packet=%d, %s_in_tos_tclass=%d, ",
		prefix, s.Packets, prefix, s.Bytes, prefix, s.Errors, prefix, s.Last.Unix(), prefix, tos)
}

// stamp is a time as seconds with six decimals.
func stamp(t time.Time) string { return fmt.Sprintf("%d.%06d", t.Unix(), t.Nanosecond()/1000) }

func address(a netip.AddrPort, unset string) string {
	if !a.IsValid() {
		return unset
	}
	return a.Addr().String()
}

func orNull(s string) string {
	if s == "" {
		return "(null)"
	}
	return s
}
