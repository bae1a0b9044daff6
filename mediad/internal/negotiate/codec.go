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
func (p *Plan) payloads(from *Side) []sdp.Payload {
	list := from.Remote.Payloads
	kept := make([]sdp.Payload, 0, len(list))
	answer := p.req.Command == ng.CommandAnswer
	for _, c := range list {
		again := func(k sdp.Payload) bool { return k.Type == c.Type }
		if stripped(&p.req.Codec, c) ||
			answer && (!offered(from.Local.Payloads, c) || slices.ContainsFunc(kept, again)) {
			continue
		}
		kept = append(kept, c)
	}
	if len(kept) == 0 {
		return list
	}
	if p.reorders() {
		slices.SortStableFunc(kept, func(a, b sdp.Payload) int {
			return p.preference(a) - p.preference(b)
		})
	}
	return kept
}

// reorders reports whether the list "offer" tells the order of codecs, too: it
// does when all others are stripped.
func (p *Plan) reorders() bool {
	return len(p.req.Codec.Offer) > 0 && slices.ContainsFunc(p.req.Codec.Strip, func(entry string) bool {
		return strings.EqualFold(entry, "all") || strings.EqualFold(entry, "full")
	})
}

// preference is the place of c in the list "offer". What is no codec of its own
// (RFC 4733, RFC 3389) comes last.
func (p *Plan) preference(c sdp.Payload) int {
	list := p.req.Codec.Offer
	at := slices.IndexFunc(list, func(entry string) bool { return names([]string{entry}, c) })
	switch {
	case at < 0:
		return len(list)
	case strings.EqualFold(c.Encoding, "telephone-event"), strings.EqualFold(c.Encoding, "CN"):
		return len(list) + 1
	}
	return at
}

// offered reports whether c stands in list, under its number and, if it has
// one, its name.
func offered(list []sdp.Payload, c sdp.Payload) bool {
	if len(list) == 0 {
		return true
	}
	return slices.ContainsFunc(list, func(o sdp.Payload) bool {
		return o.Type == c.Type && (c.Encoding == "" || strings.EqualFold(o.Encoding, c.Encoding) && o.Clock == c.Clock)
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

// writeCodecs describes the payload types of an RTP media.
func writeCodecs(section *sdp.Section, list []sdp.Payload) {
	for _, c := range list {
		n := strconv.Itoa(int(c.Type))
		section.Append("a=rtpmap:" + c.RTPMap())
		if c.Format != "" {
			section.Append("a=fmtp:" + n + " " + c.Format)
		}
		for _, f := range c.Feedback {
			section.Append("a=rtcp-fb:" + strings.TrimRight(n+" "+f, " "))
		}
	}
}

// stripped reports whether the flags take c out. "offer" and "except" are the
// ways back in. Without transcoding, a masked codec can only be left out.
func stripped(codec *ng.Codec, c sdp.Payload) bool {
	if names(codec.Except, c) || names(codec.Offer, c) {
		return false
	}
	return names(codec.Strip, c) || names(codec.Mask, c) || names(codec.Consume, c)
}

// names reports whether one of the entries means c. An entry is
// name/rate/channels/…, with empty parts for any, or "all" or "full".
func names(entries []string, c sdp.Payload) bool {
	for _, entry := range entries {
		part := strings.Split(entry, "/")
		switch strings.ToLower(part[0]) {
		case "all", "full", "any":
			return true
		}
		if !strings.EqualFold(part[0], c.Encoding) || c.Encoding == "" {
			continue
		}
		if fits(part, 1, c.Clock) && fits(part, 2, c.Channels) {
			return true
		}
	}
	return false
}

func fits(part []string, n, value int) bool {
	return n >= len(part) || part[n] == "" || part[n] == strconv.Itoa(value)
}
