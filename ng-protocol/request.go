package ng

import "net/netip"

// Command is the ng key "command". Names are matched exactly, case included.
type Command string

// Commands of the protocol.
const (
	CommandPing             Command = "ping"
	CommandOffer            Command = "offer"
	CommandAnswer           Command = "answer"
	CommandDelete           Command = "delete"
	CommandQuery            Command = "query"
	CommandList             Command = "list"
	CommandStatistics       Command = "statistics"
	CommandStartRecording   Command = "start recording"
	CommandStopRecording    Command = "stop recording"
	CommandPauseRecording   Command = "pause recording"
	CommandStartForwarding  Command = "start forwarding"
	CommandStopForwarding   Command = "stop forwarding"
	CommandBlockDTMF        Command = "block DTMF"
	CommandUnblockDTMF      Command = "unblock DTMF"
	CommandBlockMedia       Command = "block media"
	CommandUnblockMedia     Command = "unblock media"
	CommandSilenceMedia     Command = "silence media"
	CommandUnsilenceMedia   Command = "unsilence media"
	CommandPlayMedia        Command = "play media"
	CommandStopMedia        Command = "stop media"
	CommandPlayDTMF         Command = "play DTMF"
	CommandPublish          Command = "publish"
	CommandSubscribeRequest Command = "subscribe request"
	CommandSubscribeAnswer  Command = "subscribe answer"
	CommandUnsubscribe      Command = "unsubscribe"
	CommandInjectStart      Command = "inject start"
	CommandInjectStop       Command = "inject stop"
	CommandConnect          Command = "connect"
	CommandMesh             Command = "mesh"
	CommandTransform        Command = "transform"
	CommandCreate           Command = "create"
	CommandCreateAnswer     Command = "create answer"
	CommandCLI              Command = "cli"
)

// Known reports whether c is any command of the protocol.
func (c Command) Known() bool {
	switch c {
	case CommandPing, CommandOffer, CommandAnswer, CommandDelete,
		CommandQuery, CommandList, CommandStatistics,
		CommandStartRecording, CommandStopRecording, CommandPauseRecording,
		CommandStartForwarding, CommandStopForwarding,
		CommandBlockDTMF, CommandUnblockDTMF, CommandBlockMedia, CommandUnblockMedia,
		CommandSilenceMedia, CommandUnsilenceMedia,
		CommandPlayMedia, CommandStopMedia, CommandPlayDTMF,
		CommandPublish, CommandSubscribeRequest, CommandSubscribeAnswer, CommandUnsubscribe,
		CommandInjectStart, CommandInjectStop, CommandConnect, CommandMesh,
		CommandTransform, CommandCreate, CommandCreateAnswer, CommandCLI, "CLI":
		return true
	}
	return false
}

// Request is one ng command with its keys and flags. The zero value of every
// field but Command means that the key is absent.
type Request struct {
	Command Command
	Peer    netip.AddrPort // who has sent it, as the transport tells; not a key

	// Identity of the call and of its two parties.
	CallID    string // "call-id"
	FromTag   string // "from-tag"; in an answer it stays the offerer's tag
	ToTag     string // "to-tag"
	ViaBranch string // "via-branch"; names a forked branch, never parsed
	Label     string // "label", "from-label"; another name for the party
	SetLabel  string // "set-label"; the party that was found by Label or otherwise gets this one
	ToLabel   string // "to-label"; the label of the receiver, or as SetLabel if nobody has it
	SDP       string // "sdp"; the body as received
	Empty     Given  // which of these came as empty text, which counts as given

	// Participants of commands that concern more than a dialogue.
	Participants Participants

	// Facts about the SIP message.
	ReceivedFrom   netip.Addr     // "received from"; used with FlagSIPSourceAddress only
	SIPMessageType SIPMessageType // "sip-message-type"
	SIPCode        int            // "sip-code"; 200 and above mark a final response
	Supports       []string       // "supports"; see SupportsLoadLimit

	// What the receiving side of this message is to be offered.
	TransportProtocol TransportProtocol // "transport protocol"; empty = as received
	ICE               ICE               // "ICE"
	ICELite           ICELite           // "ICE-lite"
	DTLS              DTLS              // "DTLS"
	DTLSReverse       DTLS              // "DTLS-reverse"; towards the offerer, for the later answer
	DTLSFingerprint   string            // "DTLS-fingerprint"; hash name in lower case, for example "sha-256"
	SDES              SDES              // "SDES"
	RTCPMux           RTCPMux           // "rtcp-mux"
	Bundle            Bundle            // "bundle"
	Replace           Replace           // "replace"
	Flags             Flags             // "flags" and the keys that mean the same

	// Addresses.
	Direction        [2]string        // "direction" (or "from-interface", "to-interface"): towards sender, towards receiver
	Interface        string           // "interface"; for commands with one side
	AddressFamily    AddressFamily    // "address family" of the receiving side
	MediaAddress     string           // "media address"; put into the SDP in place of the real one
	EndpointLearning EndpointLearning // "endpoint-learning"

	// Numbers; nil = absent.
	TOS         *int // "TOS"; 0–255
	DeleteDelay *int // "delete delay"; seconds, 0 = at once
	Limit       *int // "limit"; how many calls "list" returns, 32 if absent

	// Kept for later commands and for transcoding.
	Codec          Codec    // "codec"
	Ptime          int      // "ptime"; milliseconds
	PtimeReverse   int      // "ptime-reverse"; milliseconds
	OSRTP          []string // "OSRTP"
	RecordCall     Switch   // "record call"
	GenerateRTCP   Switch   // "generate RTCP"
	Metadata       string   // "metadata"
	SDPMediaRemove []string // "sdp-media-remove"; media types
	SDPAttr        []SDPAttr

	MediaEcho     MediaEcho // "media echo"
	DropTraffic   Switch    // "drop-traffic": "start" is on, "stop" is off
	DTMF          DTMF
	Play          Play
	CallbackURI   string // "xmlrpc-callback"; who is to be told of a timeout
	RecordingFile string // "recording-file", "output-destination"
	Body          string // "body"; the line of the command cli

	// RTPPFlags is the raw script string of the key "rtpp-flags". Decoding a
	// request has already applied it to the fields above.
	RTPPFlags string

	// Unknown lists keys, flags and values that were not understood, as "key",
	// "flags: word" or "key: value". They are to be logged and ignored.
	Unknown []string

	// fields is what the request was decoded from, for WithTemplates.
	fields Dict
}

