package negotiate

import (
	"slices"
	"strconv"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// filterCodecs takes payload types out of an RTP media: those that the flags
// strip, and in an answer those that were not offered. A media never loses all
// of them.
func (p *Plan) filterCodecs(i int, section *sdp.Section, m *sdp.Media) {
	payloads := p.From.Sides[i].Remote.Payloads
	kept := make([]sdp.Payload, 0, len(payloads))
	for _, c := range payloads {
		if !stripped(&p.req.Codec, c) && p.offered(i, c) {
			kept = append(kept, c)
		}
	}
	if len(kept) == 0 || len(kept) == len(payloads) {
		return
	}
	gone := func(format string) bool {
		n, err := strconv.ParseUint(format, 10, 8)
		return err == nil && n <= 127 &&
			!slices.ContainsFunc(kept, func(c sdp.Payload) bool { return uint64(c.Type) == n })
	}
	m.Formats = slices.DeleteFunc(slices.Clone(m.Formats), gone)
	for a := range section.Attributes("rtpmap", "fmtp", "rtcp-fb") {
		if format, _, _ := strings.Cut(strings.TrimSpace(a.Value), " "); gone(format) {
			section.Delete(a.Line)
		}
	}
}

// offered reports whether the receiver of an answer has offered c, by number
// or under another number.
func (p *Plan) offered(i int, c sdp.Payload) bool {
	list := p.To.Sides[i].Remote.Payloads
	if p.req.Command != ng.CommandAnswer || len(list) == 0 {
		return true
	}
	return slices.ContainsFunc(list, func(o sdp.Payload) bool {
		return o.Type == c.Type ||
			c.Encoding != "" && strings.EqualFold(o.Encoding, c.Encoding) && o.Clock == c.Clock && o.Channels == c.Channels
	})
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
