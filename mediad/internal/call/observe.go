package call

import (
	"crypto/rand"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/report"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// generate takes over whether the parties get RTCP of our own.
func (c *Call) generate(req *ng.Request) {
	switch req.GenerateRTCP {
	case ng.SwitchOn:
		if c.cname == "" {
			c.cname = rand.Text()[:cnameLength]
		}
	case ng.SwitchOff:
		c.cname = ""
	}
}

// cnameLength makes our name unique enough for a session (RFC 7022 §4.2: 96
// bits or more).
const cnameLength = 20

// observer reports what is heard of a party. It is a snapshot of names, since
// the worker must not wait for the lock of the call.
type observer struct {
	to          *report.Reporter
	callID, tag string
	tags        []string // of all parties, the latest first
}

// Event reports a telephone event.
func (o *observer) Event(e flow.Event, src netip.AddrPort, now time.Time) {
	o.to.Event(report.Event{
		CallID: o.callID, Tag: o.tag, Tags: o.tags, Source: src.Addr().Unmap(), At: now,
		Code: e.Code, Volume: e.Volume, Duration: e.Duration,
	})
}

// Control reports an RTCP packet.
func (o *observer) Control(pkt []byte, src, dst netip.AddrPort, now time.Time) {
	o.to.Control(o.callID, pkt, src, dst, now)
}

// observe lets the route of a media of p notice what concerns more than
// forwarding, and make RTCP if the call is to.
func (c *Call) observe(p *party, i int, r *flow.Route) {
	m := p.present.medias[i]
	if r.Opaque {
		return
	}
	r.Quality, r.Payloads = c.quality, c.registry.tables.of(m.payloads(p.present.agreed))
	if c.registry.cfg.Report != nil {
		r.Observer = &observer{to: c.registry.cfg.Report, callID: c.id, tag: p.tag, tags: c.tags()}
	}
	if c.cname == "" {
		return
	}
	r.Report = c.report(m, c.speaker(p, m))
}

// outputOf is the way of the RTP of m to a listener, with the RTCP of our own
// that goes along.
func (c *Call) outputOf(l listener, m *media) flow.Output {
	o := l.media.output(componentRTP, l.filter)
	if c.cname != "" {
		o.Report = c.report(l.media, m)
	}
	return o
}

// report says what RTCP the party of m gets, which hears the media of speaker,
// nil if it hears nobody.
func (c *Call) report(m, speaker *media) *flow.Report {
	component := componentRTCP
	if m.side.Local.RTCPMux {
		component = componentRTP
	}
	r := &flow.Report{
		Of: m.streams[componentRTP], To: m.output(component, nil), Interval: c.registry.cfg.RTCPInterval, Name: c.cname,
	}
	if speaker != nil {
		r.Hears = speaker.streams[componentRTP]
	}
	return r
}

// reporting are the streams whose peers get RTCP of our own.
func (c *Call) reporting() []*flow.Stream {
	if c.cname == "" {
		return nil
	}
	var streams []*flow.Stream
	for _, p := range c.parties {
		for _, m := range p.present.medias {
			if m.pair != nil {
				streams = append(streams, m.streams[componentRTP])
			}
		}
	}
	return streams
}

// speaker returns the media that the party hears on m, nil if there is none.
func (c *Call) speaker(p *party, m *media) *media {
	for _, s := range p.subscriptions {
		if !s.heard() || s.control {
			continue
		}
		for i, from := range s.source.present.medias {
			if from.pair != nil && slices.Contains(s.receives(i), m) {
				return from
			}
		}
	}
	return nil
}

// tags are those of all parties, the latest first, as rtpengine lists them.
func (c *Call) tags() []string {
	tags := make([]string, 0, len(c.parties))
	for _, p := range slices.Backward(c.parties) {
		if p.tag != "" {
			tags = append(tags, p.tag)
		}
	}
	return tags
}

// payloads describes the payload types that the party may send: those that it
// was told, and those that it has named. Once agreed, telephone events are those
// that it was told only.
func (m *media) payloads(agreed bool) (out flow.Payloads) {
	for i, list := range [][]sdp.Payload{m.side.Remote.Payloads, m.side.Local.Payloads} {
		told := i == 1
		for _, p := range list {
			pt := p.Type & 127
			out.Clock[pt] = uint32(max(p.Clock, 0))
			out.Events[pt] = (told || !agreed) && strings.EqualFold(p.Encoding, "telephone-event")
		}
	}
	return out
}

// maxTables bounds the tables of payload types that are shared.
const maxTables = 256

// tables shares equal tables of payload types between routes: most calls have
// the same few, and each is as big as all else in a route. Who looks for one
// waits for nobody. The zero value is ready.
type tables struct {
	add   sync.Mutex // one addition at a time
	known atomic.Pointer[map[flow.Payloads]*flow.Payloads]
}

func (t *tables) of(p flow.Payloads) *flow.Payloads {
	if known := t.known.Load(); known != nil {
		if shared := (*known)[p]; shared != nil {
			return shared
		}
	}
	return t.insert(p)
}

func (t *tables) insert(p flow.Payloads) *flow.Payloads {
	t.add.Lock()
	defer t.add.Unlock()
	next := make(map[flow.Payloads]*flow.Payloads)
	if known := t.known.Load(); known != nil {
		if len(*known) >= maxTables {
			return &p
		}
		maps.Copy(next, *known)
	}
	if next[p] == nil {
		next[p] = &p
	}
	t.known.Store(&next)
	return next[p]
}

// codec names the codec that the party sends, empty as long as it sends none.
func (m *media) codec() string {
	if m.pair == nil {
		return ""
	}
	st := m.streams[componentRTP].Statistics()
	for _, source := range st.Sources {
		if source.SSRC != st.SSRC {
			continue
		}
		for _, list := range [][]sdp.Payload{m.side.Remote.Payloads, m.side.Local.Payloads} {
			for _, p := range list {
				if p.Type == source.PayloadType {
					return codecName(p)
				}
			}
		}
	}
	return ""
}
