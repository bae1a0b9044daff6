package negotiate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// Interface is a local interface that a side may live on.
type Interface struct {
	Name string
	IPv4 bool // has an IPv4 address
	IPv6 bool // has an IPv6 address
}

// RotateFunc returns which of the interfaces that a name stands for is next,
// as an index.
type RotateFunc func(name string, members []string) int

// Options are the settings of the daemon that matter here.
type Options struct {
	Interfaces  []Interface         // the first one is the default; never empty
	Rotate      RotateFunc          // turns of interfaces with a common name; nil = always the first
	SIPSource   bool                // --sip-source: FlagSIPSourceAddress unless FlagTrustAddress
	DTLSPassive bool                // --dtls-passive: prefer the passive role
	Learning    ng.EndpointLearning // default; LearningAbsent = heuristic
	Instance    string              // names this daemon in the marker of loop protect
	RejectBlank bool                // --reject-invalid-sdp: a blank line in a body is an error
	Suites      []string            // SDES suites in order of preference; nil = DefaultSuites
	Software    string              // --software-id: s= of bodies of our own; empty = "rtpengine"
}

// maxMedias bounds the m= lines of a body, since each costs ports.
const maxMedias = 64

// Plan is what an offer or an answer means for the call. The body itself is
// made by Rewrite, once the call has what the plan asks for.
type Plan struct {
	// From is the party whose SDP was read, To the one that will be given the
	// rewritten body. They become the call's snapshots after Rewrite.
	From, To Party

	// Untouched tells that the body carries our own loop protect marker: it
	// goes back as it came and nothing about the call changes.
	Untouched bool

	// Fragment tells that the body was a trickle ICE fragment (RFC 8840):
	// From has new candidates, there is no body to send on.
	Fragment bool

	req      *ng.Request
	opts     Options
	doc      *sdp.Document
	previous []Remote        // what From said before, for each media
	chosen   map[choice]seat // by this command, for all medias
	labels   []string        // a=label (RFC 4574) for the receiver; empty = none

	overridden bool // the address in the body is that of "media address"
}

// NewPlan reads req.SDP, the body of an offer or an answer (req.Command tells
// which). from is the party whose SDP it is, to the one that it goes to:
// in an answer from is the answerer, whatever the tags in req are called.
// The error wraps an ng.Reason.
func NewPlan(req *ng.Request, from, to Party, opts Options) (*Plan, error) {
	if req.SDP == "" {
		return nil, ng.ReasonNoSDP
	}
	p := &Plan{From: from.clone(), To: to.clone(), req: req, opts: opts}
	if req.Flags.Has(ng.FlagFragment) {
		p.Fragment = true
		return p, p.readFragment()
	}
	var err error
	if p.doc, err = parse(withHidden(req.SDP, &from, &to)); err != nil {
		return nil, err
	}
	if opts.RejectBlank && hasBlankLine(req.SDP) {
		return nil, fmt.Errorf("%w: a blank line", ng.ReasonSDPParse)
	}
	if p.isLooped() {
		p.Untouched = true
		return p, nil
	}
	switch n := len(p.doc.Medias()); {
	case n == 0:
		return nil, fmt.Errorf("%w: no m= line", ng.ReasonSDPRewrite)
	case n > maxMedias:
		return nil, fmt.Errorf("%w: %d m= lines", ng.ReasonSDPParse, n)
	}
	if req.Flags.Has(ng.FlagReset) && req.Command != ng.CommandAnswer {
		p.From.Sides, p.To.Sides = nil, nil
	}
	if err := p.readRemotes(); err != nil {
		return nil, err
	}
	for i := range p.From.Sides {
		if req.Command == ng.CommandAnswer {
			p.answer(i)
		} else {
			p.offer(i)
		}
	}
	return p, nil
}

// parse reads a body. The error wraps ng.ReasonSDPParse.
func parse(body string) (*sdp.Document, error) {
	doc, err := sdp.Parse(body)
	if err == nil {
		err = doc.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ng.ReasonSDPParse, err)
	}
	return doc, nil
}

// hasBlankLine reports whether there is a blank line in a body or at its end.
func hasBlankLine(body string) bool {
	return strings.Contains(strings.ReplaceAll(body, "\r\n", "\n"), "\n\n")
}

