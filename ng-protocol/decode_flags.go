package ng

import "strings"

// applyFlag applies one word of the key "flags". It reports false for a word
// that is not known.
func (r *Request) applyFlag(word string) bool {
	w := normal(word)
	if f, ok := flagOf(w); ok {
		switch f { // of the two the later one counts
		case FlagTrustAddress:
			r.Flags.Clear(FlagSIPSourceAddress)
		case FlagSIPSourceAddress:
			r.Flags.Clear(FlagTrustAddress)
		}
		r.Flags.Set(f)
		return true
	}
	if silent(w) {
		return true
	}
	// Some scripts put key=value among the flags.
	if key, value, ok := strings.Cut(word, "="); ok && mayBeFlag(w[:len(key)]) && r.applyKey(key, value) {
		return true
	}
	return r.applyPrefixed(word, w)
}

// mayBeFlag tells which keys make no sense within "flags".
func mayBeFlag(k string) bool {
	switch k {
	case "flags", "command", "rtpp-flags", "sdp", "call-id", "from-tag":
		return false
	}
	return true
}

// applyPrefixed applies flags that carry the name of their key as a prefix; w
// is the normal spelling of word.
func (r *Request) applyPrefixed(word, w string) bool {
	if value, ok := tail(word, w, "sdes-"); ok {
		return r.applySDES(unescape(value))
	}
	if value, ok := tail(word, w, "rtcp-mux-"); ok {
		return bits(&r.RTCPMux, rtcpMuxOf)(value)
	}
	if value, ok := tail(word, w, "bundle-"); ok {
		return bits(&r.Bundle, bundleOf)(value)
	}
	if value, ok := tail(word, w, "replace-"); ok {
		return bits(&r.Replace, replaceOf)(value)
	}
	if value, ok := tail(word, w, "from-tags-"); ok {
		return collect(&r.Participants.FromTags, unescape)(value)
	}
	if value, ok := tail(word, w, "osrtp-"); ok {
		return collect(&r.OSRTP, normal)(value)
	}
	if value, ok := tail(word, w, "endpoint-learning-"); ok {
		learning, ok := learningOf(value)
		if ok {
			r.EndpointLearning = learning
		}
		return ok
	}
	if value, ok := tail(word, w, "transcode-"); ok {
		return r.Codec.add("transcode", unescape(value))
	}
	if value, ok := tail(word, w, "codec-"); ok {
		op, codec, ok := strings.Cut(value, "-")
		return ok && r.Codec.add(strings.ToLower(op), unescape(codec))
	}
	if value, ok := tail(word, w, "sdp-attr-"); ok {
		return r.applySDPAttrFlag(value)
	}
	return false
}

// tail is what follows a prefix, in the word's own spelling.
func tail(word, w, prefix string) (string, bool) {
	if len(w) > len(prefix) && strings.HasPrefix(w, prefix) {
		return word[len(prefix):], true
	}
	return "", false
}

// add appends a codec to the list named op.
func (c *Codec) add(op, codec string) bool {
	l := c.list(op)
	if l == nil || codec == "" {
		return false
	}
	*l = append(*l, codec)
	return true
}

func (c *Codec) list(op string) *[]string {
	switch op {
	case "strip":
		return &c.Strip
	case "offer":
		return &c.Offer
	case "except":
		return &c.Except
	case "mask":
		return &c.Mask
	case "transcode":
		return &c.Transcode
	case "accept":
		return &c.Accept
	case "consume":
		return &c.Consume
	case "ignore":
		return &c.Ignore
	case "set":
		return &c.Set
	}
	return nil
}

// codecOperations names the lists of a Codec in the order they are written.
var codecOperations = [...]string{"strip", "offer", "except", "mask", "transcode", "accept", "consume", "ignore", "set"}

// applyCodecs applies the dictionary of lists of the key "codec".
func (r *Request) applyCodecs(v any) {
	m, ok := v.(map[string]any)
	if !ok {
		r.unknown("codec", v)
		return
	}
	for _, op := range sortedKeys(m) {
		words, ok := list(m[op])
		if !ok || r.Codec.list(normal(op)) == nil {
			r.unknown("codec", op)
		}
		for _, w := range words {
			r.Codec.add(normal(op), strings.ReplaceAll(w, "--", "="))
		}
	}
}

// applySDPAttrFlag applies "<action>-<section>-<value>", the flag form of
// "sdp-attr".
func (r *Request) applySDPAttrFlag(word string) bool {
	action, rest, ok := strings.Cut(word, "-")
	if !ok {
		return false
	}
	section, value, ok := strings.Cut(rest, "-")
	if !ok {
		return false
	}
	attr := SDPAttr{Section: normal(section), Action: normal(action), Value: unescape(value)}
	if attr.Action == "substitute" {
		attr.Value, attr.With, ok = strings.Cut(attr.Value, ">")
	}
	if !ok || !attr.valid() {
		return false
	}
	r.SDPAttr = append(r.SDPAttr, attr)
	return true
}

func (a *SDPAttr) valid() bool {
	switch a.Action {
	case "add", "remove", "substitute":
		return a.Section != "" && a.Value != ""
	}
	return false
}

// applySDPAttrs applies {section: {action: [values]}}.
func (r *Request) applySDPAttrs(v any) {
	sections, ok := v.(map[string]any)
	if !ok {
		r.unknown("sdp-attr", v)
		return
	}
	for _, section := range sortedKeys(sections) {
		actions, ok := sections[section].(map[string]any)
		if !ok {
			r.unknown("sdp-attr", section)
			continue
		}
		for _, action := range sortedKeys(actions) {
			if !r.applySDPAttrAction(normal(section), normal(action), actions[action]) {
				r.unknown("sdp-attr", section+" "+action)
			}
		}
	}
}

// applySDPAttrAction applies the values of one action: a list of attributes, or
// for substitute a pair of them or a list of pairs.
func (r *Request) applySDPAttrAction(section, action string, v any) bool {
	if action == "substitute" {
		if pairs, ok := v.([]any); ok && len(pairs) > 0 {
			if _, nested := pairs[0].([]any); nested {
				for _, pair := range pairs {
					if !r.applySDPAttrAction(section, action, pair) {
						return false
					}
				}
				return true
			}
		}
		pair, ok := list(v)
		if !ok || len(pair) != 2 {
			return false
		}
		r.SDPAttr = append(r.SDPAttr, SDPAttr{Section: section, Action: action, Value: pair[0], With: pair[1]})
		return true
	}
	values, ok := list(v)
	if !ok {
		return false
	}
	for _, value := range values {
		attr := SDPAttr{Section: section, Action: action, Value: value}
		if !attr.valid() {
			return false
		}
		r.SDPAttr = append(r.SDPAttr, attr)
	}
	return true
}
