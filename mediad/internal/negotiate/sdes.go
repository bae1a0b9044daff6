package negotiate

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// DefaultSuites returns the SDES suites that are offered, best first. AES_192
// and F8 are not among them, since nothing sends them, and neither is NULL,
// since it hides nothing.
func DefaultSuites() []string {
	return []string{
		"AEAD_AES_256_GCM", "AEAD_AES_128_GCM",
		"AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32",
		"AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32",
	}
}

// KeyLength returns the length of master key and salt of a suite, in bytes
// (RFC 4568 §6.2, RFC 6188, RFC 7714); 0 for an unknown suite.
func KeyLength(suite string) int {
	switch suite {
	case "AEAD_AES_256_GCM":
		return 32 + 12
	case "AEAD_AES_128_GCM":
		return 16 + 12
	case "AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32":
		return 32 + 14
	case "AES_192_CM_HMAC_SHA1_80", "AES_192_CM_HMAC_SHA1_32":
		return 24 + 14
	case "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32":
		return 16 + 14
	}
	return 0
}

// readCrypto reads an a=crypto line. Lines that cannot be served (unknown
// suite, key of the wrong length, several keys, parameters that are not
// understood, UNAUTHENTICATED_SRTP) do not count (RFC 4568 §6.3).
func readCrypto(value string) (Crypto, bool) {
	raw, ok := sdp.ParseCrypto(value)
	if !ok || raw.Tag == 0 || strings.Contains(raw.Rest, ";") {
		return Crypto{}, false
	}
	c := Crypto{Tag: raw.Tag, Suite: raw.Suite}
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(raw.Inline, "="))
	if err != nil || len(key) != KeyLength(raw.Suite) || len(key) == 0 {
		return Crypto{}, false
	}
	c.Key = key
	if c.MKI, ok = readMKI(raw.Rest); !ok {
		return Crypto{}, false
	}
	for _, p := range raw.Params {
		switch name, _, _ := strings.Cut(strings.ToUpper(p), "="); {
		case name == "UNENCRYPTED_SRTP":
			c.UnencryptedSRTP = true
		case name == "UNENCRYPTED_SRTCP":
			c.UnencryptedSRTCP = true
		case name == "WSH", strings.HasPrefix(name, "-"):
		default:
			return Crypto{}, false
		}
	}
	return c, true
}

// readMKI finds the master key identifier in "|2^20|1:4".
func readMKI(rest string) ([]byte, bool) {
	for part := range strings.SplitSeq(strings.TrimPrefix(rest, "|"), "|") {
		id, length, ok := strings.Cut(part, ":")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(length, 10, 8)
		if err != nil || n == 0 || n > 128 {
			return nil, false
		}
		number, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return nil, false
		}
		mki := make([]byte, n)
		for i := len(mki) - 1; i >= 0 && number > 0; i-- {
			mki[i] = byte(number)
			number >>= 8
		}
		if number > 0 {
			return nil, false
		}
		return mki, true
	}
	return nil, true
}

// writeCrypto makes the value of an a=crypto line.
func writeCrypto(line SDESLine, key []byte, req *ng.Request) string {
	encoding := base64.RawStdEncoding
	if req.SDES.Pad || req.Flags.Has(ng.FlagPadCrypto) {
		encoding = base64.StdEncoding
	}
	c := sdp.Crypto{Tag: line.Tag, Suite: line.Suite, Inline: encoding.EncodeToString(key)}
	if req.SDES.Lifetime {
		c.Rest = "|2^31"
	}
	for _, p := range [...]struct {
		on   bool
		name string
	}{
		{line.UnencryptedSRTP, "UNENCRYPTED_SRTP"},
		{line.UnencryptedSRTCP, "UNENCRYPTED_SRTCP"},
	} {
		if p.on {
			c.Params = append(c.Params, p.name)
		}
	}
	return c.String()
}

