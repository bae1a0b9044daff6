package negotiate

import (
	"slices"
	"strconv"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// payloads are the payload types of a media that the receiver is told: without
// those that the flags strip, and in an answer those that the answerer had not
// been offered. A media never loses all of them.
func (p *Plan) payloads(i int) []sdp.Payload {
	from, codec := &p.From.Sides[i], &p.req.Codec
	list, told := from.Remote.Payloads, from.Local.Payloads
	if p.req.Command != ng.CommandAnswer {
		list = selected(list, codec)
		if said := p.previous[i].Payloads; len(said) < len(told) {
			told = said // of the two, one was the answer
		}
		return p.reused(list, told)
	}
	if offer := &p.To.Sides[i].Remote; offer.Type != from.Remote.Type {
		told = nil // another media than was offered at this place
	}
	// What codec lists hide or add is for offers.
	list = answered(selected(list, &ng.Codec{Strip: codec.Strip, Offer: codec.Offer, Except: codec.Except}), told)
	if offer := p.To.Sides[i].Remote.Payloads; len(told) > 0 && len(told) < len(offer) {
		list = asOffered(list, told)
	}
	if p.req.Flags.Has(ng.FlagSingleCodec) {
		list = single(list)
	}
	return p.reused(list, told)
}

// asOffered describes events and comfort noise of an answer as they had been
// offered, behind the codecs. That is how rtpengine has them where an offer was
// told only in part.
func asOffered(list, told []sdp.Payload) []sdp.Payload {
	list = slices.Clone(list)
	for i, c := range list {
		if at := slices.IndexFunc(told, func(o sdp.Payload) bool { return o.Type == c.Type }); at >= 0 && supplemental(c) {
			list[i] = told[at]
		}
	}
	place := func(c sdp.Payload) int {
		switch {
		case strings.EqualFold(c.Encoding, "telephone-event"):
			return 2
		case supplemental(c):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b sdp.Payload) int { return place(a) - place(b) })
	return list
}

// reused brings what stands in before to the front, in the order that it has
// there, if the flag reuse codecs wants so.
func (p *Plan) reused(list, before []sdp.Payload) []sdp.Payload {
	if !p.req.Flags.Has(ng.FlagReuseCodecs) {
		return list
	}
	place := func(c sdp.Payload) int {
		if at := slices.IndexFunc(before, func(o sdp.Payload) bool { return o.Type == c.Type }); at >= 0 {
			return at
		}
		return len(before)
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b sdp.Payload) int { return place(a) - place(b) })
	return list
}

// answered are the payload types of an answer that had been offered, each
// once. If none was, it may still be one of the offered codecs under another
// number (RFC 3264 §6.1). Else the first one offered has to do.
func answered(list, told []sdp.Payload) []sdp.Payload {
	if len(list) == 0 || len(told) == 0 {
		return list
	}
	kept := make([]sdp.Payload, 0, len(list))
	for _, c := range list {
		again := func(k sdp.Payload) bool { return k.Type == c.Type }
		if offered(told, c) && !slices.ContainsFunc(kept, again) {
			kept = append(kept, c)
		}
	}
	if len(kept) > 0 {
		return kept
	}
	for _, c := range list {
		if slices.ContainsFunc(told, func(o sdp.Payload) bool { return sameCodec(o, c) }) {
			kept = append(kept, c)
		}
	}
	if len(kept) > 0 {
		return kept
	}
	if !slices.ContainsFunc(list, func(c sdp.Payload) bool { return c.Encoding != "" }) {
		return list // nobody knows what they are, so there is nothing to compare
	}
	for _, c := range list {
		if c.Type == told[0].Type {
			return []sdp.Payload{c}
		}
	}
	return told[:1:1]
}

// offered reports whether c stands in list, under its number and, if it has
// one, its name.
func offered(list []sdp.Payload, c sdp.Payload) bool {
	return slices.ContainsFunc(list, func(o sdp.Payload) bool {
		return o.Type == c.Type && (c.Encoding == "" || sameCodec(o, c))
	})
}

func sameCodec(a, b sdp.Payload) bool {
	return a.Encoding != "" && strings.EqualFold(a.Encoding, b.Encoding) && a.Clock == b.Clock
}

