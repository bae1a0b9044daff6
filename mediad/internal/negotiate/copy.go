package negotiate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// Copied is a party whose media somebody else gets a copy of.
type Copied struct {
	Party  Party
	Body   string   // what it has sent last
	Answer bool     // Body was an answer
	Labels []string // a=label (RFC 4574) for each of its medias; nil = none
}

// MediaLine names the media that a line of a subscription's body copies.
type MediaLine struct {
	Source int // index of the source
	Media  int // index of its media
}

// NewSubscription plans the offer to a subscriber: the media of the sources, one
// after the other. A single source keeps its body as far as possible. before is
// what the subscriber was offered last. lines tells which media each of the
// subscriber's copies. stamp is for a new o= line, which
// wants a number that grows: Unix time. The error wraps an ng.Reason.
func NewSubscription(req *ng.Request, sources []Copied, before, subscriber Party, stamp int64, opts Options) (p *Plan, lines []MediaLine, err error) {
	offer := *req
	offer.Command = ng.CommandOffer
	offer.AddressFamily, offer.Ptime = ng.FamilyAbsent, 0
	if !req.RTCPMux.Has(ng.RTCPMuxOffer) && !req.RTCPMux.Has(ng.RTCPMuxRequire) {
		offer.RTCPMux |= ng.RTCPMuxDemux // the source's own does not matter
	}
	for _, f := range []ng.Flag{ng.FlagInactive, ng.FlagFragment, ng.FlagReset, ng.FlagSIPSourceAddress} {
		offer.Flags.Clear(f)
	}
	offer.Flags.Set(ng.FlagTrustAddress)
	offer.Direction = [2]string{1: req.Interface}
	offer.OSRTP = nil
	var labels []string
	var out strings.Builder
	for n, s := range sources {
		doc, err := sdp.Parse(s.Body)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ng.ReasonSDPCreate, err)
		}
		for i, section := range doc.Medias() {
			s.prepare(i, section, req.Flags.Has(ng.FlagOriginalSendrecv))
			lines = append(lines, MediaLine{Source: n, Media: i})
			label := ""
			if i < len(s.Labels) {
				label = s.Labels[i]
			}
			labels = append(labels, label)
		}
		if len(sources) == 1 {
			out.Write(doc.Bytes())
			break
		}
		if n == 0 {
			out.WriteString(newSession(stamp, &SentOrigin{}, &opts))
			offer.Replace |= ng.ReplaceOrigin
		}
		if doc, err = sdp.Parse(doc.Bytes()); err != nil { // with what prepare has added
			return nil, nil, fmt.Errorf("%w: %w", ng.ReasonSDPCreate, err)
		}
		for _, section := range doc.Medias() {
			writeCopy(&out, doc.Session(), section)
		}
	}
	offer.SDP = out.String()
	p, err = NewPlan(&offer, before, subscriber, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ng.ReasonSDPCreate, err)
	}
	p.labels = labels
	return p, lines, nil
}

// prepare turns what the source has said of a media into what its copy is: one
// way, with the codecs that were agreed.
func (s *Copied) prepare(i int, section *sdp.Section, original bool) {
	direction := sdp.Inactive
	if i < len(s.Party.Sides) {
		side := &s.Party.Sides[i]
		told := side.Local.Payloads
		heard := len(told) == 0 || side.Local.Direction == sdp.SendRecv || side.Local.Direction == sdp.RecvOnly
		if side.Remote.sends() && heard {
			direction = sdp.SendOnly
		}
		if len(told) > 0 {
			keepPayloads(section, told, !s.Answer)
		}
		if _, own := section.Attribute("mid"); !own && side.Local.MID != "" {
			section.Append("a=mid:" + side.Local.MID)
		}
	}
	if original {
		return
	}
	for a := range section.Attributes("sendrecv", "sendonly", "recvonly", "inactive") {
		section.Delete(a.Line)
	}
	section.Append("a=" + direction.String())
}

// sends reports whether the party sends media.
func (r *Remote) sends() bool {
	return !r.Rejected && (r.Direction == sdp.SendRecv || r.Direction == sdp.SendOnly)
}

// keepPayloads removes the payload types from an m= line that are not in told,
// as long as one stays, and may give the others the order of told.
func keepPayloads(section *sdp.Section, told []sdp.Payload, reorder bool) {
	m, line, ok := section.Media()
	if !ok {
		return
	}
	place := func(format string) int {
		return slices.IndexFunc(told, func(p sdp.Payload) bool { return strconv.Itoa(int(p.Type)) == format })
	}
	keep := func(format string) bool { return place(format) >= 0 }
	if !slices.ContainsFunc(m.Formats, keep) {
		return
	}
	var gone []string
	m.Formats = slices.DeleteFunc(slices.Clone(m.Formats), func(f string) bool {
		if keep(f) {
			return false
		}
		gone = append(gone, f)
		return true
	})
	if reorder {
		slices.SortStableFunc(m.Formats, func(a, b string) int { return place(a) - place(b) })
	}
	section.Replace(line, m.String())
	for a := range section.Attributes("rtpmap", "fmtp", "rtcp-fb") {
		if f, _, _ := strings.Cut(strings.TrimSpace(a.Value), " "); slices.Contains(gone, f) {
			section.Delete(a.Line)
		}
	}
}

