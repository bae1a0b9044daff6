package ng

import (
	"fmt"
	"net/netip"
	"strings"
)

// maxUnknown bounds Request.Unknown, maxUnknownLen each of its entries (bytes).
const (
	maxUnknown    = 64
	maxUnknownLen = 128
)

// requestOf turns the sorted entries of a dictionary into a request. Only a missing command
// is an error.
func requestOf(fields Dict) (*Request, error) {
	command, ok := fields.Get("command").(string)
	if !ok {
		return nil, ReasonNoCommand
	}
	req := &Request{Command: Command(command), fields: fields}
	req.applyFields(fields)
	return req, nil
}

// WithTemplates returns the request as if the script strings stood before its
// own keys: first those named "default" and as the command, then those that its
// key "template" names, as far as there are any. A request that was not decoded
// stays as it is.
func (r *Request) WithTemplates(templates map[string]string) *Request {
	if len(templates) == 0 {
		return r
	}
	names := []string{"default", string(r.Command)}
	for _, key := range []string{"template", "templates"} {
		words, _ := list(r.fields.Get(key))
		names = append(names, words...)
	}
	var before []string
	for _, name := range names {
		if raw, ok := templates[name]; ok {
			before = append(before, raw)
		}
	}
	if len(before) == 0 || r.fields == nil {
		return r
	}
	out := &Request{Command: r.Command, Peer: r.Peer, fields: r.fields}
	for _, raw := range before {
		out.applyRTPPFlags(raw)
	}
	out.applyFields(r.fields)
	return out
}

// applyFields applies the keys of a dictionary, which are in a fixed order, so
// that two spellings of one key have one outcome.
func (r *Request) applyFields(fields Dict) {
	// The raw string first, so that a key beside it wins.
	for _, key := range []string{"rtpp-flags", "rtpp_flags", "rtpp flags"} {
		if raw, ok := fields.Get(key).(string); ok {
			r.RTPPFlags = raw
			r.applyRTPPFlags(raw)
		}
	}
	for i := range fields {
		if !r.applyKey(fields[i].Key, fields[i].Value) {
			r.unknown(fields[i].Key, nil)
		}
	}
	if r.Flags.Has(FlagWebRTC) {
		r.implyWebRTC()
	}
	if r.Flags.Has(FlagPadCrypto) {
		r.SDES.Pad = true
	}
	if r.Flags.Has(FlagGenerateRTCP) && r.GenerateRTCP == SwitchAbsent {
		r.GenerateRTCP = SwitchOn
	}
	if r.Flags.Has(FlagRecordCall) && r.RecordCall == SwitchAbsent {
		r.RecordCall = SwitchOn
	}
}

// implyWebRTC sets what the flag "WebRTC" stands for; keys that say otherwise
// stay.
func (r *Request) implyWebRTC() {
	if r.TransportProtocol == ProtocolAsReceived {
		r.TransportProtocol = ProtocolTLSSAVPF
	}
	if r.ICE == ICEAbsent {
		r.ICE = ICEForce
	}
	r.RTCPMux |= RTCPMuxOffer | RTCPMuxRequire
	r.Bundle |= BundleOffer | BundleRequire
	r.SDES.Off = true
	r.Flags.Set(FlagTrickleICE)
	r.Flags.Set(FlagNoRTCPAttribute)
	r.Flags.Set(FlagGenerateMID)
}

// applyKey applies one key of the dictionary, in any spelling. It reports false
// for a key that is not known; it notes a value that is not known itself.
func (r *Request) applyKey(key string, v any) bool {
	k := normal(key)
	if v == nil || r.applyIdentity(k, v) || r.applyParticipants(k, v) || r.applyText(k, v) || r.applyNumber(k, v) || r.applyChoice(k, v) || r.applyList(k, v) {
		return true
	}
	switch k {
	case "command", "rtpp-flags", "template", "templates":
	case "codec", "codecs":
		r.applyCodecs(v)
	case "sdp-attr", "sdp-attrs":
		r.applySDPAttrs(v)
	default:
		return silent(k) || later(k)
	}
	return true
}

// applyIdentity applies the keys that say what a command is about. Only text
// counts: an integer is as good as nothing.
func (r *Request) applyIdentity(k string, v any) bool {
	var field *string
	var given Given
	switch k {
	case "call-id":
		field, given = &r.CallID, GivenCallID
	case "from-tag":
		field, given = &r.FromTag, GivenFromTag
	case "to-tag":
		field, given = &r.ToTag, GivenToTag
	case "sdp":
		field, given = &r.SDP, GivenSDP
	case "via-branch":
		field = &r.ViaBranch
	case "label", "from-label":
		field = &r.Label
	case "set-label":
		field = &r.SetLabel
	case "to-label":
		field = &r.ToLabel
	default:
		return false
	}
	s, ok := v.(string)
	if !ok {
		r.unknown(k, v)
		return true
	}
	*field = s
	if r.Empty &^= given; s == "" {
		r.Empty |= given
	}
	return true
}

