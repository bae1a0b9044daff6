package ng

import "strings"

// dict returns the request as the dictionary that goes on the wire, with the
// spellings that every rtpengine release takes.
func (r *Request) dict() Dict {
	d := Dict{
		{"command", string(r.Command)},
		r.identity("call-id", r.CallID, GivenCallID),
		r.identity("from-tag", r.FromTag, GivenFromTag),
		r.identity("to-tag", r.ToTag, GivenToTag),
		optional("via-branch", r.ViaBranch),
		optional("label", r.Label),
		optional("set-label", r.SetLabel),
		optional("to-label", r.ToLabel),
		r.identity("sdp", r.SDP, GivenSDP),
		optional("sip-message-type", choice(r.SIPMessageType, "", "sip_request", "sip_reply")),
		optionalList("supports", r.Supports),
		optional("rtpp-flags", r.RTPPFlags),

		optional("transport-protocol", string(r.TransportProtocol)),
		optional("ICE", choice(r.ICE, "", "remove", "force", "force-relay", "default", "optional")),
		optional("ICE-lite", choice(r.ICELite, "", "off", "forward", "backward", "both")),
		optional("DTLS", choice(r.DTLS, "", "off", "passive", "active")),
		optional("DTLS-reverse", choice(r.DTLSReverse, "", "off", "passive", "active")),
		optional("DTLS-fingerprint", r.DTLSFingerprint),
		optionalList("SDES", r.SDES.words()),
		optionalList("OSRTP", r.OSRTP),
		optionalList("rtcp-mux", bitWords(r.RTCPMux, "offer", "require", "demux", "accept", "reject")),
		optionalList("bundle", bitWords(r.Bundle, "offer", "require", "accept", "reject", "strict")),
		optionalList("replace", bitWords(r.Replace, "origin", "origin-full", "SDP-version", "session-name",
			"username", "zero-address", "force-increment-sdp-ver", "session-connection")),
		optionalList("flags", r.flagWords()),

		optional("interface", r.Interface),
		optional("address-family", choice(r.AddressFamily, "", "IP4", "IP6")),
		optional("media-address", r.MediaAddress),
		optional("endpoint-learning", choice(r.EndpointLearning, "", "off", "immediate", "delayed", "heuristic")),

		optionalInt("TOS", r.TOS),
		optionalInt("delete-delay", r.DeleteDelay),
		optionalInt("limit", r.Limit),
		positive("sip-code", r.SIPCode),
		positive("ptime", r.Ptime),
		positive("ptime-reverse", r.PtimeReverse),

		optional("record-call", choice(r.RecordCall, "", "on", "off")),
		optional("generate-RTCP", choice(r.GenerateRTCP, "", "on", "off")),
		optional("metadata", r.Metadata),
		optionalList("sdp-media-remove", r.SDPMediaRemove),

		optional("media-echo", choice(r.MediaEcho, "", "blackhole", "forward", "backwards", "both")),
		optional("drop-traffic", choice(r.DropTraffic, "", "start", "stop")),
		optional("DTMF-security", r.DTMF.Security),
		optional("code", r.DTMF.Code),
		optionalInt("duration", r.DTMF.Duration),
		optionalInt("pause", r.DTMF.Pause),
		optionalInt("volume", r.DTMF.Volume),
		optional(r.Play.From, r.Play.From),
		optional("recording-file", r.RecordingFile),
		optional("xmlrpc-callback", r.CallbackURI),
		optional("body", r.Body),
	}
	d = append(d, r.Participants.dict()...)
	if r.ReceivedFrom.IsValid() {
		family := "IP4"
		if r.ReceivedFrom.Is6() {
			family = "IP6"
		}
		d = append(d, Entry{"received-from", []string{family, r.ReceivedFrom.String()}})
	}
	d = r.appendDirection(d)
	if codecs := r.Codec.dict(); len(codecs) > 0 {
		d = append(d, Entry{"codec", codecs})
	}
	return d
}

