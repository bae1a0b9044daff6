package negotiate

import (
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// offerICE settles ICE of both sides for an offer of media i. Each side runs
// or does not run ICE by itself: candidates are never passed through.
func (p *Plan) offerICE(i int, known bool) {
	from, to := &p.From.Sides[i], &p.To.Sides[i]
	backward := p.req.ICELite == ng.ICELiteBackward || p.req.ICELite == ng.ICELiteBoth
	forward := p.req.ICELite == ng.ICELiteForward || p.req.ICELite == ng.ICELiteBoth

	has := from.Remote.ICE.Ufrag != ""
	l := &from.Local.ICE
	if has && !p.req.Flags.Has(ng.FlagRejectICE) {
		before := l.Mode
		l.run(p.liteness(l.Mode, backward))
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
	} else {
		l.stop()
	}

	t := &to.Local.ICE
	wanted := t.Mode != ICENone || has && !known
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
	t.run(p.liteness(t.Mode, forward))
	t.RelayOnly = p.req.ICE == ng.ICEForceRelay
	t.Trickle = t.Trickle || p.req.Flags.Has(ng.FlagTrickleICE)
}

// answerICE settles ICE of both sides for an answer.
func (p *Plan) answerICE(from, to *Side) {
	l := &from.Local.ICE
	if l.Mode != ICENone {
		if from.Remote.ICE.Ufrag == "" {
			l.stop()
		} else {
			l.meet(from.Remote.ICE.Lite)
			l.Trickle = from.Remote.ICE.Trickle
		}
	}
	if p.req.ICE == ng.ICERemove {
		to.Local.ICE.stop()
	}
}

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

// meet corrects the role for lite agents (RFC 8445 §6.1.1).
func (l *LocalICE) meet(remoteLite bool) {
	switch {
	case remoteLite && l.Mode == ICEFull:
		l.Controlling = true
	case !remoteLite && l.Mode == ICELite:
		l.Controlling = false
	}
}

// writeICE writes credentials and candidates.
func (p *Plan) writeICE(section *sdp.Section, l *Local, local *LocalMedia) {
	if l.ICE.Mode == ICENone {
		return
	}
	section.Append("a=ice-ufrag:" + local.ICEUfrag)
	section.Append("a=ice-pwd:" + local.ICEPwd)
	if l.ICE.Trickle {
		section.Append("a=ice-options:trickle")
	}
	ports := []uint16{local.RTPPort}
	if l.RTCPPort {
		ports = append(ports, local.RTCPPort)
	}
	for n, port := range ports {
		section.Append("a=candidate:" + hostCandidate(local.Address, n+1, port, l.ICE.RelayOnly).String())
	}
	for _, c := range local.Candidates {
		section.Append("a=candidate:" + c.String())
	}
	if l.ICE.Trickle {
		section.Append("a=end-of-candidates")
	}
}
