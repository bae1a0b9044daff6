package call

import (
	"strings"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
	"go.uber.org/zap"
)

// blocks are what others are kept from hearing: of the call, of a party or of
// one flow. What is blocked on one of these levels stays so whatever the others
// say.
type blocks struct {
	media      bool
	silence    bool
	events     flow.EventBlock
	forwarding bool // wished for; nothing here reads it
}

// with returns what two levels block together.
func (b blocks) with(o blocks) blocks {
	b.media = b.media || o.media
	b.silence = b.silence || o.silence
	if b.events == flow.EventsPass {
		b.events = o.events
	}
	return b
}

// filter makes what the listener gets of a media of the source; nil if that is
// everything.
func (c *Call) filter(s *subscription, m, to *media) *flow.Filter {
	b := c.blocks.with(s.source.blocks).with(s.blocks)
	player := s.players[to]
	if !b.media && !b.silence && b.events == flow.EventsPass && player == nil {
		return nil
	}
	f := &flow.Filter{Player: player, DropMedia: b.media, Silence: b.silence, Block: b.events}
	f.Fill[0], f.Fill[8] = silenceOf("PCMU"), silenceOf("PCMA")
	for _, list := range [][]sdp.Payload{m.side.Remote.Payloads, m.side.Local.Payloads} {
		for _, p := range list {
			switch pt := p.Type & 127; {
			case strings.EqualFold(p.Encoding, "telephone-event"):
				f.Events[pt] = true
			case p.Encoding != "":
				f.Fill[pt] = silenceOf(p.Encoding)
			}
		}
	}
	return f
}

// silenceOf is the byte that means silence in a codec, 0 if there is none
// (ITU-T G.711: the smallest magnitude of each law).
func silenceOf(encoding string) byte {
	switch strings.ToUpper(encoding) {
	case "PCMU":
		return 0xff
	case "PCMA":
		return 0xd5
	}
	return 0
}

// Block executes the commands that block and unblock media, telephone events or
// forwarding. They mean the party that is named, one flow if its other end is
// named too, else the whole call. The error is an ng.Reason.
func (r *Registry) Block(req *ng.Request) error {
	c, err := r.lookup(req)
	if err != nil {
		return err
	}
	defer c.mu.Unlock()
	p, err := c.participant(req)
	if err != nil {
		return err
	}
	for _, b := range c.blocked(req, p) {
		b.apply(req)
	}
	if req.Command == ng.CommandStartForwarding {
		c.log.Warn("forwarding is not served: nothing reads the copies")
	}
	c.compile()
	c.log.Info(string(req.Command), zap.String("from-tag", req.FromTag), zap.String("to-tag", req.ToTag),
		zap.String("label", req.Label), zap.String("all", req.Participants.All))
	return nil
}

// blocked are the levels that a command changes.
func (c *Call) blocked(req *ng.Request, p *party) []*blocks {
	var flows func(*subscription) bool
	switch all := strings.ToLower(req.Participants.All); {
	case all == "all", req.Flags.Has(ng.FlagAll):
		p = nil
	case all == "offer-answer":
		flows = func(s *subscription) bool { return !s.published }
	case all == "except-offer-answer":
		flows = func(s *subscription) bool { return s.published }
	case all == "flows":
		flows = func(*subscription) bool { return true }
	default:
		if to := c.receiverOf(req); p != nil && to != nil && to != p {
			flows = func(s *subscription) bool { return s.listener == to }
		}
	}
	var out []*blocks
	switch {
	case flows != nil:
		for _, q := range c.parties {
			for _, s := range q.subscribers {
				if (p == nil || p == q) && flows(s) {
					out = append(out, &s.blocks)
				}
			}
		}
	case p != nil:
		out = append(out, &p.blocks)
	default:
		out = append(out, &c.blocks)
	}
	return out
}

// apply makes the change of a command.
func (b *blocks) apply(req *ng.Request) {
	switch req.Command {
	case ng.CommandBlockMedia:
		b.media = true
	case ng.CommandUnblockMedia:
		b.media = false
	case ng.CommandSilenceMedia:
		b.silence = true
	case ng.CommandUnsilenceMedia:
		b.silence = false
	case ng.CommandBlockDTMF:
		b.events = eventBlock(req.DTMF.Security)
	case ng.CommandUnblockDTMF:
		b.events = flow.EventsPass
	case ng.CommandStartForwarding:
		b.forwarding = true
	case ng.CommandStopForwarding:
		b.forwarding = false
	}
}

// eventBlock is what a mode of DTMF-security means for telephone events. Those
// that put sound in their place drop them.
func eventBlock(mode string) flow.EventBlock {
	switch mode {
	case "random":
		return flow.EventsRandom
	case "zero", "dtmf":
		return flow.EventsZero
	}
	return flow.EventsDrop
}
