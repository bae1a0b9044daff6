package negotiate

import (
	"slices"
	"strconv"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// offerMux settles rtcp-mux (RFC 5761) of both sides for an offer. A receiver
// that multiplexes already is offered it again whatever the offerer does.
func (p *Plan) offerMux(from, to *Side) {
	flags := p.req.RTCPMux
	offers := flags.Has(ng.RTCPMuxOffer) || flags.Has(ng.RTCPMuxRequire)
	l := &from.Local
	if l.Raw {
		to.Local.dropRTCP()
		l.dropRTCP()
		return
	}
	t := &to.Local
	agreed := t.RTCPMux || to.Remote.Type == "" && p.To.multiplexes()
	t.RTCPMuxOffered = offers || agreed || from.Remote.RTCPMux && !flags.Has(ng.RTCPMuxDemux)
	t.RTCPMux = t.RTCPMuxOffered && (agreed || flags.Has(ng.RTCPMuxRequire))
	t.RTCPPort = !t.RTCPMux
	t.RTCPMuxAnswer = MuxFollow

	switch {
	case flags.Has(ng.RTCPMuxReject):
		l.RTCPMuxAnswer = MuxReject
	case !t.RTCPMuxOffered, flags.Has(ng.RTCPMuxAccept):
		l.RTCPMuxAnswer = MuxAccept
	default:
		l.RTCPMuxAnswer = MuxFollow
	}
	l.RTCPMux = from.Remote.RTCPMux && l.RTCPMuxAnswer == MuxAccept
	l.RTCPMuxOffered = from.Remote.RTCPMux && l.RTCPMuxAnswer != MuxReject
	l.RTCPPort = !l.RTCPMux
}

// multiplexes reports whether the party does so with any media, and so will with
// a further one.
func (p *Party) multiplexes() bool {
	return slices.ContainsFunc(p.Sides, func(s Side) bool { return s.Local.Active && s.Local.RTCPMux && s.Remote.RTCPMux })
}

// answerMux settles rtcp-mux of both sides for an answer.
func (p *Plan) answerMux(from, to *Side) {
	l, t := &from.Local, &to.Local
	if l.Raw {
		return
	}
	required := l.RTCPMux && !l.RTCPPort
	l.RTCPMux = from.Remote.RTCPMux // some do it unasked
	l.RTCPPort = !l.RTCPMux && !required

	t.RTCPMux = to.Remote.RTCPMux &&
		(t.RTCPMuxAnswer == MuxAccept || t.RTCPMuxAnswer == MuxFollow && l.RTCPMux)
	t.RTCPPort = !t.RTCPMux
}

func (l *Local) dropRTCP() {
	l.RTCPPort, l.RTCPMux, l.RTCPMuxOffered, l.RTCPMuxAnswer = false, false, false, MuxFollow
}

// writeRTCP writes a=rtcp (RFC 3605) and a=rtcp-mux.
func (p *Plan) writeRTCP(section *sdp.Section, l *Local, local *LocalMedia) {
	mux := l.RTCPMux || l.RTCPMuxOffered && p.req.Command != ng.CommandAnswer
	if l.Raw || p.keepsEndpoint() && !l.RTCPMux {
		return
	}
	port := local.RTPPort
	if l.RTCPPort {
		port = local.RTCPPort
	}
	switch value := "a=rtcp:" + strconv.Itoa(int(port)); {
	case p.req.Flags.Has(ng.FlagNoRTCPAttribute):
	case p.req.Flags.Has(ng.FlagFullRTCPAttribute):
		section.Append(value + " " + sdp.AddressOf(local.Address).String())
	default:
		section.Append(value)
	}
	if mux {
		section.Append("a=rtcp-mux")
	}
}