// suites returns the suites that may be used for req, best first by order.
func suites(req *ng.Request, opts *Options, order []string) []string {
	all := opts.Suites
	if all == nil {
		all = DefaultSuites()
	}
	list := make([]string, 0, len(all))
	for _, s := range order {
		if slices.Contains(all, s) && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	for _, s := range all {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return slices.DeleteFunc(list, func(s string) bool {
		if len(req.SDES.Only) > 0 {
			return !slices.Contains(req.SDES.Only, s)
		}
		return slices.Contains(req.SDES.No, s)
	})
}

// offerSDES sets the lines that side is to be offered: the one in use, then
// the suites of the offerer with its tags, then ours.
func offerSDES(side *Side, from *Remote, req *ng.Request, opts *Options) {
	sdes := &side.Local.SDES
	allowed := suites(req, opts, req.SDES.Order)
	var lines []SDESLine
	add := func(l SDESLine) {
		if !slices.Contains(allowed, l.Suite) {
			return
		}
		for _, have := range lines {
			if have.Suite == l.Suite || have.Tag == l.Tag {
				return
			}
		}
		lines = append(lines, l)
	}
	if sdes.Chosen != 0 {
		for _, l := range sdes.Lines {
			if l.Tag == sdes.Chosen {
				add(l)
			}
		}
	} else if len(req.SDES.Order) == 0 {
		for _, c := range from.Crypto {
			add(SDESLine{Tag: c.Tag, Suite: c.Suite})
		}
	}
	next := 1
	for _, l := range lines {
		next = max(next, l.Tag+1)
	}
	// Lines of an earlier offer keep their tags and so their keys.
	for _, l := range sdes.Lines {
		if l.Tag >= next {
			add(l)
			next = max(next, l.Tag+1)
		}
	}
	if !req.SDES.NoNew || len(lines) == 0 {
		for _, s := range allowed {
			before := len(lines)
			add(SDESLine{Tag: next, Suite: s})
			next += len(lines) - before
		}
	}
	for i := range lines {
		setParameters(&lines[i], req)
	}
	sdes.Lines = lines
	if sdes.Chosen != 0 && !slices.ContainsFunc(lines, func(l SDESLine) bool { return l.Tag == sdes.Chosen }) {
		sdes.Chosen, sdes.RemoteTag, sdes.Suite = 0, 0, ""
	}
}

func setParameters(l *SDESLine, req *ng.Request) {
	set := func(flag *bool, s ng.Switch) {
		if s != ng.SwitchAbsent {
			*flag = s == ng.SwitchOn
		}
	}
	set(&l.UnencryptedSRTP, req.SDES.UnencryptedSRTP)
	set(&l.UnencryptedSRTCP, req.SDES.UnencryptedSRTCP)
}

// takeSDES chooses among the lines that the offerer sent: the one in use if it
// is still there, else the first of "offerer_pref", else its first.
func takeSDES(side *Side, req *ng.Request, opts *Options) {
	sdes := &side.Local.SDES
	allowed := suites(&ng.Request{}, opts, nil)
	usable := func(c Crypto) bool { return slices.Contains(allowed, c.Suite) }
	choice := slices.IndexFunc(side.Remote.Crypto, func(c Crypto) bool {
		return c.Tag == sdes.RemoteTag && c.Suite == sdes.Suite
	})
	for _, s := range req.SDES.OffererPref {
		if choice >= 0 {
			break
		}
		choice = slices.IndexFunc(side.Remote.Crypto, func(c Crypto) bool { return c.Suite == s && usable(c) })
	}
	if choice < 0 {
		choice = slices.IndexFunc(side.Remote.Crypto, usable)
	}
	if choice < 0 {
		*sdes = LocalSDES{}
		return
	}
	c := side.Remote.Crypto[choice]
	*sdes = LocalSDES{
		Lines: []SDESLine{{
			Tag: c.Tag, Suite: c.Suite,
			UnencryptedSRTP:  c.UnencryptedSRTP,
			UnencryptedSRTCP: c.UnencryptedSRTCP,
		}},
		Chosen: c.Tag, RemoteTag: c.Tag, Suite: c.Suite,
	}
}

// answerSDES finds the line that the answerer took; false if none fits.
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
		l.UnencryptedSRTP, l.UnencryptedSRTCP = c.UnencryptedSRTP, c.UnencryptedSRTCP
		sdes.Chosen, sdes.RemoteTag, sdes.Suite = l.Tag, c.Tag, c.Suite
		return true
	}
	return false
}