// newSession is the session part of a body that is not made from a received one.
// Who has been sent a body finds its version again.
func newSession(stamp int64, sent *SentOrigin, opts *Options) string {
	name := opts.Software
	if name == "" {
		name = "rtpengine" // what scripts around the original look for
	}
	id := strconv.FormatInt(stamp, 10)
	version := id
	if sent.Valid && sent.Version != "0" {
		version = sent.Version
	}
	return "v=0\r\no=- " + id + " " + version + " IN IP4 192.0.2.1\r\ns=" + name + "\r\nt=0 0\r\n"
}

// writeCopy writes what a copy keeps of a media section.
func writeCopy(out *strings.Builder, session, section *sdp.Section) {
	for line := range section.Lines() {
		if line.Type == 'm' {
			out.WriteString("m=" + line.Value + "\r\n")
		}
	}
	conn, _, ok := section.Connection()
	if !ok {
		conn, _, ok = session.Connection()
	}
	if ok {
		out.WriteString("c=" + conn.String() + "\r\n")
	}
	for a := range section.Attributes(
		"mid", "crypto", "ice-ufrag", "ice-pwd", "rtpmap", "fmtp", "rtcp-fb", "ptime", "sendrecv", "sendonly", "recvonly", "inactive",
	) {
		out.WriteString("a=" + a.Line.Value + "\r\n")
	}
}

// NewPublication plans the answer to a party that offers to send without
// anybody to hear it yet. The party is To of the plan. stamp is as above.
func NewPublication(req *ng.Request, publisher Party, stamp int64, opts Options) (*Plan, error) {
	offer := *req
	offer.Command = ng.CommandOffer
	offer.TransportProtocol, offer.ICE = ng.ProtocolRTPAVP, ng.ICERemove
	if !req.RTCPMux.Has(ng.RTCPMuxReject) {
		offer.RTCPMux = ng.RTCPMuxDemux
	}
	offer.AddressFamily, offer.MediaAddress, offer.Codec = ng.FamilyAbsent, "", ng.Codec{}
	offer.Direction = [2]string{req.Interface, req.Interface} // nobody else is there yet
	for _, f := range []ng.Flag{ng.FlagFragment, ng.FlagReset, ng.FlagInactive} {
		offer.Flags.Clear(f)
	}
	doc, err := sdp.Parse(req.SDP)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ng.ReasonSDPParse, err)
	}
	if req.ICE == ng.ICERemove {
		for _, section := range append([]*sdp.Section{doc.Session()}, doc.Medias()...) {
			for a := range section.Attributes() {
				if strings.HasPrefix(a.Name, "ice-") || a.Name == "candidate" || a.Name == "end-of-candidates" {
					section.Delete(a.Line)
				}
			}
		}
		offer.SDP = string(doc.Bytes())
	}
	first, err := NewPlan(&offer, publisher, Party{}, opts)
	if err != nil {
		if len(doc.Medias()) == 0 {
			return nil, fmt.Errorf("%w: %w", ng.ReasonSDPCreate, err)
		}
		return nil, err
	}
	if first.Untouched {
		return nil, fmt.Errorf("%w: our own body", ng.ReasonSDPCreate)
	}
	answer := offer
	answer.Command, answer.TransportProtocol, answer.ICE = ng.CommandAnswer, ng.ProtocolAsReceived, ng.ICEAbsent
	if req.ICE == ng.ICEForce {
		answer.ICE = ng.ICEForce
	}
	answer.Replace = ng.ReplaceOrigin
	if answer.SDP, err = listen(req, first, &publisher, newSession(stamp, &publisher.Session.Sent, &opts)); err != nil {
		return nil, err
	}
	return NewPlan(&answer, first.To, first.From, opts)
}

