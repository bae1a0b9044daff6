package call

import (
	"errors"
	"fmt"
	"slices"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"go.uber.org/zap"
)

// Connect executes the commands connect, mesh, inject start and inject stop,
// which tie parties of a call that are there already. The error wraps an
// ng.Reason; nothing has changed then.
func (r *Registry) Connect(req *ng.Request) error {
	c, err := r.lookup(req)
	if err != nil {
		return err
	}
	defer c.mu.Unlock()
	links, err := c.links(req)
	if err != nil {
		return err
	}
	for _, l := range links {
		l.apply()
	}
	c.compile()
	c.log.Info(string(req.Command), zap.String("from-tag", req.FromTag), zap.String("to-tag", req.ToTag), zap.Int("links", len(links)))
	return nil
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

// links finds what a command is to change.
func (c *Call) links(req *ng.Request) ([]link, error) {
	p := &req.Participants
	for _, id := range append([]string{p.ToCallID, p.SourceCallID}, p.Calls...) {
		if id != "" && id != c.id {
			// Each call belongs to one worker of the engine.
			return nil, ng.Reason("Parties of different calls cannot be connected in this version")
		}
	}
	switch req.Command {
	case ng.CommandMesh:
		return c.mesh(req)
	case ng.CommandInjectStart, ng.CommandInjectStop:
		if p.SourceTag == "" {
			return nil, ng.Reason("No source-tag in message")
		}
		source, listener, err := c.two(p.SourceTag, req)
		return []link{{listener: listener, source: source, end: req.Command == ng.CommandInjectStop}}, err
	}
	return c.connections(req)
}

// two returns the party of a tag and that of the to-tag.
func (c *Call) two(tag string, req *ng.Request) (from, to *party, err error) {
	if !req.HasToTag() {
		return nil, nil, ng.ReasonNoToTag
	}
	from, to = c.partyByTag(tag), c.partyByTag(req.ToTag)
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
func (c *Call) connections(req *ng.Request) ([]link, error) {
	tags := req.Participants.FromTags
	directional := req.Flags.Has(ng.FlagDirectional) || len(tags) > 1
	if len(tags) == 0 {
		if !req.HasFromTag() {
			return nil, ng.ReasonNoFromTag
		}
		tags = []string{req.FromTag}
	}
	var out []link
	for _, tag := range tags {
		from, to, err := c.two(tag, req)
		if err != nil {
			return nil, err
		}
		if !directional {
			return []link{{listener: to, source: from, mutual: true}}, nil
		}
		out = append(out, link{listener: to, source: from})
		if req.Flags.Has(ng.FlagBidirectional) {
			out = append(out, link{listener: from, source: to})
		}
	}
	return out, nil
}

// mesh lets each "from" be heard by each of its "to".
func (c *Call) mesh(req *ng.Request) ([]link, error) {
	end := req.Flags.Has(ng.FlagUnsubscribe)
	var out []link
	for _, m := range req.Participants.Mesh {
		from := c.partyByTag(m.From)
		if from == nil {
			return nil, ng.ReasonNoSuchTag
		}
		for _, tag := range m.To {
			to := c.partyByTag(tag)
			if to == nil {
				return nil, fmt.Errorf("%w: %q", ng.ReasonToTagNotFound, tag)
			}
			if to == from {
				continue
			}
			out = append(out, link{listener: to, source: from, end: end})
			if req.Flags.Has(ng.FlagBidirectional) {
				out = append(out, link{listener: from, source: to, end: end})
			}
		}
	}
	if len(out) == 0 {
		return nil, ng.ReasonNoMonologues
	}
	return slices.Compact(out), nil
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