// Given is a set of identity keys.
type Given uint8

// Keys of a Given.
const (
	GivenCallID Given = 1 << iota
	GivenFromTag
	GivenToTag
	GivenSDP
)

// HasCallID reports whether there is a "call-id", be it empty.
func (r *Request) HasCallID() bool { return r.CallID != "" || r.Empty&GivenCallID != 0 }

// HasFromTag reports whether there is a "from-tag", be it empty.
func (r *Request) HasFromTag() bool { return r.FromTag != "" || r.Empty&GivenFromTag != 0 }

// HasToTag reports whether there is a "to-tag", be it empty.
func (r *Request) HasToTag() bool { return r.ToTag != "" || r.Empty&GivenToTag != 0 }

// HasSDP reports whether there is an "sdp", be it empty.
func (r *Request) HasSDP() bool { return r.SDP != "" || r.Empty&GivenSDP != 0 }

// Participants says who takes part in a command besides FromTag and ToTag.
type Participants struct {
	Address      string   // "address"; the party that has told this address in its SDP
	All          string   // "all"; "all", "offer-answer", "except-offer-answer", "flows"
	FromTags     []string // "from-tags"
	ToCallID     string   // "to-call-id"; connect: the call of ToTag
	SourceTag    string   // "source-tag"; inject: who is heard
	SourceCallID string   // "source-call-id"; inject: the call of SourceTag
	Calls        []string // "calls"; mesh: the calls that Mesh is about
	Mesh         []Mesh   // "tags"
	Instance     string   // "instance"
}

// Mesh is one entry of the key "tags" of mesh.
type Mesh struct {
	From string
	To   []string
}

// MediaEcho is what becomes of the media of a call that is its own mirror.
type MediaEcho uint8

// Values of Request.MediaEcho: which side's packets are sent back to it, none
// being passed on.
const (
	EchoAbsent    MediaEcho = iota
	EchoBlackhole           // neither
	EchoForward             // those of the receiver of the message
	EchoBackwards           // those of its sender
	EchoBoth
)

// DTMF holds the keys about telephone events (RFC 4733).
type DTMF struct {
	Security string // "DTMF-security": "drop", "silence", "tone", "random", "zero", "DTMF", "off"
	Code     string // "code", "digit"; play DTMF: one of 0–9 * # A–D
	Duration *int   // "duration", ms
	Pause    *int   // "pause" behind it, ms
	Volume   *int   // "volume", dBm0: 0 to −63, or without the sign
}

// Play tells what play media is to play.
type Play struct {
	From string // which key names it: "file", "blob" or "db-id"; empty = none
}

// SupportsLoadLimit is the entry of Request.Supports that allows a LoadLimit
// reply instead of an error.
const SupportsLoadLimit = "load limit"

// SupportsLoadLimit reports whether the client understands LoadLimit replies.
func (r *Request) SupportsLoadLimit() bool {
	for _, s := range r.Supports {
		if s == SupportsLoadLimit {
			return true
		}
	}
	return false
}

