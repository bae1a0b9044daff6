package ng

import (
	"strings"
)

// applyRTPPFlags applies the raw script string of the key "rtpp-flags": words
// split by spaces, each a flag, key=value or a short form of a transport
// protocol; values in brackets nest lists and dictionaries.
func (r *Request) applyRTPPFlags(raw string) {
	p := scriptParser{s: raw}
	var profile profileBits
	directions := 0
	for {
		key, value, ok := p.next(1)
		if !ok {
			return
		}
		switch {
		case value == nil:
			switch word := normal(key); word {
			case "internal", "external":
				r.addDirection(&directions, word)
			default:
				if protocol, ok := profile.add(key); ok {
					r.TransportProtocol = protocol
				} else if !r.applyFlag(key) {
					r.unknown("rtpp-flags", key)
				}
			}
		default:
			r.applyScriptKey(key, value, &directions)
		}
	}
}

// applyScriptKey applies key=value; some keys mean more here than they do in
// the dictionary.
func (r *Request) applyScriptKey(key string, value any, directions *int) {
	switch k := normal(key); k {
	case "direction":
		words, ok := list(value)
		if !ok {
			r.unknown(k, value)
		}
		for _, w := range words {
			r.addDirection(directions, w)
		}
	case "to-tag":
		r.Flags.Set(FlagToTag)
		r.applyKey(k, value)
	case "from-tag":
		r.Flags.Set(FlagDirectional)
		r.applyKey(k, value)
	case "command", "sdp", "rtpp-flags", "flags":
		r.unknown("rtpp-flags", key)
	default:
		if r.applyKey(key, value) {
			return
		}
		// Not a key: perhaps a prefixed flag whose value holds "=".
		if s, ok := value.(string); ok {
			key += "=" + s
			if r.applyPrefixed(key, normal(key)) {
				return
			}
		}
		r.unknown("rtpp-flags", key)
	}
}

// addDirection sets the interface towards the sender, then the one towards the
// receiver.
func (r *Request) addDirection(count *int, name string) {
	if *count >= len(r.Direction) {
		r.unknown("direction", name)
		return
	}
	r.Direction[*count] = name
	*count++
}

// profileBits collects the short forms of the RTP profiles.
type profileBits uint8

const (
	profileSRTP profileBits = 1 << iota
	profileFeedback
	profileDTLS
)

// add combines a word with those before it; false if it names no profile.
func (b *profileBits) add(word string) (TransportProtocol, bool) {
	if strings.Contains(word, "/") {
		protocol, ok := protocolOf(word)
		if !ok || protocol == ProtocolAccept {
			return "", false
		}
		*b = 0
		if strings.Contains(string(protocol), "SAVP") {
			*b |= profileSRTP
		}
		if strings.HasSuffix(string(protocol), "F") {
			*b |= profileFeedback
		}
		if protocol == ProtocolTLSSAVP || protocol == ProtocolTLSSAVPF {
			*b |= profileDTLS
		}
		return protocol, true
	}
	switch strings.ToUpper(word) {
	case "RTP":
		*b &^= profileSRTP | profileDTLS
	case "SRTP":
		*b |= profileSRTP
	case "AVP":
		*b &^= profileFeedback
	case "AVPF":
		*b |= profileFeedback
	case "DTLS":
		*b |= profileDTLS | profileSRTP
	default:
		return "", false
	}
	switch *b {
	case profileFeedback:
		return ProtocolRTPAVPF, true
	case profileSRTP:
		return ProtocolRTPSAVP, true
	case profileSRTP | profileFeedback:
		return ProtocolRTPSAVPF, true
	case profileSRTP | profileDTLS:
		return ProtocolTLSSAVP, true
	case profileSRTP | profileFeedback | profileDTLS:
		return ProtocolTLSSAVPF, true
	}
	return ProtocolRTPAVP, true
}

// scriptParser cuts a script string into words.
type scriptParser struct {
	s        string
	elements int
}

// next returns the next word: a key with a nil value, or a key and its value
// (string, []any or map[string]any). It ends at the end of the string, at an
// unpaired "]" or at a limit.
func (p *scriptParser) next(depth int) (key string, value any, ok bool) {
	p.s = strings.TrimLeft(p.s, " \t\r\n,")
	if p.s == "" || p.s[0] == ']' || p.elements >= MaxElements {
		return "", nil, false
	}
	p.elements++
	if p.s[0] == '[' { // a list without a key
		return "", p.bracket(depth), true
	}
	end := strings.IndexAny(p.s, " \t\r\n=]")
	if end < 0 {
		key, p.s = p.s, ""
		return key, nil, true
	}
	if end == 0 { // "=" without a key
		p.s = p.s[1:]
		return "=", nil, true
	}
	key, p.s = p.s[:end], p.s[end:]
	if p.s[0] != '=' {
		return key, nil, true
	}
	p.s = p.s[1:]
	if strings.HasPrefix(p.s, "[") {
		return key, p.bracket(depth), true
	}
	stop := " \t\r\n"
	if depth > 1 {
		stop += "]"
	}
	end = strings.IndexAny(p.s, stop)
	if end < 0 {
		end = len(p.s)
	}
	value, p.s = p.s[:end], p.s[end:]
	return key, value, true
}

// bracket parses "[…]" at the start of p.s: a dictionary if its first word is
// key=[…], else a list in which key=value stays one word. IPv6 addresses may
// stand in brackets too; they come out as a list of one word.
func (p *scriptParser) bracket(depth int) any {
	p.s = p.s[1:]
	if depth >= MaxDepth {
		p.s = ""
		return []any{}
	}
	var words []any
	var dict map[string]any
	for {
		key, value, ok := p.next(depth + 1)
		if !ok {
			break
		}
		switch v := value.(type) {
		case nil:
			words = append(words, key)
		case string:
			words = append(words, key+"="+v)
		default:
			if key == "" {
				words = append(words, v)
				continue
			}
			if dict == nil {
				dict = make(map[string]any)
			}
			dict[key] = v
		}
	}
	p.s = strings.TrimPrefix(p.s, "]")
	if dict == nil {
		return words
	}
	// A dictionary may mix key=[list] and key=word.
	for _, w := range words {
		if s, ok := w.(string); ok {
			if key, value, found := strings.Cut(s, "="); found {
				dict[key] = value
			}
		}
	}
	return dict
}