// applyText applies other keys whose value is one piece of text.
func (r *Request) applyText(k string, v any) bool {
	var field *string
	switch k {
	case "interface":
		field = &r.Interface
	case "from-interface", "in-interface", "in-iface":
		field = &r.Direction[0]
	case "to-interface", "out-interface", "out-iface":
		field = &r.Direction[1]
	case "media-address":
		field = &r.MediaAddress
	case "metadata":
		field = &r.Metadata
	case "dtls-fingerprint":
		field = &r.DTLSFingerprint
	case "dtmf-security":
		field = &r.DTMF.Security
	case "code", "digit":
		field = &r.DTMF.Code
	case "file", "blob", "blob64", "db-id":
		field = &r.Play.From
	case "recording-file", "output-destination":
		field = &r.RecordingFile
	case "xmlrpc-callback":
		field = &r.CallbackURI
	case "body":
		field = &r.Body
	default:
		return false
	}
	s, ok := text(v)
	switch {
	case !ok:
		r.unknown(k, v)
		return true
	case field == &r.Play.From:
		s = k
	case field == &r.DTLSFingerprint, field == &r.DTMF.Security:
		s = normal(s)
	}
	*field = s
	return true
}

// applyNumber applies keys whose value is an integer.
func (r *Request) applyNumber(k string, v any) bool {
	var optional **int
	var plain *int
	switch k {
	case "tos":
		optional = &r.TOS
	case "delete-delay":
		optional = &r.DeleteDelay
	case "limit":
		optional = &r.Limit
	case "duration":
		optional = &r.DTMF.Duration
	case "pause":
		optional = &r.DTMF.Pause
	case "volume":
		optional = &r.DTMF.Volume
	case "sip-code":
		plain = &r.SIPCode
	case "ptime":
		plain = &r.Ptime
	case "ptime-reverse":
		plain = &r.PtimeReverse
	default:
		return false
	}
	n, ok := number(v)
	switch {
	case !ok || (plain != nil && n < 0):
		r.unknown(k, v)
	case optional != nil:
		*optional = &n
	default:
		*plain = n
	}
	return true
}

// applyChoice applies keys whose value is one word out of a few.
func (r *Request) applyChoice(k string, v any) bool {
	switch k {
	case "transport-protocol":
		choose(r, k, v, &r.TransportProtocol, protocolOf)
	case "dtls":
		choose(r, k, v, &r.DTLS, dtlsOf)
	case "dtls-reverse":
		choose(r, k, v, &r.DTLSReverse, dtlsOf)
	case "ice-lite":
		choose(r, k, v, &r.ICELite, iceLiteOf)
	case "endpoint-learning":
		choose(r, k, v, &r.EndpointLearning, learningOf)
	case "address-family":
		choose(r, k, v, &r.AddressFamily, familyOf)
	case "record-call":
		choose(r, k, v, &r.RecordCall, switchOf)
	case "generate-rtcp":
		choose(r, k, v, &r.GenerateRTCP, switchOf)
	case "media-echo":
		choose(r, k, v, &r.MediaEcho, echoOf)
	case "drop-traffic":
		choose(r, k, v, &r.DropTraffic, trafficOf)
	case "sip-message-type":
		choose(r, k, v, &r.SIPMessageType, messageTypeOf)
	default:
		return false
	}
	return true
}

// choose sets *field to what parse makes of v.
func choose[T any](r *Request, k string, v any, field *T, parse func(string) (T, bool)) {
	word, ok := text(v)
	if ok && word == "" {
		return
	}
	if ok {
		var value T
		if value, ok = parse(word); ok {
			*field = value
		}
	}
	if !ok {
		r.unknown(k, v)
	}
}

func messageTypeOf(word string) (SIPMessageType, bool) {
	switch normal(word) {
	case "request", "sip-request":
		return SIPMessageRequest, true
	case "reply", "sip-reply":
		return SIPMessageReply, true
	}
	return SIPMessageAbsent, false
}

