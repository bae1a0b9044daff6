package ng

// String returns the wire spelling of the flag.
func (f Flag) String() string {
	if int(f) < len(flagNames) {
		return flagNames[f]
	}
	return "unknown flag"
}

// flagOf finds a flag by its normal spelling.
func flagOf(word string) (Flag, bool) {
	switch word {
	case "rtcp-mirror":
		return FlagMirrorRTCP, true
	case "debugging":
		return FlagDebug, true
	case "no-codec-renegotiation":
		return FlagReuseCodecs, true
	case "block-short-packets":
		return FlagBlockShort, true
	case "web-rtc":
		return FlagWebRTC, true
	}
	for f := range flagNames {
		if sameWord(flagNames[f], word) {
			return Flag(f), true
		}
	}
	return 0, false
}

// sameWord tells whether name has the given normal spelling.
func sameWord(name, word string) bool {
	if len(name) != len(word) {
		return false
	}
	for i := range len(name) {
		if normalByte(name[i]) != word[i] {
			return false
		}
	}
	return true
}

// silent lists words that have no meaning any more, but still stand in many
// scripts: no reason for a warning.
func silent(word string) bool {
	switch word {
	case "force", "auto-bridge", "bridge", "internal", "external", "repacketize",
		"reorder-codecs", "symmetric-codecs", "asymmetric-codecs", "ice2":
		return true
	}
	return false
}

// later tells which keys belong to what this version does not do yet: a player,
// a recorder, a transcoder. Commands that need them say so; in others they
// change nothing.
func later(key string) bool {
	switch key {
	case "repeat-times", "repeat-duration", "start-pos", "volume", "duration", "pause", "frequency",
		"delay-buffer", "dtmf-delay", "dtmf-log-dest", "trigger", "trigger-end", "trigger-end-time", "trigger-end-digits",
		"dtmf-security-trigger", "dtmf-security-trigger-end",
		"recording-dir", "recording-pattern", "output-path", "recording-media-slots",
		"recording-media-slot-offer", "recording-media-slot-answer",
		"vsc-start-rec", "vsc-stop-rec", "vsc-start-stop-rec", "vsc-pause-rec", "vsc-pause-resume-rec",
		"vsc-start-pause-resume-rec",
		"media", "alias-key", "b2b-url":
		return true
	}
	return false
}

// flagNames holds the wire spelling of each flag. It is never written.
var flagNames = [flagCount]string{
	FlagTrustAddress:          "trust address",
	FlagSIPSourceAddress:      "SIP source address",
	FlagStrictSource:          "strict source",
	FlagMediaHandover:         "media handover",
	FlagAsymmetric:            "asymmetric",
	FlagSymmetric:             "symmetric",
	FlagPortLatching:          "port latching",
	FlagNoPortLatching:        "no port latching",
	FlagNATWait:               "NAT-wait",
	FlagPierceNAT:             "pierce NAT",
	FlagGenerateMID:           "generate mid",
	FlagNoRTCPAttribute:       "no rtcp attribute",
	FlagFullRTCPAttribute:     "full rtcp attribute",
	FlagOriginalSendrecv:      "original sendrecv",
	FlagLoopProtect:           "loop protect",
	FlagInactive:              "inactive",
	FlagTrickleICE:            "trickle ICE",
	FlagFragment:              "fragment",
	FlagRejectICE:             "reject ICE",
	FlagWebRTC:                "WebRTC",
	FlagNoTLSID:               "no tls id",
	FlagPadCrypto:             "pad crypto",
	FlagRecrypt:               "recrypt",
	FlagStripExtmap:           "strip extmap",
	FlagGenerateRTCP:          "generate RTCP",
	FlagMirrorRTCP:            "mirror RTCP",
	FlagFatal:                 "fatal",
	FlagFast:                  "fast",
	FlagToTag:                 "to-tag",
	FlagDiscardRecording:      "discard recording",
	FlagNewBranch:             "new branch",
	FlagProvisional:           "provisional",
	FlagReset:                 "reset",
	FlagNoRedisUpdate:         "no redis update",
	FlagDebug:                 "debug",
	FlagDirectional:           "directional",
	FlagBidirectional:         "bidirectional",
	FlagUnidirectional:        "unidirectional",
	FlagAll:                   "all",
	FlagMix:                   "mix",
	FlagEgress:                "egress",
	FlagEarlyMedia:            "early media",
	FlagUnsubscribe:           "unsubscribe",
	FlagSIPREC:                "SIPREC",
	FlagPause:                 "pause",
	FlagBlockDTMF:             "block DTMF",
	FlagBlockEgress:           "block egress",
	FlagBlockShort:            "block short",
	FlagInjectDTMF:            "inject DTMF",
	FlagDetectDTMF:            "detect DTMF",
	FlagRecordCall:            "record call",
	FlagExcludeRecording:      "exclude recording",
	FlagSkipRecordingDB:       "skip recording db",
	FlagRecordingAnnouncement: "recording announcement",
	FlagRecordingVSC:          "recording vsc",
	FlagAllowTranscoding:      "allow transcoding",
	FlagAlwaysTranscode:       "always transcode",
	FlagForceTranscoding:      "force transcoding",
	FlagSingleCodec:           "single codec",
	FlagStaticCodecs:          "static codecs",
	FlagReuseCodecs:           "reuse codecs",
	FlagAllowAsymmetricCodecs: "allow asymmetric codecs",
	FlagAllowNoCodecMedia:     "allow no codec media",
	FlagNoJitterBuffer:        "no jitter buffer",
	FlagPassthrough:           "passthrough",
	FlagNoPassthrough:         "no passthrough",
	FlagPlayer:                "player",
	FlagNoPlayer:              "no player",
}
