package negotiate

import (
	"slices"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// offerICE settles ICE of both sides for an offer of media i. Each side runs
// or does not run ICE by itself, unless the parties are to do it with each
// other.
func (p *Plan) offerICE(i int, known bool) {
	from, to := &p.From.Sides[i], &p.To.Sides[i]
	has := from.Remote.ICE.Ufrag != "" && !p.req.Flags.Has(ng.FlagRejectICE)
	if has && p.handsICEThrough() {
		from.Local.ICE.handThrough()
		to.Local.ICE.handThrough()
		to.Local.ICE.RelayOnly = p.req.ICE == ng.ICEForceRelay
		return
	}
	p.takeICE(i, has)
	t := &to.Local.ICE
	wanted := t.Mode != ICENone || t.Passthrough || from.Remote.ICE.Ufrag != "" && !known
	switch p.req.ICE {
	case ng.ICERemove:
		wanted = false
	case ng.ICEForce, ng.ICEOptional, ng.ICEForceRelay:
		wanted = true
	}
	if !wanted {
		t.stop()
		return
	}
	if t.Mode == ICENone {
		t.Controlling = true // the offerer is (RFC 8445 §6.1.1)
	}
	forward := p.req.ICELite == ng.ICELiteForward || p.req.ICELite == ng.ICELiteBoth
	t.run(p.liteness(t.Mode, forward))
	t.Declined = false
	t.RelayOnly = p.req.ICE == ng.ICEForceRelay
	t.Trickle = t.Trickle || p.req.Flags.Has(ng.FlagTrickleICE)
}

// takeICE settles ICE of the offerer's side.
func (p *Plan) takeICE(i int, has bool) {
	from := &p.From.Sides[i]
	l := &from.Local.ICE
	if !has {
		l.stop()
		return
	}
	before := l.Mode
	l.run(p.liteness(l.Mode, p.req.ICELite == ng.ICELiteBackward || p.req.ICELite == ng.ICELiteBoth))
	old := p.previous[i].ICE
	restart := old.Ufrag != "" && (old.Ufrag != from.Remote.ICE.Ufrag || old.Pwd != from.Remote.ICE.Pwd)
	if before != ICENone && restart {
		l.Generation++ // RFC 8839 §4.4.1.1.1
	}
	if before == ICENone || restart {
		l.Controlling = false
	}
	l.meet(from.Remote.ICE.Lite)
	l.Trickle = from.Remote.ICE.Trickle
	l.Declined = false
}

// answerICE settles ICE of both sides for an answer.
func (p *Plan) answerICE(from, to *Side) {
	l, t := &from.Local.ICE, &to.Local.ICE
	has := from.Remote.ICE.Ufrag != ""
	if t.Passthrough && !has { // there is nobody for the offerer to do it with
		l.stop()
		if p.handsICEThrough() { // asked for once more, it comes to nothing
			t.stop()
		}
		return
	}
	if t.Passthrough || has && p.handsICEThrough() {
		l.handThrough()
		t.handThrough()
		t.RelayOnly = p.req.ICE == ng.ICEForceRelay
		return
	}
	if l.Mode != ICENone {
		if !has {
			l.stop()
		} else {
			l.meet(from.Remote.ICE.Lite)
			l.Trickle = from.Remote.ICE.Trickle
		}
	}
	switch p.req.ICE {
	case ng.ICERemove:
		t.stop()
	case ng.ICEForce:
		if t.Mode == ICENone {
			t.run(p.liteness(t.Mode, false))
			t.Declined = to.Remote.ICE.Ufrag == ""
		}
	}
}

// handsICEThrough reports whether the parties are to do ICE with each other,
// with our ports among their candidates.
func (p *Plan) handsICEThrough() bool {
	return p.req.ICE == ng.ICEOptional || p.req.ICE == ng.ICEForceRelay
}

// keepsICE reports whether the parties' own ICE passes through for media i.
func (p *Plan) keepsICE(i int) bool { return p.To.Sides[i].Local.ICE.Passthrough }

// keepsSession reports whether the session part stays as it is, because the
// parties do ICE with each other.
func (p *Plan) keepsSession() bool {
	return slices.ContainsFunc(p.To.Sides, func(s Side) bool { return s.Local.ICE.Passthrough })
}

// keepsEndpoint reports whether address and ports of the media stay in the
// body, and so the rest of its m= line and o=, as rtpengine has it with
// ICE=force-relay: media finds its way by ICE.
func (p *Plan) keepsEndpoint() bool { return p.req.ICE == ng.ICEForceRelay }

// liteness is the mode of a side that runs ICE in mode now (or not yet).
func (p *Plan) liteness(now ICEMode, lite bool) ICEMode {
	switch {
	case lite, p.req.ICELite == ng.ICELiteAbsent && now == ICELite:
		return ICELite
	}
	return ICEFull
}

// run starts ICE, or goes on with it. A change of mode needs a new agent.
func (l *LocalICE) run(mode ICEMode) {
	if l.Mode != mode {
		l.Generation++
	}
	l.Mode = mode
}

// stop ends ICE; the generation stays, so that the next one is new.
func (l *LocalICE) stop() { *l = LocalICE{Generation: l.Generation} }

// handThrough ends ICE of our own in favour of the parties'.
func (l *LocalICE) handThrough() {
	l.stop()
	l.Passthrough = true
}

// meet corrects the role for lite agents (RFC 8445 §6.1.1).
func (l *LocalICE) meet(remoteLite bool) {
	switch {
	case remoteLite && l.Mode == ICEFull:
		l.Controlling = true
	case !remoteLite && l.Mode == ICELite:
		l.Controlling = false
	}
}

// writeICE writes credentials and candidates. Where the parties' ICE is handed
// through, the credentials are theirs.
func (p *Plan) writeICE(i int, section *sdp.Section, local *LocalMedia) {
	l := &p.To.Sides[i].Local
	from := &p.From.Sides[i].Remote.ICE
	switch {
	case l.ICE.Mode != ICENone || l.ICE.Passthrough:
	case from.EndOfCandidates: // is all that there is to say
		section.Append("a=end-of-candidates")
		return
	default:
		return
	}
	if !l.ICE.Passthrough {
		section.Append("a=ice-ufrag:" + local.ICEUfrag)
		section.Append("a=ice-pwd:" + local.ICEPwd)
		if l.ICE.Trickle {
			section.Append("a=ice-options:trickle")
		}
	}
	for _, c := range p.candidates(l, local, from) {
		section.Append("a=candidate:" + c.String())
	}
	if l.ICE.Trickle || from.EndOfCandidates {
		section.Append("a=end-of-candidates")
	}
}
