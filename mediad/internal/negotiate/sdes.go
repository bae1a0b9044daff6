package negotiate

import (
	"slices"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// offerSDES sets the lines that side is to be offered: those of the offerer
// with its tags and its keys, then what is left of an earlier exchange, then
// the other suites with keys of our own.
func offerSDES(side *Side, from *Remote, req *ng.Request, opts *Options) {
	sdes := &side.Local.SDES
	allowed := suites(req, opts, req.SDES.Order)
	old := *sdes
	if sdes.Chosen != 0 {
		old.keep(sdes.Chosen)
		sdes.Round++
	}
	var lines []SDESLine
	for _, c := range from.Crypto {
		if slices.Contains(allowed, c.Suite) {
			lines = append(lines, lineOf(c, c.Tag))
		}
	}
	has := func(match func(SDESLine) bool) bool { return slices.ContainsFunc(lines, match) }
	for _, l := range old.Lines {
		if has(func(o SDESLine) bool { return o.Suite == l.Suite || o.Tag == l.Tag }) || !slices.Contains(allowed, l.Suite) {
			continue
		}
		l.Key, l.MKI = nil, nil // a key that was handed through is its maker's, who does not use it any more
		lines = append(lines, l)
	}
	next := 1
	for _, l := range lines {
		next = max(next, l.Tag+1)
	}
	for _, s := range allowed {
		if req.SDES.NoNew && len(lines) > 0 {
			break
		}
		if !has(func(o SDESLine) bool { return o.Suite == s }) {
			lines = append(lines, SDESLine{Tag: next, Suite: s, Round: sdes.Round})
			next++
		}
	}
	if len(req.SDES.Order) > 0 {
		sortLines(lines, req.SDES.Order)
	}
	setParameters(lines, req)
	sdes.Lines = lines
	if sdes.Chosen != 0 && !has(func(l SDESLine) bool { return l.Tag == sdes.Chosen && l.Suite == sdes.Suite }) {
		sdes.Chosen, sdes.RemoteTag, sdes.Suite = 0, 0, ""
	}
}

// lineOf is a line that hands the key of another party through.
func lineOf(c Crypto, tag int) SDESLine {
	return SDESLine{
		Tag: tag, Suite: c.Suite, Key: c.Key, MKI: c.MKI,
		UnencryptedSRTP: c.UnencryptedSRTP, UnencryptedSRTCP: c.UnencryptedSRTCP, UnauthenticatedSRTP: c.UnauthenticatedSRTP,
	}
}

// keep leaves but the line with the tag.
func (s *LocalSDES) keep(tag int) {
	s.Lines = slices.DeleteFunc(slices.Clone(s.Lines), func(l SDESLine) bool { return l.Tag != tag })
}

// sortLines brings the suites of order to the front.
func sortLines(lines []SDESLine, order []string) {
	place := func(l SDESLine) int {
		if i := slices.Index(order, l.Suite); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(lines, func(a, b SDESLine) int { return place(a) - place(b) })
}

func setParameters(lines []SDESLine, req *ng.Request) {
	set := func(flag *bool, s ng.Switch) {
		if s != ng.SwitchAbsent {
			*flag = s == ng.SwitchOn
		}
	}
	for i := range lines {
		l := &lines[i]
		set(&l.UnencryptedSRTP, req.SDES.UnencryptedSRTP)
		set(&l.UnencryptedSRTCP, req.SDES.UnencryptedSRTCP)
		set(&l.UnauthenticatedSRTP, req.SDES.UnauthenticatedSRTP)
	}
}

// takeSDES chooses among the lines that the offerer sent: the one in use if it
// is still there, else the first of "offerer_pref", else its first. The answer
// may choose another one of them.
func takeSDES(side *Side, req *ng.Request, opts *Options) {
	sdes := &side.Local.SDES
	allowed := suites(req, opts, nil)
	sdes.Refused = sdes.Refused[:0:0]
	for _, c := range side.Remote.Crypto {
		if !slices.Contains(allowed, c.Suite) {
			sdes.Refused = append(sdes.Refused, c.Suite)
		}
	}
	choice := slices.IndexFunc(side.Remote.Crypto, func(c Crypto) bool {
		return c.Tag == sdes.RemoteTag && c.Suite == sdes.Suite && !sdes.refuses(c.Suite)
	})
	for _, s := range req.SDES.OffererPref {
		if choice >= 0 {
			break
		}
		choice = slices.IndexFunc(side.Remote.Crypto, func(c Crypto) bool { return c.Suite == s && !sdes.refuses(s) })
	}
	if choice < 0 {
		choice = slices.IndexFunc(side.Remote.Crypto, func(c Crypto) bool { return !sdes.refuses(c.Suite) })
	}
	if choice < 0 {
		*sdes = LocalSDES{Refused: sdes.Refused}
		return
	}
	c := side.Remote.Crypto[choice]
	line := SDESLine{
		Tag: c.Tag, Suite: c.Suite,
		UnencryptedSRTP: c.UnencryptedSRTP, UnencryptedSRTCP: c.UnencryptedSRTCP, UnauthenticatedSRTP: c.UnauthenticatedSRTP,
	}
	for _, l := range sdes.Lines {
		if l.Tag == line.Tag && l.Suite == line.Suite {
			line.Key, line.MKI, line.Round = l.Key, l.MKI, l.Round
		}
	}
	sdes.choose(line, c.Tag)
}

// choose makes line the only one and the one in use; theirs is the tag of the
// party's line.
func (s *LocalSDES) choose(line SDESLine, theirs int) {
	s.Lines = []SDESLine{line}
	s.Chosen, s.RemoteTag, s.Suite = line.Tag, theirs, line.Suite
}

func (s *LocalSDES) refuses(suite string) bool { return slices.Contains(s.Refused, suite) }

// answerSDES finds the line that the answerer took; false if none fits. What it
// says about encryption and authentication holds for its packets; ours are as
// we have said.
func answerSDES(side *Side) bool {
	sdes := &side.Local.SDES
	for _, c := range side.Remote.Crypto {
		i := slices.IndexFunc(sdes.Lines, func(l SDESLine) bool { return l.Tag == c.Tag && l.Suite == c.Suite })
		if i < 0 { // some answer with a tag of their own
			i = slices.IndexFunc(sdes.Lines, func(l SDESLine) bool { return l.Suite == c.Suite })
		}
		if i < 0 {
			continue
		}
		l := &sdes.Lines[i]
		sdes.Chosen, sdes.RemoteTag, sdes.Suite = l.Tag, c.Tag, c.Suite
		return true
	}
	return false
}

// handBack makes the answer to the offerer: if the answerer took a suite that
// the offerer has offered too, this suite with the answerer's key, else what
// takeSDES has chosen with a key of our own. Whether the answerer itself was
// offered SDES does not matter.
func handBack(answered []Crypto, to *Side, req *ng.Request) {
	sdes := &to.Local.SDES
	if len(sdes.Lines) == 0 {
		return
	}
	static := req.SDES.Static && sdes.answered
	sdes.answered = true
	for _, theirs := range answered {
		if static {
			if slices.Equal(sdes.Lines[0].Key, theirs.Key) {
				return
			}
			break
		}
		for _, c := range to.Remote.Crypto {
			if c.Suite == theirs.Suite && !sdes.refuses(c.Suite) {
				sdes.choose(lineOf(theirs, c.Tag), c.Tag)
				return
			}
		}
	}
	for i := range sdes.Lines {
		sdes.Lines[i].Key, sdes.Lines[i].MKI = nil, nil
	}
}
