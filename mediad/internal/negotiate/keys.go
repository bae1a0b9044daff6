package negotiate

import (
	"slices"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// offerKeys settles how media i is protected on both sides for an offer.
func (p *Plan) offerKeys(i int) {
	p.offerOpportunistic(i)
	p.takeKeys(i)
	from, to := &p.From.Sides[i], &p.To.Sides[i]
	d, sdes := &to.Local.DTLS, &to.Local.SDES
	if !to.Local.secured() {
		to.Local.stopKeys()
		return
	}
	dtlsOnly := (d.Role == DTLSActive || d.Role == DTLSPassive) && len(sdes.Lines) == 0
	withSDES := !p.req.SDES.Off && !sdes.Declined && !(dtlsOnly && p.req.DTLS != ng.DTLSOff)
	withDTLS := p.req.DTLS != ng.DTLSOff && (!withSDES || !d.Declined && (sdes.Chosen == 0 || d.Role != DTLSNone))
	if withDTLS {
		if d.Role == DTLSNone {
			d.Generation++
			d.Role = DTLSUndecided
		}
		d.Passive = p.req.DTLS == ng.DTLSPassive || p.opts.DTLSPassive && p.req.DTLS != ng.DTLSActive
		p.setHash(d, &to.Remote)
	} else {
		d.stop()
	}
	if withSDES {
		offerSDES(to, &from.Remote, p.req, &p.opts)
	} else {
		*sdes = LocalSDES{Declined: sdes.Declined}
	}
}

// takeKeys settles the offerer's side: DTLS if it has a fingerprint, else one
// of its crypto lines.
func (p *Plan) takeKeys(i int) {
	side := &p.From.Sides[i]
	d, sdes := &side.Local.DTLS, &side.Local.SDES
	if !side.Local.secured() {
		side.Local.stopKeys()
		return
	}
	avoid := p.req.SDES.Prefer && len(side.Remote.Crypto) > 0
	offers := side.Remote.offersDTLS() || d.Role != DTLSNone && len(side.Remote.Fingerprints) > 0
	if !offers || avoid {
		d.stop()
		takeSDES(side, p.req, &p.opts)
		return
	}
	*sdes = LocalSDES{Declined: true}
	switch p.req.DTLSReverse {
	case ng.DTLSPassive:
		d.Passive = true
	case ng.DTLSActive:
		d.Passive = false
	}
	// RFC 8842 §5.1: the association lives on unless fingerprint, tls-id or
	// roles change.
	conflict := d.Role == DTLSActive && side.Remote.Setup == sdp.SetupActive ||
		d.Role == DTLSPassive && side.Remote.Setup == sdp.SetupPassive
	if d.Role == DTLSNone || conflict || otherIdentity(&p.previous[i], &side.Remote) {
		d.Generation++
		d.Role = DTLSUndecided
	}
	p.setHash(d, &side.Remote)
}

// answerKeys settles how media i is protected on both sides for an answer.
func (p *Plan) answerKeys(i int) {
	from, to := &p.From.Sides[i], &p.To.Sides[i]
	d := &from.Local.DTLS
	d.Declined = d.Role != DTLSNone && len(from.Remote.Fingerprints) == 0 || d.Declined && d.Role == DTLSNone
	p.answerOpportunistic(from, to)
	switch {
	case !from.Local.secured():
	case d.Role != DTLSNone && len(from.Remote.Fingerprints) > 0:
		from.Local.SDES.Chosen, from.Local.SDES.RemoteTag, from.Local.SDES.Suite = 0, 0, ""
		answerSDES(from) // what is offered beside DTLS next time
		p.answerDTLS(i)
	case answerSDES(from):
		d.stop()
	}
	// Else the answer lacks keys: the side stays as it was offered and nothing
	// passes unprotected.

	if to.Local.DTLS.Role == DTLSNone {
		handBack(p.answeredKeys(i), to, p.req)
	}
	d = &to.Local.DTLS
	if d.Role != DTLSUndecided {
		return
	}
	passive := (d.Passive || p.opts.DTLSPassive || p.req.DTLS == ng.DTLSPassive) && p.req.DTLS != ng.DTLSActive
	d.Role = DTLSActive
	switch to.Remote.Setup {
	case sdp.SetupActive, sdp.SetupAbsent: // RFC 4145 §4.1: an offer without is active
		d.Role = DTLSPassive
	case sdp.SetupActPass:
		if passive {
			d.Role = DTLSPassive
		}
	}
	p.setHash(d, &to.Remote)
}

// answeredKeys are the keys of the answerer of media i: the one that is agreed,
// else all that it has said, now or before.
func (p *Plan) answeredKeys(i int) []Crypto {
	side := &p.From.Sides[i]
	if c, ok := side.InboundCrypto(); ok && side.Security() == SecuritySDES {
		return []Crypto{c}
	}
	if len(side.Remote.Crypto) > 0 {
		return side.Remote.Crypto
	}
	return p.previous[i].Crypto
}

// answerDTLS settles our role towards the answerer of media i.
func (p *Plan) answerDTLS(i int) {
	side := &p.From.Sides[i]
	d := &side.Local.DTLS
	role := DTLSActive // RFC 4145 §4.1: an answer without is passive
	switch side.Remote.Setup {
	case sdp.SetupActive:
		role = DTLSPassive
	case sdp.SetupActPass: // not allowed in an answer
		if d.Passive {
			role = DTLSPassive
		}
	case sdp.SetupHoldConn:
		return
	}
	if d.Role != DTLSUndecided && (d.Role != role || otherIdentity(&p.previous[i], &side.Remote)) {
		d.Generation++
	}
	d.Role = role
}

// offerOpportunistic settles for an offer of media i whether keys are exchanged
// in a plain profile (RFC 8643): as the offerer does it, unless the profile
// towards the answerer is chosen by a flag.
func (p *Plan) offerOpportunistic(i int) {
	from, to := &p.From.Sides[i], &p.To.Sides[i]
	from.Local.Opportunistic = from.Remote.opportunistic()
	asReceived := !isRTP(canonical(string(p.req.TransportProtocol)))
	switch plain := isRTP(to.Local.Protocol) && !secure(to.Local.Protocol); {
	case !plain:
		to.Local.Opportunistic = false
	case slices.Contains(p.req.OSRTP, "offer"):
		to.Local.Opportunistic = true
	default:
		// A party that has exchanged keys in a plain profile is asked to do so again.
		own := to.Local.Protocol == to.Remote.Protocol && to.Remote.opportunistic()
		to.Local.Opportunistic = asReceived && (from.Local.Opportunistic || own)
	}
}

// answerOpportunistic makes a leg plain whose answerer has not taken the keys,
// and with it the offerer's, unless they are to be taken all the same.
func (p *Plan) answerOpportunistic(from, to *Side) {
	if !from.Local.secured() || secure(from.Remote.Protocol) || from.Remote.hasKeys() {
		return
	}
	if from.Local.Opportunistic {
		from.Local.Opportunistic = false
		from.Local.DTLS.stop() // what was offered may be offered again
	}
	if to.Local.Opportunistic && !slices.Contains(p.req.OSRTP, "accept") {
		to.Local.Opportunistic = false
		to.Local.stopKeys()
	}
}

// offersDTLS reports whether the party can do DTLS. Without a role it does not,
// as in rtpengine.
func (r *Remote) offersDTLS() bool {
	return len(r.Fingerprints) > 0 && r.Setup != sdp.SetupAbsent && r.Setup != sdp.SetupHoldConn
}

func (r *Remote) hasKeys() bool { return len(r.Crypto) > 0 || len(r.Fingerprints) > 0 }

func (r *Remote) opportunistic() bool {
	return isRTP(r.Protocol) && !secure(r.Protocol) && r.hasKeys()
}

// secured reports whether the media is protected by keys that we know. Where
// the parties do ICE with each other, they have keys with each other, too.
func (l *Local) secured() bool {
	return !l.Raw && !l.ICE.Passthrough && isRTP(l.Protocol) && (l.Opportunistic || secure(l.Protocol))
}

// stopKeys makes the media a plain one.
func (l *Local) stopKeys() {
	l.DTLS.stop()
	l.SDES = LocalSDES{}
}

// otherIdentity reports whether fingerprints or tls-id have changed.
func otherIdentity(before, now *Remote) bool {
	if before.TLSID != "" && now.TLSID != "" && before.TLSID != now.TLSID {
		return true
	}
	if len(before.Fingerprints) == 0 || len(now.Fingerprints) == 0 {
		return false
	}
	return !slices.ContainsFunc(now.Fingerprints, func(f sdp.Fingerprint) bool {
		return slices.Contains(before.Fingerprints, f)
	})
}

// setHash chooses the hash of our fingerprint: in an offer that of the flag, else
// as in the SDP of the party like.
func (p *Plan) setHash(d *LocalDTLS, like *Remote) {
	if len(like.Fingerprints) > 0 {
		d.Hash = like.Fingerprints[0].Hash
	}
	switch p.req.DTLSFingerprint {
	case "sha-1", "sha-224", "sha-256", "sha-384", "sha-512":
		if p.req.Command != ng.CommandAnswer {
			d.Hash = p.req.DTLSFingerprint
		}
	}
	if d.Hash == "" {
		d.Hash = "sha-256"
	}
}

// stop ends DTLS; the generation stays, so that the next one is new.
func (d *LocalDTLS) stop() {
	*d = LocalDTLS{Generation: d.Generation, Passive: d.Passive, Declined: d.Declined}
}

// writeKeys writes the lines of SDES and DTLS.
func (p *Plan) writeKeys(section *sdp.Section, l *Local, local *LocalMedia) {
	for n, line := range l.SDES.Lines {
		section.Append("a=crypto:" + writeCrypto(line, local.Keys[n], p.req))
	}
	if l.DTLS.Role == DTLSNone {
		return
	}
	setup := sdp.SetupActPass // RFC 8842 §5.2: in every offer
	if p.req.Command == ng.CommandAnswer {
		setup = sdp.SetupActive
		if l.DTLS.Role == DTLSPassive {
			setup = sdp.SetupPassive
		}
	}
	section.Append("a=setup:" + setup.String())
	section.Append("a=fingerprint:" + local.Fingerprint.String())
	if local.TLSID != "" && !p.req.Flags.Has(ng.FlagNoTLSID) {
		section.Append("a=tls-id:" + local.TLSID)
	}
}