// CheckBody reports what is wrong with a body that no call is known for. The
// error wraps ng.ReasonSDPParse.
func CheckBody(body string) error {
	_, err := parse(body)
	return err
}

// readRemotes fills the remote part of From's sides and makes both parties
// equally long. What the body no longer mentions counts as refused.
func (p *Plan) readRemotes() error {
	medias := p.doc.Medias()
	reader := newReader(p.doc, p.req, &p.opts)
	n := max(len(medias), len(p.From.Sides), len(p.To.Sides))
	p.From.grow(n)
	p.To.grow(n)
	p.previous = make([]Remote, n)
	for i := range p.From.Sides {
		if i >= len(medias) {
			p.From.Sides[i].Remote.Rejected = true
			continue
		}
		remote, err := reader.media(medias[i])
		if err != nil {
			return err
		}
		p.previous[i] = p.From.Sides[i].Remote
		p.From.Sides[i].Remote = remote
	}
	p.From.Session.ICEOptions = p.From.Session.ICEOptions[:0:0]
	for a := range p.doc.Session().Attributes("ice-options") {
		p.From.Session.ICEOptions = append(p.From.Session.ICEOptions, a.Value)
	}
	p.From.Session.BundleOffered = len(p.bundle()) > 0
	return nil
}

// bundle returns the identification tags of the body's BUNDLE group.
func (p *Plan) bundle() []string {
	for a := range p.doc.Session().Attributes("group") {
		if g, ok := sdp.ParseGroup(a.Value); ok && g.Semantics == "BUNDLE" {
			return g.MIDs
		}
	}
	return nil
}

// offer plans media i of an offer: the side of the offerer as far as its
// answer does not depend on the answerer, and what the answerer is to be told.
func (p *Plan) offer(i int) {
	from, to := &p.From.Sides[i], &p.To.Sides[i]
	remote := &from.Remote
	active := !remote.Rejected && relayed(remote.Type) && !p.hides(i)
	if !active {
		from.release()
		to.release()
	}
	to.Local.Hidden = p.hides(i)
	p.offerProtocol(from, to)
	p.identify(i)
	if i < len(p.doc.Medias()) {
		p.placeOffer(from, to)
	}
	if !active {
		p.tell(i)
		return
	}
	raw := !isRTP(remote.Protocol)
	known := to.Local.Known
	for _, s := range [...]*Side{from, to} {
		s.Local.Active, s.Local.Known, s.Local.Raw = true, true, raw
	}
	p.setSource(&from.Local, &to.Local)
	p.offerMux(from, to)
	p.offerICE(i, known)
	p.offerKeys(i)
	p.tell(i)
}

// answer plans media i of an answer.
func (p *Plan) answer(i int) {
	from, to := &p.From.Sides[i], &p.To.Sides[i]
	remote := &from.Remote
	if to.Local.Protocol == "" { // nothing was offered at this place
		p.offer(i)
		return
	}
	p.placeAnswer(from, to)
	p.answerProtocol(from, to)
	if remote.Rejected || !relayed(remote.Type) || !to.Local.Active || !from.Local.Active {
		if i < len(p.doc.Medias()) {
			from.Local.RTCPMux = from.Local.RTCPMuxOffered // to be offered again
		}
		from.release()
		to.release()
		p.tell(i)
		return
	}
	p.setSource(&from.Local, &to.Local)
	p.answerMux(from, to)
	p.answerICE(from, to)
	for _, s := range [...]*Side{from, to} {
		if !s.Local.secured() {
			s.Local.stopKeys()
		}
	}
	p.answerKeys(i)
	p.tell(i)
}

// setSource takes the source policy from a message: its flags are about the party
// that sends it, the way of learning is about both.
func (p *Plan) setSource(from, to *Local) {
	for _, l := range [...]*Local{from, to} {
		if l.Source.Learning == ng.LearningAbsent {
			l.Source.Learning = p.opts.Learning
		}
		if l.Source.Learning == ng.LearningAbsent {
			l.Source.Learning = ng.LearningHeuristic
		}
		if p.req.EndpointLearning != ng.LearningAbsent {
			l.Source.Learning = p.req.EndpointLearning
		}
	}
	s := &from.Source
	s.Strict = p.req.Flags.Has(ng.FlagStrictSource)
	s.Handover = p.req.Flags.Has(ng.FlagMediaHandover)
	s.Asymmetric = p.req.Flags.Has(ng.FlagAsymmetric)
	s.NATWait = p.req.Flags.Has(ng.FlagNATWait)
	s.PierceNAT = p.req.Flags.Has(ng.FlagPierceNAT)
	s.Unidirectional = p.req.Flags.Has(ng.FlagUnidirectional)
}