// selected applies the codec lists: what is stripped (or, without transcoding,
// hidden) goes, what is to be offered comes back in the order of that list. If
// all others are stripped it comes first, else last, but before what is no
// codec of its own. A codec of the list transcode that was offered comes back
// behind it: it needs no transcoding.
func selected(list []sdp.Payload, codec *ng.Codec) []sdp.Payload {
	if !slices.ContainsFunc(list, func(c sdp.Payload) bool { return stripped(codec, c) }) {
		return list
	}
	kept := make([]sdp.Payload, 0, len(list))
	for _, c := range list {
		if !stripped(codec, c) {
			kept = append(kept, c)
		}
	}
	spared := len(kept)
	if slices.ContainsFunc([][]string{codec.Strip, codec.Mask, codec.Consume}, everything) {
		back := restored(nil, list, codec.Offer)
		kept = append(back, slices.DeleteFunc(kept, func(c sdp.Payload) bool { return contains(back, c) })...)
	} else {
		kept = restored(kept, list, codec.Offer)
	}
	kept = restored(kept, list, codec.Transcode)
	if len(kept) > spared {
		slices.SortStableFunc(kept, func(a, b sdp.Payload) int { return rank(a) - rank(b) })
	}
	out := make([]sdp.Payload, 0, len(kept))
	for _, c := range kept {
		if !supplemental(c) || served(kept, c) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return list
	}
	return out
}

// restored adds to kept what the entries name of list, in their order.
func restored(kept, list []sdp.Payload, entries []string) []sdp.Payload {
	for _, entry := range entries {
		for _, c := range list {
			if names([]string{entry}, c) && !contains(kept, c) {
				kept = append(kept, c)
			}
		}
	}
	return kept
}

func contains(list []sdp.Payload, c sdp.Payload) bool {
	return slices.ContainsFunc(list, func(o sdp.Payload) bool { return o.Type == c.Type })
}

// supplemental reports whether c is of use beside a codec only (RFC 4733,
// RFC 3389).
func supplemental(c sdp.Payload) bool {
	return strings.EqualFold(c.Encoding, "telephone-event") || strings.EqualFold(c.Encoding, "CN")
}

func rank(c sdp.Payload) int {
	if supplemental(c) {
		return 1
	}
	return 0
}

// served reports whether list has a codec that c can stand beside.
func served(list []sdp.Payload, c sdp.Payload) bool {
	return slices.ContainsFunc(list, func(o sdp.Payload) bool { return !supplemental(o) && o.Clock == c.Clock })
}

// single keeps the first codec and what stands beside it.
func single(list []sdp.Payload) []sdp.Payload {
	at := slices.IndexFunc(list, func(c sdp.Payload) bool { return !supplemental(c) })
	if at < 0 {
		return list
	}
	first := list[at : at+1 : at+1]
	return slices.DeleteFunc(slices.Clone(list), func(c sdp.Payload) bool {
		return c.Type != first[0].Type && !(supplemental(c) && served(first, c))
	})
}

// stripped reports whether the flags take c out. "except" saves it from being
// stripped with all others, not by name.
func stripped(codec *ng.Codec, c sdp.Payload) bool {
	for _, list := range [...][]string{codec.Strip, codec.Mask, codec.Consume} {
		if names(list, c) || everything(list) && !names(codec.Except, c) {
			return true
		}
	}
	return false
}

// everything reports whether list holds one of the words for all codecs.
func everything(list []string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		return strings.EqualFold(entry, "all") || strings.EqualFold(entry, "full")
	})
}

// names reports whether one of the entries means c: by its name alone, or by
// name and parameters as they stand in a=rtpmap, of which one channel may be
// spelled out.
func names(entries []string, c sdp.Payload) bool {
	if c.Encoding == "" || len(entries) == 0 {
		return false
	}
	_, parameters, _ := strings.Cut(c.RTPMap(), " ")
	return slices.ContainsFunc(entries, func(entry string) bool {
		return strings.EqualFold(entry, c.Encoding) || strings.EqualFold(entry, parameters) ||
			c.Channels == 1 && strings.EqualFold(entry, parameters+"/1")
	})
}

// formats are the payload types as in an m= line.
func formats(list []sdp.Payload) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = strconv.Itoa(int(list[i].Type))
	}
	return out
}

// maxRepeated bounds what is written again for a payload type that an m= line
// names again, in bytes, since that multiplies what was received.
const maxRepeated = 256

// writeCodecs describes the payload types of an RTP media.
func writeCodecs(section *sdp.Section, list []sdp.Payload) {
	for i, c := range list {
		n := strconv.Itoa(int(c.Type))
		if contains(list[:i], c) {
			if c.Feedback = nil; len(c.Encoding)+len(c.Format) > maxRepeated {
				continue
			}
		}
		section.Append("a=rtpmap:" + c.RTPMap())
		if c.Format != "" {
			section.Append("a=fmtp:" + n + " " + c.Format)
		}
		for _, f := range c.Feedback {
			section.Append("a=rtcp-fb:" + strings.TrimRight(n+" "+f, " "))
		}
	}
}