// NewCreation plans an offer of audio to a party that nobody has called, with
// the codecs that the request names. stamp is as above.
func NewCreation(req *ng.Request, party Party, stamp int64, opts Options) (*Plan, error) {
	codecs := slices.Concat(req.Codec.Offer, req.Codec.Accept, req.Codec.Transcode)
	if len(codecs) == 0 {
		codecs = []string{"PCMA", "PCMU", "telephone-event"}
	}
	var formats, maps strings.Builder
	next := 96
	for _, name := range codecs {
		if strings.ContainsAny(name, " \t\r\n") {
			return nil, fmt.Errorf("%w: codec %.32q", ng.ReasonSDPCreate, name)
		}
		rtpmap, pt := rtpmapOf(name), next
		switch strings.ToUpper(rtpmap) {
		case "PCMU/8000":
			pt = 0
		case "PCMA/8000":
			pt = 8
		case "G722/8000":
			pt = 9
		default:
			next++
		}
		if next > 128 {
			return nil, fmt.Errorf("%w: too many codecs", ng.ReasonSDPCreate)
		}
		fmt.Fprintf(&formats, " %d", pt)
		fmt.Fprintf(&maps, "a=rtpmap:%d %s\r\n", pt, rtpmap)
	}
	offer := *req
	offer.Command = ng.CommandOffer
	offer.Replace |= ng.ReplaceOrigin
	offer.Codec = ng.Codec{}
	if req.Interface != "" {
		offer.Direction[1] = req.Interface
	}
	offer.Flags.Clear(ng.FlagFragment)
	offer.SDP = newSession(stamp, &SentOrigin{}, &opts) + "m=audio 9 RTP/AVP" + formats.String() +
		"\r\nc=IN IP4 192.0.2.1\r\n" + maps.String() + "a=sendrecv\r\n"
	return NewPlan(&offer, Party{}, party, opts)
}

// rtpmapOf is name/rate/channels/… as an a=rtpmap has it.
func rtpmapOf(entry string) string {
	parts := strings.Split(entry, "/")
	rate := "8000"
	switch {
	case len(parts) > 1 && parts[1] != "":
		rate = parts[1]
	case strings.EqualFold(parts[0], "opus"):
		rate = "48000/2"
	}
	out := parts[0] + "/" + rate
	if len(parts) > 2 && parts[2] != "" && parts[2] != "1" {
		out += "/" + parts[2]
	}
	return out
}

// listen writes the answer of somebody who takes one codec of each media and
// sends nothing, unless the publisher is a party that something is sent to.
func listen(req *ng.Request, offer *Plan, publisher *Party, session string) (string, error) {
	var out strings.Builder
	out.WriteString(session)
	for i, section := range offer.doc.Medias() {
		remote, local := &offer.From.Sides[i].Remote, &offer.To.Sides[i].Local
		codec, ok := chooseCodec(&req.Codec, remote.Payloads)
		if !ok || !local.Active {
			return "", fmt.Errorf("%w: media %d has nothing to hear", ng.ReasonSDPCreate, i+1)
		}
		fmt.Fprintf(&out, "m=%s 9 %s %d\r\nc=IN IP4 192.0.2.1\r\n", remote.Type, local.Protocol, codec.Type)
		if codec.Encoding != "" {
			fmt.Fprintf(&out, "a=rtpmap:%s\r\n", codec.RTPMap())
		}
		for a := range section.Attributes("fmtp") {
			if pt, _, ok := sdp.SplitPayload(a.Value); ok && pt == codec.Type {
				out.WriteString("a=" + a.Line.Value + "\r\n")
			}
		}
		if remote.Ptime > 0 {
			fmt.Fprintf(&out, "a=ptime:%d\r\n", remote.Ptime)
		}
		direction := sdp.Inactive
		switch {
		case i < len(publisher.Sides) && publisher.Sides[i].Local.Known:
			direction = publisher.Sides[i].Local.Direction // as it was told before
		case remote.sends():
			direction = sdp.RecvOnly
		}
		if !req.Flags.Has(ng.FlagOriginalSendrecv) {
			out.WriteString("a=" + direction.String() + "\r\n")
		}
		if remote.RTCPMux && !req.RTCPMux.Has(ng.RTCPMuxReject) {
			out.WriteString("a=rtcp-mux\r\n")
		}
	}
	return out.String(), nil
}

// chooseCodec returns the first codec that a listener takes: one that the flags
// accept, else one that is known at all.
func chooseCodec(flags *ng.Codec, offered []sdp.Payload) (sdp.Payload, bool) {
	for _, p := range offered {
		if names(flags.Accept, p) {
			return p, true
		}
	}
	for _, p := range offered {
		if slices.Contains(knownCodecs[:], strings.ToLower(p.Encoding)) {
			return p, true
		}
	}
	return sdp.Payload{}, false
}

// knownCodecs are the audio codecs that rtpengine can do something with.
var knownCodecs = [...]string{
	"pcmu", "pcma", "g722", "g723", "g729", "g729a", "g726-16", "g726-24", "g726-32", "g726-40",
	"speex", "gsm", "ilbc", "opus", "amr", "amr-wb", "evs", "l16", "x-l16", "pcm-s16le", "pcm-u8",
	"cn", "telephone-event", "red", "evrc", "evrcb", "qcelp", "atrac3", "atrac-x", "ac3", "eac3", "mp3", "mpa", "vorbis", "mp4a-latm",
}