// SIPMessageType tells whether an SDP body came in a SIP request or response.
type SIPMessageType uint8

// Values of Request.SIPMessageType.
const (
	SIPMessageAbsent  SIPMessageType = iota
	SIPMessageRequest                // "sip_request", "request"
	SIPMessageReply                  // "sip_reply", "reply"
)

// TransportProtocol is an RTP profile as written in an m= line, or "accept".
type TransportProtocol string

// RTP profiles (RFC 3551, 4585, 3711, 5124, 5764).
const (
	ProtocolAsReceived TransportProtocol = ""
	ProtocolRTPAVP     TransportProtocol = "RTP/AVP"
	ProtocolRTPAVPF    TransportProtocol = "RTP/AVPF"
	ProtocolRTPSAVP    TransportProtocol = "RTP/SAVP"
	ProtocolRTPSAVPF   TransportProtocol = "RTP/SAVPF"
	ProtocolTLSSAVP    TransportProtocol = "UDP/TLS/RTP/SAVP"
	ProtocolTLSSAVPF   TransportProtocol = "UDP/TLS/RTP/SAVPF"

	// ProtocolAccept, in an answer, keeps what the offerer used.
	ProtocolAccept TransportProtocol = "accept"
)

// ICE is what happens to ICE attributes towards the receiving side.
type ICE uint8

// Values of Request.ICE.
const (
	ICEAbsent     ICE = iota // as ICEDefault
	ICERemove                // strip all ICE attributes
	ICEForce                 // strip, then only our own candidates
	ICEForceRelay            // keep the client's except relay ones, add ours as type relay
	ICEDefault               // like force if the body has ICE, else nothing
	ICEOptional              // add a full set if the body has none, else ours at low priority
)

// ICELite tells towards which side mediad acts as an ICE-lite agent (RFC 8445 §2.5).
type ICELite uint8

// Values of Request.ICELite.
const (
	ICELiteAbsent ICELite = iota
	ICELiteOff
	ICELiteForward  // towards the receiver of the message
	ICELiteBackward // towards its sender
	ICELiteBoth
)

// DTLS is the DTLS role towards a side (RFC 5763).
type DTLS uint8

// Values of Request.DTLS and Request.DTLSReverse.
const (
	DTLSAbsent DTLS = iota
	DTLSOff
	DTLSPassive
	DTLSActive
)

// SDES holds the key "SDES" and the flags with the prefix "SDES-" (RFC 4568).
// Suite names are in upper case.
type SDES struct {
	Off         bool     // no a=crypto at all
	No          []string // suites left out
	Only        []string // if not empty, no other suites
	NoNew       bool     // add no suites to those received
	Order       []string // preferred order towards the receiver
	OffererPref []string // preferred order towards the offerer, in the answer
	Pad         bool     // base64 padding in key material
	Lifetime    bool     // add the key lifetime 2^31
	Static      bool     // do not change keys on a re-invite
	Prefer      bool     // SDES rather than DTLS if both are possible

	UnencryptedSRTP     Switch // session parameter UNENCRYPTED_SRTP
	UnencryptedSRTCP    Switch // session parameter UNENCRYPTED_SRTCP
	UnauthenticatedSRTP Switch // session parameter UNAUTHENTICATED_SRTP
}

// Switch is an on/off value that may be absent.
type Switch uint8

// Values of a Switch.
const (
	SwitchAbsent Switch = iota
	SwitchOn
	SwitchOff
)

// AddressFamily is the family of an address in SDP (RFC 8866 §5.7).
type AddressFamily uint8

// Values of Request.AddressFamily.
const (
	FamilyAbsent AddressFamily = iota
	FamilyIP4
	FamilyIP6
)

// EndpointLearning is how the address of a peer is learned from its packets.
type EndpointLearning uint8

// Values of Request.EndpointLearning.
const (
	LearningAbsent    EndpointLearning = iota
	LearningOff                        // never
	LearningImmediate                  // from the first packet
	LearningDelayed                    // from the first packet after the learning time
	LearningHeuristic                  // the best match with the SDP within the learning time
)

// Codec holds the lists of the key "codec" and the flags with the prefix
// "codec-". Entries read name/rate/channels/bitrate/ptime/format/options with
// trailing parts optional, or "all", "full", "any".
type Codec struct {
	Strip     []string
	Offer     []string
	Except    []string
	Mask      []string
	Transcode []string
	Accept    []string
	Consume   []string
	Ignore    []string
	Set       []string
}

// SDPAttr is one attribute operation of the key "sdp-attr".
type SDPAttr struct {
	Section string // "global", "none", "audio", "video", …
	Action  string // "add", "remove", "substitute"
	Value   string // attribute without "a="
	With    string // substitute: the new value
}
