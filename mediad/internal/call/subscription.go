package call

import (
	"slices"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
)

// subscription says that the listener is to hear the source. Two parties of an
// offer and its answer have one in each direction; other commands make further
// ones, so that N parties may hear M.
type subscription struct {
	listener, source *party
	published        bool // by another command than offer and answer
	control          bool // of RTCP only

	// index tells which media of the source each media of the listener gets,
	// -1 for none; nil means that they correspond by their place.
	index []int

	blocks  blocks                  // what the listener is kept from hearing
	players map[*media]*flow.Player // of telephone events, by media of the listener
}

// kind is the word for the subscription in replies.
func (s *subscription) kind() string {
	if s.published {
		return "pub/sub"
	}
	return "offer/answer"
}

// receives returns the media of the listener that gets media i of the source,
// nil if there is none.
func (s *subscription) receives(i int) []*media {
	medias := s.listener.present.medias
	if s.index == nil {
		if i < len(medias) {
			return medias[i : i+1]
		}
		return nil
	}
	var out []*media
	for n, source := range s.index {
		if source == i && n < len(medias) {
			out = append(out, medias[n])
		}
	}
	return out
}

// fit gives up what the subscription copies to a media of another kind: the
// listener has agreed to another body since.
func (s *subscription) fit() {
	listener, source := s.listener.present.snapshot.Sides, s.source.present.snapshot.Sides
	for n, i := range s.index {
		if i >= 0 && (n >= len(listener) || i >= len(source) || listener[n].Remote.Type != source[i].Remote.Type) {
			s.index[n] = -1
		}
	}
}

// associate makes the parties of an offer or answer hear each other. Who heard
// one of them by an offer or answer before no longer does: there is one dialogue
// at a time, though early media of all branches may still reach the caller.
func associate(a, b *party) {
	both := []*subscription{{listener: a, source: b}, {listener: b, source: a}}
	for _, s := range both {
		if old := s.listener.subscriptionTo(s.source); old != nil {
			s.blocks = old.blocks
		}
	}
	for _, p := range []*party{a, b} {
		for _, s := range slices.Clone(p.subscribers) {
			if !s.published || s.listener == a || s.listener == b {
				s.cancel()
			}
		}
	}
	for _, s := range both {
		s.listener.subscriptions = slices.Insert(s.listener.subscriptions, 0, s)
		s.source.subscribers = slices.Insert(s.source.subscribers, 0, s)
	}
}

// subscribe makes listener hear source, in place of what it heard of it before.
func subscribe(listener, source *party, index []int) {
	s := &subscription{listener: listener, source: source, published: true, index: index}
	if old := listener.subscriptionTo(source); old != nil {
		s.blocks = old.blocks
		old.cancel()
	}
	listener.subscriptions = append(listener.subscriptions, s)
	source.subscribers = append(source.subscribers, s)
}

// mirror lets the source of a subscription have the RTCP of its listener (ng
// flag RTCP-mirror), as parties of a dialogue do.
func (s *subscription) mirror() {
	back := &subscription{listener: s.source, source: s.listener, published: true, control: true}
	back.index = make([]int, len(s.source.present.medias))
	for n := range back.index {
		back.index[n] = n
		if s.index != nil {
			back.index[n] = slices.Index(s.index, n)
		}
	}
	if old := back.listener.subscriptionTo(back.source); old != nil {
		old.cancel()
	}
	back.listener.subscriptions = append(back.listener.subscriptions, back)
	back.source.subscribers = append(back.source.subscribers, back)
}

func (p *party) subscriptionTo(source *party) *subscription {
	for _, s := range p.subscriptions {
		if s.source == source {
			return s
		}
	}
	return nil
}

// cancel ends the subscription.
func (s *subscription) cancel() {
	same := func(other *subscription) bool { return other == s }
	s.listener.subscriptions = slices.DeleteFunc(s.listener.subscriptions, same)
	s.source.subscribers = slices.DeleteFunc(s.source.subscribers, same)
}

// end cancels a subscription and its mirror.
func (s *subscription) end() {
	s.cancel()
	if back := s.source.subscriptionTo(s.listener); back != nil && back.control {
		back.cancel()
	}
}

// withdraw ends all subscriptions of and to p.
func (p *party) withdraw() {
	for _, s := range append(slices.Clone(p.subscriptions), p.subscribers...) {
		s.cancel()
	}
}

// heard reports whether packets are to go by the subscription. A caller hears
// all branches that it has called until one of them has answered.
func (s *subscription) heard() bool {
	q, p := s.listener, s.source
	return s.published || q.peer == p || q.peer == nil || !q.peer.answered
}
