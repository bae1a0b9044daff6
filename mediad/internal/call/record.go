package call

import (
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/report"
)

// termination is the word for the reason in call detail records.
func termination(reason endReason) string {
	switch reason {
	case endTimeout:
		return "TIMEOUT"
	case endSilent:
		return "SILENT_TIMEOUT"
	case endFinal:
		return "FINAL_TIMEOUT"
	case endOffer:
		return "OFFER_TIMEOUT"
	case endShutdown, endTerminated:
		return "FORCED"
	default:
		return "REGULAR"
	}
}

// record makes the call detail record of a call that is about to end, nil if
// nobody wants it.
func (c *Call) record(reason endReason, now time.Time) *report.Record {
	if !c.registry.cfg.Report.Records() {
		return nil
	}
	rec := &report.Record{CallID: c.id, CreatedFrom: c.operated.proxy.String(), LastSignal: c.lastSignal, TOS: uint8(c.operated.tos)}
	for i, p := range c.parties {
		leg := report.Leg{Start: p.created, End: now, Termination: termination(reason), Tag: p.tag, Role: role(i, p)}
		if p.peer != nil {
			leg.Peer = p.peer.tag
		}
		for n, m := range p.present.medias {
			leg.Medias = append(leg.Medias, m.record(n+1, p.created))
		}
		rec.Legs = append(rec.Legs, leg)
	}
	return rec
}

// role tells which tag a party is known by: the first one has made the call.
func role(i int, p *party) string {
	switch {
	case p.tag == "":
		return "UNKNOWN"
	case i == 0:
		return "FROM_TAG"
	}
	return "TO_TAG"
}

func (m *media) record(index int, since time.Time) report.Media {
	if m.pair == nil { // refused
		rtcp := report.Stream{Endpoint: m.endpoint(componentRTCP), Last: since}
		return report.Media{
			Index: index, PayloadType: -1, RTP: report.Stream{Endpoint: m.endpoint(componentRTP), Last: since}, RTCP: &rtcp,
		}
	}
	st := m.streams[componentRTP].Statistics()
	out := report.Media{Index: index, PayloadType: -1, RTP: streamRecord(m.streams[componentRTP], st)}
	for _, s := range st.Sources {
		if s.SSRC == st.SSRC {
			out.PayloadType = int(s.PayloadType)
		}
	}
	if !m.side.Local.RTCPMux {
		rtcp := streamRecord(m.streams[componentRTCP], m.streams[componentRTCP].Statistics())
		out.RTCP = &rtcp
	}
	return out
}

func streamRecord(s *flow.Stream, st flow.Statistics) report.Stream {
	n := counters(st)
	r := report.Stream{
		Endpoint: s.Destination(), Local: s.LocalAddr(), Packets: n.Packets, Bytes: n.Bytes, Errors: n.Errors, Last: st.LastPacket,
	}
	if r.Last.IsZero() { // then it is when the port was opened
		r.Last = s.Opened()
	}
	return r
}
