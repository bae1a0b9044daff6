package ng

// Flag is one word of the key "flags".
type Flag uint8

// Flags of the protocol; the comment gives the wire spelling where the name
// does not. Space and hyphen are the same on the wire.
const (
	FlagTrustAddress Flag = iota // use the address in the SDP (default)
	FlagSIPSourceAddress
	FlagStrictSource  // after learning, drop packets from elsewhere
	FlagMediaHandover // after learning, follow a changed source
	FlagAsymmetric    // send to the SDP address, never to a learned one
	FlagSymmetric     // accepted without effect
	FlagPortLatching
	FlagNoPortLatching
	FlagNATWait
	FlagPierceNAT
	FlagGenerateMID
	FlagNoRTCPAttribute
	FlagFullRTCPAttribute
	FlagOriginalSendrecv
	FlagLoopProtect
	FlagInactive
	FlagTrickleICE
	FlagFragment // the body is a trickle ICE fragment
	FlagRejectICE
	FlagWebRTC // decoding has already set what it implies
	FlagNoTLSID
	FlagPadCrypto
	FlagRecrypt
	FlagStripExtmap
	FlagGenerateRTCP // also RTCP-generate-like keys; see Request.GenerateRTCP
	FlagMirrorRTCP   // "RTCP mirror"
	FlagFatal        // delete: an unknown call is an error
	FlagFast         // delete: no statistics in the reply
	FlagToTag        // delete: honour the to-tag
	FlagDiscardRecording
	FlagNewBranch   // answer with another to-tag makes a new party, not an alias
	FlagProvisional // not a final response whatever the sip-code
	FlagReset       // drop all media state and start over
	FlagNoRedisUpdate
	FlagDebug
	FlagDirectional
	FlagBidirectional
	FlagUnidirectional
	FlagAll
	FlagMix
	FlagEgress
	FlagEarlyMedia
	FlagUnsubscribe
	FlagSIPREC
	FlagPause
	FlagBlockDTMF
	FlagBlockEgress
	FlagBlockShort
	FlagInjectDTMF
	FlagDetectDTMF
	FlagRecordCall
	FlagExcludeRecording
	FlagSkipRecordingDB
	FlagRecordingAnnouncement
	FlagRecordingVSC
	FlagAllowTranscoding
	FlagAlwaysTranscode
	FlagForceTranscoding
	FlagSingleCodec
	FlagStaticCodecs
	FlagReuseCodecs // "reuse codecs", "no codec renegotiation"
	FlagAllowAsymmetricCodecs
	FlagAllowNoCodecMedia
	FlagNoJitterBuffer
	FlagPassthrough
	FlagNoPassthrough
	FlagPlayer
	FlagNoPlayer

	flagCount
)

// Flags is a set of flags. It is a value: assigning copies it.
type Flags [(int(flagCount) + 63) / 64]uint64

// FlagsOf returns the set of the given flags.
func FlagsOf(flags ...Flag) Flags {
	var s Flags
	for _, f := range flags {
		s.Set(f)
	}
	return s
}

// Has reports whether f is in the set.
func (s *Flags) Has(f Flag) bool { return s[f/64]&(1<<(f%64)) != 0 }

// Set adds f.
func (s *Flags) Set(f Flag) { s[f/64] |= 1 << (f % 64) }

// Clear removes f.
func (s *Flags) Clear(f Flag) { s[f/64] &^= 1 << (f % 64) }

// RTCPMux is the set of words of the key "rtcp-mux" (RFC 5761).
type RTCPMux uint8

// Words of the key "rtcp-mux".
const (
	RTCPMuxOffer   RTCPMux = 1 << iota // offer it to the receiver
	RTCPMuxRequire                     // offer it and give no second port
	RTCPMuxDemux                       // towards a side without it
	RTCPMuxAccept                      // accept it towards the sender
	RTCPMuxReject                      // refuse it towards the sender
)

// Has reports whether all bits of w are set.
func (m RTCPMux) Has(w RTCPMux) bool { return m&w == w }

// Bundle is the set of words of the key "bundle" (RFC 9143).
type Bundle uint8

// Words of the key "bundle".
const (
	BundleOffer Bundle = 1 << iota
	BundleRequire
	BundleAccept
	BundleReject
	BundleStrict
)

// Has reports whether all bits of w are set.
func (b Bundle) Has(w Bundle) bool { return b&w == w }

// Replace is the set of words of the key "replace".
type Replace uint16

// Words of the key "replace".
const (
	ReplaceOrigin Replace = 1 << iota // address in o=
	ReplaceOriginFull
	ReplaceSDPVersion
	ReplaceSessionName
	ReplaceUsername
	ReplaceZeroAddress
	ReplaceForceIncrementSDPVersion
	ReplaceSessionConnection // c= of the session part also where it has no effect
)

// Has reports whether all bits of w are set.
func (r Replace) Has(w Replace) bool { return r&w == w }