// applyList applies keys whose value is a list, or one string with commas.
func (r *Request) applyList(k string, v any) bool {
	var each func(word string) bool
	switch k {
	case "flags":
		each = r.applyFlag
	case "ice":
		each = r.applyICE
	case "sdes":
		each = r.applySDES
	case "rtcp-mux":
		each = bits(&r.RTCPMux, rtcpMuxOf)
	case "bundle":
		each = bits(&r.Bundle, bundleOf)
	case "replace":
		each = bits(&r.Replace, replaceOf)
	case "supports":
		each = collect(&r.Supports, strings.ToLower)
	case "osrtp":
		each = collect(&r.OSRTP, normal)
	case "sdp-media-remove":
		each = collect(&r.SDPMediaRemove, strings.ToLower)
	case "direction":
		names, ok := v.([]any)
		if !ok || len(names) > 2 {
			r.unknown(k, v)
		}
		for i, name := range names[:min(len(names), 2)] { // an empty one keeps its place
			r.Direction[i], _ = text(name)
		}
		return true
	case "received-from":
		r.applyReceivedFrom(v)
		return true
	default:
		return false
	}
	words, ok := list(v)
	if !ok {
		r.unknown(k, v)
	}
	for _, w := range words {
		if !each(w) {
			r.unknown(k, w)
		}
	}
	return true
}

func bits[T ~uint8 | ~uint16](set *T, parse func(string) (T, bool)) func(string) bool {
	return func(word string) bool {
		b, ok := parse(word)
		*set |= b
		return ok
	}
}

func collect(words *[]string, spell func(string) string) func(string) bool {
	return func(word string) bool {
		*words = append(*words, spell(word))
		return true
	}
}

// applyReceivedFrom takes [family, address], an address, or nothing.
func (r *Request) applyReceivedFrom(v any) {
	words, ok := list(v)
	if ok && len(words) == 0 {
		return
	}
	if ok && len(words) <= 2 {
		if addr, err := netip.ParseAddr(strings.Trim(words[len(words)-1], "[]")); err == nil {
			r.ReceivedFrom = addr.Unmap().WithZone("")
			return
		}
	}
	r.unknown("received-from", v)
}

func (r *Request) applyICE(word string) bool {
	switch w := normal(word); w {
	case "remove":
		r.ICE = ICERemove
	case "force":
		r.ICE = ICEForce
	case "force-relay":
		r.ICE = ICEForceRelay
	case "default":
		r.ICE = ICEDefault
	case "optional":
		r.ICE = ICEOptional
	case "trickle":
		r.Flags.Set(FlagTrickleICE)
	case "ice2":
	default:
		lite, ok := iceLiteOf(strings.TrimPrefix(w, "lite-"))
		if !ok || !strings.HasPrefix(w, "lite-") {
			return false
		}
		r.ICELite = lite
	}
	return true
}

func (r *Request) applySDES(word string) bool {
	s := &r.SDES
	w := normal(word)
	switch w {
	case "off", "no", "disable":
		s.Off = true
	case "nonew":
		s.NoNew = true
	case "pad":
		s.Pad = true
	case "lifetime":
		s.Lifetime = true
	case "static":
		s.Static = true
	case "prefer":
		s.Prefer = true
	case "unencrypted-srtp":
		s.UnencryptedSRTP = SwitchOn
	case "encrypted-srtp":
		s.UnencryptedSRTP = SwitchOff
	case "unencrypted-srtcp":
		s.UnencryptedSRTCP = SwitchOn
	case "encrypted-srtcp":
		s.UnencryptedSRTCP = SwitchOff
	case "unauthenticated-srtp":
		s.UnauthenticatedSRTP = SwitchOn
	case "authenticated-srtp":
		s.UnauthenticatedSRTP = SwitchOff
	default:
		return r.applySDESSuites(w)
	}
	return true
}

// applySDESSuites applies words that name suites; w has the normal spelling.
func (r *Request) applySDESSuites(w string) bool {
	s := &r.SDES
	for _, p := range [...]struct {
		prefix string
		field  *[]string
	}{{"no-", &s.No}, {"only-", &s.Only}, {"order:", &s.Order}, {"offerer-pref:", &s.OffererPref}} {
		suites, ok := strings.CutPrefix(w, p.prefix)
		if !ok {
			continue
		}
		for _, suite := range split(suites, ';') {
			*p.field = append(*p.field, strings.ReplaceAll(strings.ToUpper(suite), "-", "_"))
		}
		return true
	}
	return false
}

// unknown notes a key, or a value v of a key, that was not understood.
func (r *Request) unknown(key string, v any) {
	if len(r.Unknown) >= maxUnknown {
		return
	}
	note := key
	switch v := v.(type) {
	case nil:
	case []any:
		note += ": list"
	case map[string]any:
		note += ": dictionary"
	default:
		note = fmt.Sprintf("%s: %v", key, v)
	}
	if len(note) > maxUnknownLen {
		note = note[:maxUnknownLen]
	}
	r.Unknown = append(r.Unknown, note)
}
