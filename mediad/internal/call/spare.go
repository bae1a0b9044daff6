package call

import (
	"net/netip"
	"slices"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
)

// maxSpares bounds the ports that a party holds for other endpoints.
const maxSpares = 16

// spare is a pair of ports that a party was told while its peer was somewhere
// else: another fork, or the same phone before it moved.
type spare struct {
	index  int            // of the media
	facing netip.AddrPort // where the peer's packets went
	media  *media
}

// place returns the medias of a receiver for where the sender of the plan's body
// is. As in rtpengine, each endpoint of the one has ports of its own towards the
// other, so that late packets of one stream do not run into another, and forks
// can be told apart; in a re-offer a fork stops sharing those of an earlier one.
// With ICE or keys of a handshake the ports are part of what was agreed, and
// stay; ICE that begins has new ones, unless the media comes back or the ports
// were made for ICE that was not taken.
func (c *Call) place(p *party, medias []*media, plan *negotiate.Plan, offer bool) []*media {
	medias = slices.Clone(medias)
	earlier := func(pair *ports.Pair) bool {
		return slices.ContainsFunc(c.parties, func(q *party) bool { return q.number < p.number && q.uses(pair) })
	}
	for i, m := range medias {
		if i >= len(plan.From.Sides) || m.ice != nil || m.dtls != nil {
			continue
		}
		ice := &plan.To.Sides[i].Local.ICE
		switch running := ice.Mode != negotiate.ICENone || ice.Passthrough; {
		case m.pair != nil && ice.Passthrough && m.side.Local.ICE.Passthrough:
			continue
		case m.pair == nil && running:
			medias[i] = p.rested(i, m)
			continue
		case ice.Mode != negotiate.ICENone && m.wild && m.facing == plan.From.Sides[i].Remote.RTP:
			continue
		case ice.Mode != negotiate.ICENone:
			medias[i] = &media{side: new(negotiate.Side), sdes: m.sdes} // ICE begins
			continue
		}
		at := plan.From.Sides[i].Remote.RTP
		shared := offer && earlier(m.pair)
		if !at.IsValid() || m.pair != nil && !shared && (!m.facing.IsValid() || m.facing == at) {
			continue
		}
		next := &media{side: new(negotiate.Side)}
		for _, s := range append(p.current(), p.spares...) {
			if s.index == i && s.facing == at && s.media.plain() && !(offer && earlier(s.media.pair)) {
				*next = *s.media
			}
		}
		next.sdes = m.sdes
		medias[i] = next
	}
	return medias
}

// restored returns the medias of a sender with the ports that those without had
// last: a media that was refused may come back.
func (p *party) restored(medias []*media) []*media {
	medias = slices.Clone(medias)
	for i, m := range medias {
		if m.pair == nil {
			medias[i] = p.rested(i, m)
		}
	}
	return medias
}

// rested returns media i, which has no ports, with those that it had last.
func (p *party) rested(i int, m *media) *media {
	for _, s := range slices.Backward(p.spares) {
		if s.index == i {
			next := *s.media
			return &next
		}
	}
	return m
}

// plain reports whether nothing but the address of the other side says whose
// the ports are.
func (m *media) plain() bool { return m.ice == nil && m.dtls == nil }

// restart returns medias that remember nothing but their ports.
func restart(medias []*media) []*media {
	out := make([]*media, len(medias))
	for i, m := range medias {
		out[i] = &media{side: new(negotiate.Side)}
		if m.ice == nil && m.dtls == nil {
			*out[i] = media{side: new(negotiate.Side), pair: m.pair, streams: m.streams, facing: m.facing, wild: m.wild}
		}
	}
	return out
}

// face notes where the other side of each media of the receiver is. With ICE
// the ports belong to whom they were first told of.
func face(medias []*media, plan *negotiate.Plan) {
	for i, m := range medias {
		ice := plan.To.Sides[i].Local.ICE.Mode != negotiate.ICENone
		if at := plan.From.Sides[i].Remote.RTP; at.IsValid() && !(ice && m.facing.IsValid()) {
			m.facing = at
		}
	}
}

// current lists the medias in force and on offer, each with its place.
func (p *party) current() []spare {
	medias := [][]*media{p.present.medias}
	if p.open != nil {
		medias = append(medias, p.open.medias)
	}
	var out []spare
	for _, list := range medias {
		for i, m := range list {
			if m.pair != nil {
				out = append(out, spare{index: i, facing: m.facing, media: m})
			}
		}
	}
	return out
}

// keepSpares makes the ports that the party was told before, and which are no
// longer in use, its spares. Those that are in use again are spare no more.
func (c *Call) keepSpares(p *party, before []spare) {
	var kept []spare
	seen := func(pair *ports.Pair) bool {
		return p.uses(pair) || slices.ContainsFunc(kept, func(k spare) bool { return k.media.pair == pair })
	}
	for _, s := range append(p.spares, before...) {
		latest := p.latest().medias
		refused := s.index < len(latest) && latest[s.index].pair == nil
		if refused {
			s.media = s.media.rest() // it may come back
		}
		if !seen(s.media.pair) && (refused || s.facing.IsValid()) && s.media.plain() {
			kept = append(kept, s)
		}
	}
	p.spares = kept[max(0, len(kept)-maxSpares):]
	for _, s := range p.spares {
		if slices.ContainsFunc(c.parties, func(q *party) bool { return q.uses(s.media.pair) }) {
			continue // forks may share ports
		}
		for _, at := range s.media.places() {
			for _, stream := range at.streams {
				stream.SetRoute(&flow.Route{Drop: true, Learning: flow.Off})
			}
		}
	}
}

// rest returns what has nothing of the media but its ports.
func (m *media) rest() *media {
	return &media{side: new(negotiate.Side), pair: m.pair, streams: m.streams, further: m.further, facing: m.facing, wild: m.wild}
}

// uses reports whether the pair of ports is in force or on offer for the party.
func (p *party) uses(pair *ports.Pair) bool {
	with := func(m *media) bool { return m.pair == pair }
	return pair != nil && (slices.ContainsFunc(p.present.medias, with) || p.open != nil && slices.ContainsFunc(p.open.medias, with))
}