// tell settles what the receiver is told about the media itself.
func (p *Plan) tell(i int) {
	from, to := &p.From.Sides[i], &p.To.Sides[i]
	to.Local.Direction = p.direction(from)
	to.Local.Payloads = p.payloads(i)
	p.tellPtime(from, to)
}

// tellPtime settles the packet time: each party is told that of the other, or
// what an offer's flags say.
func (p *Plan) tellPtime(from, to *Side) {
	for _, l := range [...]*Local{&from.Local, &to.Local} {
		if from.Remote.Ptime > 0 && !l.PtimeFixed {
			l.Ptime = from.Remote.Ptime
		}
	}
	if p.req.Command == ng.CommandAnswer {
		return
	}
	if p.req.Ptime > 0 {
		to.Local.Ptime = p.req.Ptime
	}
	if p.req.PtimeReverse > 0 {
		from.Local.Ptime = p.req.PtimeReverse
	}
	if p.req.Ptime > 0 || p.req.PtimeReverse > 0 {
		from.Local.PtimeFixed, to.Local.PtimeFixed = true, true
	}
}

// direction is what the receiver is told: as received, with an old hold by
// address 0.0.0.0 spelled out (RFC 3264 §8.4).
func (p *Plan) direction(from *Side) sdp.Direction {
	d := from.Remote.Direction
	if p.req.Flags.Has(ng.FlagInactive) {
		return sdp.Inactive
	}
	if from.Remote.NoAddress && !p.req.Flags.Has(ng.FlagOriginalSendrecv) {
		switch d {
		case sdp.SendRecv:
			return sdp.SendOnly
		case sdp.RecvOnly:
			return sdp.Inactive
		}
	}
	return d
}

// identify settles a=mid towards both parties (RFC 5888): each keeps its own,
// and an offer brings it that of the other if it has none.
func (p *Plan) identify(i int) {
	from, to := &p.From.Sides[i].Local, &p.To.Sides[i].Local
	if mid := p.From.Sides[i].Remote.MID; mid != "" {
		from.MID = mid
	}
	if p.req.Command == ng.CommandAnswer {
		return
	}
	if to.MID == "" {
		to.MID = from.MID
	}
	if to.MID == "" && p.req.Flags.Has(ng.FlagGenerateMID) {
		to.MID = strconv.Itoa(i + 1)
	}
}

// release gives up what the local side held. What names it towards the party
// stays, should the media come back.
func (s *Side) release() {
	s.Local = Local{
		Protocol:  s.Local.Protocol,
		Profile:   s.Local.Profile,
		Known:     s.Local.Known,
		Interface: s.Local.Interface,
		Next:      s.Local.Next,
		Family:    s.Local.Family,
		MID:       s.Local.MID,
		Hidden:    s.Local.Hidden,
		Payloads:  s.Local.Payloads,

		Ptime:      s.Local.Ptime,
		PtimeFixed: s.Local.PtimeFixed,

		RTCPMux: s.Local.RTCPMux,

		ICE:  s.Local.ICE,
		DTLS: LocalDTLS{Generation: s.Local.DTLS.Generation, Passive: s.Local.DTLS.Passive},
	}
}

// grow makes the party n sides long.
func (p *Party) grow(n int) {
	if len(p.Sides) < n {
		p.Sides = append(p.Sides, make([]Side, n-len(p.Sides))...)
	}
}

// clone copies the party so far that Plan can write into the copy. What lies
// below (candidates, payload types) is replaced as a whole, never changed.
func (p *Party) clone() Party {
	c := *p
	c.Sides = slices.Clone(p.Sides)
	for i := range c.Sides {
		c.Sides[i].Local.SDES.Lines = slices.Clone(c.Sides[i].Local.SDES.Lines)
	}
	return c
}