// identity is an entry that is left out unless it is given.
func (r *Request) identity(key, value string, given Given) Entry {
	if value == "" && r.Empty&given == 0 {
		return Entry{key, nil}
	}
	return Entry{key, value}
}

func (p *Participants) dict() Dict {
	d := Dict{
		optional("address", p.Address),
		optional("all", p.All),
		optionalList("from-tags", p.FromTags),
		optional("to-call-id", p.ToCallID),
		optional("source-tag", p.SourceTag),
		optional("source-call-id", p.SourceCallID),
		optionalList("calls", p.Calls),
		optional("instance", p.Instance),
	}
	var mesh []Dict
	for _, m := range p.Mesh {
		mesh = append(mesh, Dict{{"from", m.From}, {"to", m.To}})
	}
	if len(mesh) > 0 {
		d = append(d, Entry{"tags", mesh})
	}
	return d
}

// appendDirection writes one list if both interfaces are given; a half alone
// has a key of its own.
func (r *Request) appendDirection(d Dict) Dict {
	if r.Direction[0] != "" && r.Direction[1] != "" {
		return append(d, Entry{"direction", r.Direction[:]})
	}
	return append(d, optional("from-interface", r.Direction[0]), optional("to-interface", r.Direction[1]))
}

// flagWords are the flags and what is written as prefixed flags: attribute
// operations, whose dictionary form cannot say one action twice.
func (r *Request) flagWords() []string {
	var words []string
	for f := Flag(0); f < flagCount; f++ {
		if r.Flags.Has(f) {
			words = append(words, f.String())
		}
	}
	escape := strings.NewReplacer("=", "--", " ", "..")
	for _, a := range r.SDPAttr {
		word := "sdp-attr-" + a.Action + "-" + a.Section + "-" + escape.Replace(a.Value)
		if a.With != "" {
			word += ">" + escape.Replace(a.With)
		}
		words = append(words, word)
	}
	return words
}

func (s *SDES) words() []string {
	var words []string
	add := func(on bool, word string) {
		if on {
			words = append(words, word)
		}
	}
	add(s.Off, "off")
	add(s.NoNew, "nonew")
	add(s.Pad, "pad")
	add(s.Lifetime, "lifetime")
	add(s.Static, "static")
	add(s.Prefer, "prefer")
	for _, p := range [...]struct {
		value Switch
		name  string
	}{
		{s.UnencryptedSRTP, "encrypted_srtp"},
		{s.UnencryptedSRTCP, "encrypted_srtcp"},
		{s.UnauthenticatedSRTP, "authenticated_srtp"},
	} {
		add(p.value == SwitchOn, "un"+p.name)
		add(p.value == SwitchOff, p.name)
	}
	for _, suite := range s.No {
		words = append(words, "no-"+suite)
	}
	for _, suite := range s.Only {
		words = append(words, "only-"+suite)
	}
	add(len(s.Order) > 0, "order:"+strings.Join(s.Order, ";"))
	add(len(s.OffererPref) > 0, "offerer_pref:"+strings.Join(s.OffererPref, ";"))
	return words
}

func (c *Codec) dict() Dict {
	var d Dict
	for _, op := range codecOperations {
		if l := *c.list(op); len(l) > 0 {
			d = append(d, Entry{op, l})
		}
	}
	return d
}

// choice is the word at index v.
func choice[T ~uint8](v T, words ...string) string {
	if int(v) < len(words) {
		return words[v]
	}
	return ""
}

// bitWords are the words of the bits that are set.
func bitWords[T ~uint8 | ~uint16](set T, words ...string) []string {
	var out []string
	for i, w := range words {
		if set&(1<<i) != 0 {
			out = append(out, w)
		}
	}
	return out
}

func optionalInt(key string, v *int) Entry {
	if v == nil {
		return Entry{key, nil}
	}
	return Entry{key, *v}
}

func positive(key string, v int) Entry {
	if v <= 0 {
		return Entry{key, nil}
	}
	return Entry{key, v}
}

func optionalList(key string, list []string) Entry {
	if len(list) == 0 {
		return Entry{key, nil}
	}
	return Entry{key, list}
}
