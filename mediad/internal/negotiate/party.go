package negotiate

import (
	"net/netip"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// Party is a snapshot of one side of a call: what its last SDP said and what
// it was told in return. It is plain data. The zero value with a tag is a
// party that nothing is known of yet. Plan never writes into the parties that
// it is handed, it returns new ones.
type Party struct {
	Tag     string
	Sides   []Side  // one for each m= line, in order; never shrinks
	Session Session // session-level facts
}

// Side is one media of one party.
type Side struct {
	Remote Remote // what the party's last SDP said
	Local  Local  // what the local side that faces the party has to be
}

// Session holds the session-level facts of a party.
type Session struct {
	// BundleOffered tells that the party's last offer had an a=group:BUNDLE
	// line (RFC 9143).
	BundleOffered bool

	// ICEOptions are the words of the party's a=ice-options lines.
	ICEOptions []string

	// Sent is for the replace words that number versions and keep the origin.
	Sent SentOrigin
}

// SentOrigin is what the o= and s= lines of the first body that a party was
// given said, and what became of the version since.
type SentOrigin struct {
	Valid       bool // a body has been sent
	Username    string
	ID          string
	SessionName string
	Version     string // counted on from there whenever it is to be replaced
	Counted     bool   // it has been replaced before, so that Digest counts
	Digest      uint64 // of the body without its version, to notice a change
}

// Remote is what the last SDP of a party said about one media.
type Remote struct {
	Type     string // "audio", "video", "image", …
	Protocol string // as written in the m= line
	Rejected bool   // port 0 in the m= line

	// RTP and RTCP are where the party wants its packets: the address in the
	// SDP, or "received from" with the flag SIP source address. Invalid if
	// there is none (refused, c=0.0.0.0, a host name).
	RTP    netip.AddrPort
	RTCP   netip.AddrPort
	Family ng.AddressFamily // of the connection address

	RTCPMux   bool // a=rtcp-mux was there (RFC 5761)
	Direction sdp.Direction
	Hold      bool // connection address 0.0.0.0 or ::, and no ICE
	NoAddress bool // connection address 0.0.0.0 or ::, and no trickle ICE
	MID       string
	ICE       RemoteICE

	Fingerprints []sdp.Fingerprint
	Setup        sdp.Setup // RFC 4145, RFC 5763
	TLSID        string    // RFC 8842
	Crypto       []Crypto  // a=crypto lines that could be read, in order

	Payloads []sdp.Payload
	Ptime    int // milliseconds, 0 = absent
}

// RemoteICE is the ICE part of a party's SDP. Ufrag is empty if the party
// does not do ICE.
type RemoteICE struct {
	Ufrag           string
	Pwd             string
	Lite            bool
	Trickle         bool
	Candidates      []sdp.Candidate
	EndOfCandidates bool
}

// trickles reports whether the party does ICE and sends its candidates later.
func (r *RemoteICE) trickles() bool { return r.Trickle && r.Ufrag != "" }

// Crypto is one a=crypto line (RFC 4568).
type Crypto struct {
	Tag   int
	Suite string // upper case
	Key   []byte // master key followed by master salt

	MKI                 []byte // empty = none
	UnencryptedSRTP     bool
	UnencryptedSRTCP    bool
	UnauthenticatedSRTP bool
}

// Local is what the local side that faces one party has to be. After Plan the
// call makes it so: ports, ICE agent, DTLS endpoint, keys. It is the whole
// truth, not a difference: what is unchanged from one Plan to the next stays
// as it is.
type Local struct {
	// Active tells that the media is relayed. If not (port 0, or a protocol
	// that is only passed on as text), no port is needed and those held may be
	// released.
	Active bool

	// Raw tells that the datagrams are none of our business (UDPTL, SCTP over
	// DTLS, unknown protocols): one port, relayed as they are.
	Raw bool

	Interface string           // name of the local interface
	Family    ng.AddressFamily // of the local address
	Next      seat             // where it goes with the next offer to the party; zero = where it is
	Protocol  string           // profile spoken towards the party
	Profile   string           // said last by the party or to it: where the next offer to it begins
	Known     bool             // the media has been relayed before

	// Opportunistic tells that keys are exchanged although the profile is a
	// plain one (RFC 8643).
	Opportunistic bool

	RTCPPort       bool      // a second local port for RTCP is needed and advertised
	RTCPMux        bool      // RTP and RTCP share the first port, both ways
	RTCPMuxOffered bool      // offered, so RTCP may arrive on the first port
	RTCPMuxAnswer  MuxAnswer // what the answer to the party will say

	ICE  LocalICE
	DTLS LocalDTLS
	SDES LocalSDES

	Source Source

	// What the party was last told. Direction is as in its body; of Payloads
	// the numbers and names matter.
	Direction sdp.Direction
	Payloads  []sdp.Payload
	MID       string // a=mid of the media towards the party; empty = none
	Hidden    bool   // the party is not told of the media (ng key "sdp-media-remove")

	Ptime      int  // packet time that the party is told, in milliseconds; 0 = none
	PtimeFixed bool // by a flag: what the parties say changes it no more
}

// MuxAnswer is how an offer of rtcp-mux by the party will be answered.
type MuxAnswer uint8

// Values of MuxAnswer.
const (
	MuxFollow MuxAnswer = iota // as the other party answers
	MuxAccept
	MuxReject
)

// LocalICE tells whether and how the local side does ICE (RFC 8445).
type LocalICE struct {
	Mode ICEMode

	// Generation counts ICE restarts. New credentials and a new agent are
	// needed when it differs from that of the agent in place. 0 = never
	// done ICE.
	Generation int

	Controlling bool
	Trickle     bool // a=ice-options:trickle is written (RFC 8840)
	RelayOnly   bool // ICE=force-relay: our candidates claim to be of type relay

	// Passthrough tells that the parties do ICE with each other: Mode is
	// ICENone, connectivity checks go through, and our ports are candidates
	// among theirs.
	Passthrough bool

	// Declined tells that the party gets candidates although it has offered
	// none, so that its media comes without checks.
	Declined bool
}

// ICEMode is the way in which a local side does ICE.
type ICEMode uint8

// Values of ICEMode.
const (
	ICENone ICEMode = iota
	ICEFull
	ICELite
)

// LocalDTLS tells whether and how the local side does DTLS-SRTP (RFC 5763).
type LocalDTLS struct {
	Role    DTLSRole
	Hash    string // of the fingerprint, lower case: "sha-256"
	Passive bool   // take the passive part if there is a choice

	// Declined tells that the party has answered an offer without taking DTLS.
	Declined bool

	// Generation counts associations. A new handshake is needed when it
	// differs from that of the association in place (RFC 8842 §4). 0 = never
	// done DTLS.
	Generation int
}

// DTLSRole is the part that the local side plays in the handshake.
type DTLSRole uint8

// Values of DTLSRole. DTLSUndecided lasts from offer to answer. A side with it
// must accept a ClientHello that overtakes the answer (then Plan of the answer
// says DTLSPassive with the same Generation).
const (
	DTLSNone DTLSRole = iota
	DTLSPassive
	DTLSActive
	DTLSUndecided
)

// LocalSDES tells whether and how the local side does SDES (RFC 4568).
type LocalSDES struct {
	// Lines are the a=crypto lines that the party gets or got. The call makes
	// one key for each that has none and keeps it as long as tag, suite and
	// round stay.
	Lines []SDESLine

	// Chosen is the tag of the line in use, 0 = none yet. The key that we
	// protect with is ours of this tag; the key of the party is the line of
	// Remote.Crypto with RemoteTag.
	Chosen    int
	RemoteTag int

	Suite string // of the chosen line

	// Refused are the suites of the party that must not be chosen.
	Refused []string

	Declined bool // the party has offered DTLS, so it is offered nothing else

	Round int // counts the offers after an answer, which bring new keys

	answered bool // the party has been given an answer
}

// SDESLine is an a=crypto line.
type SDESLine struct {
	Tag   int
	Suite string

	// Key is the other party's if it is handed through, with its MKI. If it is
	// nil the call makes a key, one for each tag, suite and round.
	Key   []byte
	MKI   []byte
	Round int

	UnencryptedSRTP     bool
	UnencryptedSRTCP    bool
	UnauthenticatedSRTP bool
}

// Source is the policy for packets that arrive from the party.
type Source struct {
	Learning   ng.EndpointLearning // never LearningAbsent
	Strict     bool                // after learning, drop packets from elsewhere
	Handover   bool                // after learning, follow a changed source
	Asymmetric bool                // send to the SDP address, never to a learned one

	Unidirectional bool // media may go one way only; for query
	NATWait        bool // nothing is sent to the party before it has sent
	PierceNAT      bool // empty packets are sent to the party until it has sent
}

// Security tells how media is protected between the party and the local side.
type Security uint8

// Values of Security.
const (
	SecurityNone Security = iota
	SecuritySDES
	SecurityDTLS

	// SecurityMissing is a secure profile without keys: nothing may be sent
	// or taken.
	SecurityMissing
)

// Security tells what protects the media of s. While an offer of both DTLS and
// SDES is open it is SecurityDTLS.
func (s *Side) Security() Security {
	switch {
	case !s.Local.secured():
		return SecurityNone
	case s.Local.DTLS.Role != DTLSNone:
		return SecurityDTLS
	case len(s.Local.SDES.Lines) > 0:
		return SecuritySDES
	}
	return SecurityMissing
}

// InboundCrypto returns the party's line whose key protects what it sends;
// false as long as none is agreed.
func (s *Side) InboundCrypto() (Crypto, bool) {
	if s.Local.SDES.Chosen == 0 {
		return Crypto{}, false
	}
	for _, c := range s.Remote.Crypto {
		if c.Tag == s.Local.SDES.RemoteTag {
			return c, true
		}
	}
	return Crypto{}, false
}
