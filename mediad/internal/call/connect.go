package call

import (
	"errors"
	"fmt"
	"slices"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"go.uber.org/zap"
)

// Connect executes the commands connect, mesh, inject start and inject stop,
// which tie parties that are there already. Calls whose parties are tied become
// one. The error wraps an ng.Reason; nothing has changed then.
func (r *Registry) Connect(req *ng.Request) error {
	if !req.HasCallID() && len(req.Participants.Calls) == 0 {
		return ng.ReasonNoCallID
	}
	calls, err := r.findAll(callsOf(req))
	if err != nil {
		return err
	}
	defer unlock(calls)
	links, err := tie{req, calls}.links()
	if err != nil {
		return err
	}
	if err := r.merge(tied(calls, links)); err != nil {
		return err
	}
	for _, l := range links {
		l.apply()
	}
	for _, c := range calls {
		c.compile()
	}
	calls[0].log.Info(string(req.Command), zap.String("from-tag", req.FromTag), zap.String("to-tag", req.ToTag), zap.Int("links", len(links)))
	return nil
}

// callsOf are the ids of the calls that a command is about.
func callsOf(req *ng.Request) []string {
	p := &req.Participants
	ids := make([]string, 0, 1+len(p.Calls))
	if req.HasCallID() {
		ids = append(ids, req.CallID)
	}
	switch req.Command {
	case ng.CommandMesh:
		return append(ids, p.Calls...)
	case ng.CommandInjectStart, ng.CommandInjectStop:
		if p.SourceCallID != "" {
			ids = append(ids, p.SourceCallID)
		}
	default:
		if p.ToCallID != "" {
			ids = append(ids, p.ToCallID)
		}
	}
	return ids
}

// tied leaves those of the calls that links tie together, and the first.
func tied(calls []*Call, links []link) []*Call {
	return slices.DeleteFunc(slices.Clone(calls), func(c *Call) bool {
		return c != calls[0] && !slices.ContainsFunc(links, func(l link) bool {
			return !l.end && (slices.Contains(c.parties, l.listener) || slices.Contains(c.parties, l.source))
		})
	})
}

// link is one change of who hears whom.
type link struct {
	listener, source *party
	end              bool
	mutual           bool // as after an offer and its answer
}

func (l link) apply() {
	switch {
	case l.mutual:
		associate(l.source, l.listener)
		l.source.peer, l.listener.peer = l.listener, l.source
	case !l.end:
		subscribe(l.listener, l.source, nil)
	default:
		if s := l.listener.subscriptionTo(l.source); s != nil {
			s.end()
		}
	}
}

// tie is a command that ties parties, and the calls that it names.
type tie struct {
	*ng.Request
	calls []*Call
}

// links finds what the command is to change.
func (t tie) links() ([]link, error) {
	switch t.Command {
	case ng.CommandMesh:
		return t.mesh()
	case ng.CommandInjectStart, ng.CommandInjectStop:
		tag := t.Participants.SourceTag
		if tag == "" {
			return nil, ng.Reason("No source-tag in message")
		}
		source, listener, err := t.two(t.last(), tag, t.first())
		return []link{{listener: listener, source: source, end: t.Command == ng.CommandInjectStop}}, err
	}
	return t.connections()
}

// first is the call of the call-id, last the other one if another is named.
func (t tie) first() *Call { return t.calls[0] }
func (t tie) last() *Call  { return t.calls[len(t.calls)-1] }

// two returns the party of a tag in one call and that of the to-tag in another,
// which may be the same.
func (t tie) two(of *Call, tag string, other *Call) (from, to *party, err error) {
	if !t.HasToTag() {
		return nil, nil, ng.ReasonNoToTag
	}
	from, to = of.partyByTag(tag), other.partyByTag(t.ToTag)
	switch {
	case from == nil:
		return nil, nil, ng.ReasonNoSuchTag
	case to == nil:
		return nil, nil, ng.ReasonToTagNotFound
	case from == to:
		return nil, nil, ng.ReasonInvalidAssociation
	}
	return from, to, nil
}

// connections are those of connect: a dialogue of two parties, or with several
// sources or the flag "directional" one way from each to the to-tag.
func (t tie) connections() ([]link, error) {
	tags := t.Participants.FromTags
	directional := t.Flags.Has(ng.FlagDirectional) || len(tags) > 1
	if len(tags) == 0 {
		if !t.HasFromTag() {
			return nil, ng.ReasonNoFromTag
		}
		tags = []string{t.FromTag}
	}
	var out []link
	for _, tag := range tags {
		from, to, err := t.two(t.first(), tag, t.last())
		if err != nil {
			return nil, err
		}
		if !directional {
			return []link{{listener: to, source: from, mutual: true}}, nil
		}
		out = append(out, link{listener: to, source: from})
		if t.Flags.Has(ng.FlagBidirectional) {
			out = append(out, link{listener: from, source: to})
		}
	}
	return out, nil
}

// mesh lets each "from" be heard by each of its "to", whatever call they are in.
func (t tie) mesh() ([]link, error) {
	end := t.Flags.Has(ng.FlagUnsubscribe)
	var out []link
	for _, m := range t.Participants.Mesh {
		from := t.party(m.From)
		if from == nil {
			return nil, ng.ReasonNoSuchTag
		}
		for _, tag := range m.To {
			to := t.party(tag)
			if to == nil {
				return nil, fmt.Errorf("%w: %q", ng.ReasonToTagNotFound, tag)
			}
			if to == from {
				continue
			}
			out = append(out, link{listener: to, source: from, end: end})
			if t.Flags.Has(ng.FlagBidirectional) {
				out = append(out, link{listener: from, source: to, end: end})
			}
		}
	}
	if len(out) == 0 {
		return nil, ng.ReasonNoMonologues
	}
	return slices.Compact(out), nil
}

// party returns the party with the tag in any of the calls, nil if there is none.
func (t tie) party(tag string) *party {
	for _, c := range t.calls {
		if p := c.partyByTag(tag); p != nil {
			return p
		}
	}
	return nil
}

// Check looks whether a command about the media of a call names a call and a
// party that are there. The error is an ng.Reason.
func (r *Registry) Check(req *ng.Request) error {
	c, err := r.lookup(req)
	recording := req.Command == ng.CommandStartRecording || req.Command == ng.CommandStopRecording ||
		req.Command == ng.CommandPauseRecording
	switch {
	case errors.Is(err, ng.ReasonUnknownCall) && recording:
		return ng.ReasonUnknownCallID
	case err != nil:
		return err
	}
	defer c.mu.Unlock()
	if recording {
		return nil
	}
	p, err := c.participant(req)
	if err == nil && p == nil && !req.Flags.Has(ng.FlagAll) {
		err = ng.ReasonNoParticipant
	}
	return err
}
