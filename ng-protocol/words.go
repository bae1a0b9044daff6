package ng

import (
	"strconv"
	"strings"
)

// normal is the spelling in which words are compared: lower case, hyphens for
// spaces and underscores. It has the length of the word, so that an offset in
// one is an offset in the other.
func normal(word string) string {
	clean := true
	for i := 0; i < len(word); i++ {
		if c := word[i]; c == ' ' || c == '_' || (c >= 'A' && c <= 'Z') {
			clean = false
			break
		}
	}
	if clean {
		return word
	}
	b := []byte(word)
	for i, c := range b {
		b[i] = normalByte(c)
	}
	return string(b)
}

func normalByte(c byte) byte {
	switch {
	case c == ' ' || c == '_':
		return '-'
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	}
	return c
}

// unescape undoes what stands for "=" and space in words of the key "flags".
func unescape(value string) string {
	return strings.ReplaceAll(strings.ReplaceAll(value, "--", "="), "..", " ")
}

// text is v as a string; integers are taken as decimal text.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	}
	return "", false
}

// number is v as an integer; decimal text is taken too.
func number(v any) (int, bool) {
	switch v := v.(type) {
	case int64:
		if n := int(v); int64(n) == v {
			return n, true
		}
	case string:
		if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil {
			return n, true
		}
	}
	return 0, false
}

// list is v as a list of words: a list, or one string with commas. Empty words
// are left out. It reports false if more had to be left out; the rest is valid.
func list(v any) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return split(v, ','), true
	case int64:
		return []string{strconv.FormatInt(v, 10)}, true
	case []any:
		words, all := make([]string, 0, len(v)), true
		for _, e := range v {
			w, ok := text(e)
			if w != "" {
				words = append(words, w)
			}
			all = all && (ok || e == nil)
		}
		return words, all
	}
	return nil, false
}

// split cuts s at sep, trims the words and leaves empty ones out.
func split(s string, sep byte) []string {
	var words []string
	for w := range strings.SplitSeq(s, string(sep)) {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	return words
}

func switchOf(word string) (Switch, bool) {
	switch normal(word) {
	case "yes", "on", "true", "1", "enable", "enabled":
		return SwitchOn, true
	case "no", "off", "false", "0", "disable", "disabled":
		return SwitchOff, true
	}
	return SwitchAbsent, false
}

func echoOf(word string) (MediaEcho, bool) {
	switch normal(word) {
	case "blackhole", "sinkhole":
		return EchoBlackhole, true
	case "forward":
		return EchoForward, true
	case "backwards", "backward":
		return EchoBackwards, true
	case "both":
		return EchoBoth, true
	}
	return EchoAbsent, false
}

func trafficOf(word string) (Switch, bool) {
	switch normal(word) {
	case "start":
		return SwitchOn, true
	case "stop":
		return SwitchOff, true
	}
	return SwitchAbsent, false
}

func protocolOf(word string) (TransportProtocol, bool) {
	p := TransportProtocol(strings.ToUpper(strings.TrimSpace(word)))
	switch p {
	case ProtocolRTPAVP, ProtocolRTPAVPF, ProtocolRTPSAVP, ProtocolRTPSAVPF, ProtocolTLSSAVP, ProtocolTLSSAVPF:
		return p, true
	case "ACCEPT":
		return ProtocolAccept, true
	}
	return ProtocolAsReceived, false
}

func dtlsOf(word string) (DTLS, bool) {
	switch normal(word) {
	case "off", "no", "disable":
		return DTLSOff, true
	case "passive":
		return DTLSPassive, true
	case "active":
		return DTLSActive, true
	}
	return DTLSAbsent, false
}

func iceLiteOf(word string) (ICELite, bool) {
	switch normal(word) {
	case "off", "no", "disable":
		return ICELiteOff, true
	case "forward", "offer":
		return ICELiteForward, true
	case "backward", "backwards", "reverse":
		return ICELiteBackward, true
	case "both":
		return ICELiteBoth, true
	}
	return ICELiteAbsent, false
}

func learningOf(word string) (EndpointLearning, bool) {
	switch normal(word) {
	case "off":
		return LearningOff, true
	case "immediate":
		return LearningImmediate, true
	case "delayed":
		return LearningDelayed, true
	case "heuristic":
		return LearningHeuristic, true
	}
	return LearningAbsent, false
}

func familyOf(word string) (AddressFamily, bool) {
	switch normal(word) {
	case "ip4", "ipv4":
		return FamilyIP4, true
	case "ip6", "ipv6":
		return FamilyIP6, true
	}
	return FamilyAbsent, false
}

func rtcpMuxOf(word string) (RTCPMux, bool) {
	switch normal(word) {
	case "offer":
		return RTCPMuxOffer, true
	case "require":
		return RTCPMuxRequire, true
	case "demux":
		return RTCPMuxDemux, true
	case "accept":
		return RTCPMuxAccept, true
	case "reject":
		return RTCPMuxReject, true
	}
	return 0, false
}

func bundleOf(word string) (Bundle, bool) {
	switch normal(word) {
	case "offer":
		return BundleOffer, true
	case "require":
		return BundleRequire, true
	case "accept":
		return BundleAccept, true
	case "reject":
		return BundleReject, true
	case "strict":
		return BundleStrict, true
	}
	return 0, false
}

func replaceOf(word string) (Replace, bool) {
	switch normal(word) {
	case "origin":
		return ReplaceOrigin, true
	case "origin-full":
		return ReplaceOriginFull, true
	case "sdp-version":
		return ReplaceSDPVersion, true
	case "session-name":
		return ReplaceSessionName, true
	case "username":
		return ReplaceUsername, true
	case "zero-address":
		return ReplaceZeroAddress, true
	case "force-increment-sdp-ver", "force-increment-sdp-version":
		return ReplaceForceIncrementSDPVersion, true
	case "session-connection":
		return ReplaceSessionConnection, true
	}
	return 0, false
}
