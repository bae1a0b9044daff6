package call

import (
	"fmt"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Query executes the command query. With a to-tag or else a from-tag only that
// party and those it hears are told of. The error is an ng.Reason.
func (r *Registry) Query(req *ng.Request) (*ng.CallState, error) {
	if !req.HasCallID() {
		return nil, ng.ReasonNoCallID
	}
	c := r.find(req.CallID)
	if c == nil {
		return nil, ng.ReasonUnknownCallID
	}
	defer c.mu.Unlock()
	return c.stateLocked(c.wanted(req)), nil
}

// wanted are the parties that the tags of a command ask about: the one with the
// to-tag or else the from-tag, and those it hears. Nil means all.
func (c *Call) wanted(req *ng.Request) map[*party]bool {
	tag := req.ToTag
	if tag == "" {
		tag = req.FromTag
	}
	if tag == "" {
		return nil
	}
	wanted := make(map[*party]bool)
	if p := c.partyByTag(tag); p != nil {
		wanted[p] = true
		for _, s := range p.subscriptions {
			wanted[s.source] = true
		}
	}
	return wanted
}

// stateLocked describes the call, with the wanted parties, nil meaning all.
func (c *Call) stateLocked(wanted map[*party]bool) *ng.CallState {
	s := &ng.CallState{
		Created:    c.created.Unix(),
		CreatedUS:  int64(c.created.Nanosecond() / 1000),
		CreatedTS:  c.created.UnixMicro(),
		LastSignal: c.lastSignal.Unix(),
		SSRC:       c.sourcesState(),
		Tags:       make(map[string]*ng.TagState),
	}
	for _, p := range c.parties {
		if wanted != nil && !wanted[p] {
			continue
		}
		s.Tags[p.key()] = c.partyState(p, s)
	}
	return s
}

// key names the party in a reply.
func (p *party) key() string {
	if p.tag == "" {
		return fmt.Sprintf("<untagged %d>", p.number)
	}
	return p.tag
}

func (c *Call) partyState(p *party, sum *ng.CallState) *ng.TagState {
	t := &ng.TagState{
		Tag: p.tag, ViaBranch: p.viaBranch, Label: p.label, Created: p.created.Unix(),
	}
	for _, s := range p.subscriptions {
		t.Subscriptions = append(t.Subscriptions, ng.Subscription{Tag: s.source.tag, Type: s.kind()})
	}
	for _, s := range p.subscribers {
		t.Subscribers = append(t.Subscribers, ng.Subscription{Tag: s.listener.tag, Type: s.kind()})
	}
	t.Medias = make([]ng.MediaState, 0, len(p.present.medias))
	for i := range p.present.medias {
		t.Medias = append(t.Medias, c.view(p, i).state(i, sum))
	}
	return t
}
