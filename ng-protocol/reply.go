package ng

import (
	"context"
	"errors"
)

// Handler executes commands. It must be safe for concurrent use; commands of
// one call arrive one after the other.
type Handler interface {
	// Handle executes req and returns its reply, never nil. ctx ends when the
	// server closes.
	Handle(ctx context.Context, req *Request) Reply
}

// HandlerFunc lets a function be a Handler.
type HandlerFunc func(ctx context.Context, req *Request) Reply

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, req *Request) Reply { return f(ctx, req) }

// Reply is the answer to a command: *Pong, *Ack, *Failure, *LoadLimit,
// *SDPReply, *CallReply, *ListReply, *StatisticsReply, *SubscribeReply,
// *CreateReply or *CLIReply.
type Reply interface {
	// write writes the entries of the dictionary that goes on the wire.
	write(w *writer)
}

// Pong answers ping.
type Pong struct{}

// Ack is "ok" without more, with an optional warning.
type Ack struct {
	Warning string // "warning"
}

// Failure is the result "error".
type Failure struct {
	Reason Reason // "error-reason"
}

// LoadLimit refuses a new call, to clients that understand it
// (Request.SupportsLoadLimit). Others get a Failure with
// ReasonSessionLimit.
type LoadLimit struct {
	Message Reason // "message"
}

// SDPReply answers offer, answer, publish and subscribe answer.
type SDPReply struct {
	SDP     string // "sdp"; empty (key absent) for an ICE fragment
	Warning string // "warning"
}

// CallReply answers query and delete.
type CallReply struct {
	Warning string     // "warning"; delete of an unknown call
	Call    *CallState // nil if the call is unknown or delete was "fast"
}

// ListReply answers list.
type ListReply struct {
	Calls []string // "calls": call-ids
}

// StatisticsReply answers statistics.
type StatisticsReply struct {
	Statistics Dict // "statistics"
}

// SubscribeReply answers subscribe request.
type SubscribeReply struct {
	SDP       string      // "sdp"
	FromTags  []string    // "from-tags": who is heard; one alone is the "from-tag", too
	ToTag     string      // "to-tag": the subscriber
	TagMedias []TagMedias // "tag-medias", and by label "media-labels"; with FlagSIPREC only
}

// TagMedias lists the medias of one party that a subscription copies.
type TagMedias struct {
	Tag    string
	Label  string
	Medias []LabelledMedia
}

// LabelledMedia is one media of a subscription (RFC 7866 §7).
type LabelledMedia struct {
	Index int    // of the party's m= line, from 1
	Type  string // "audio", …
	Label string // as in the a=label of the subscription's SDP
	Mode  string // "sendrecv", "sendonly", "recvonly", "inactive": of the party
}

// CreateReply answers create and publish.
type CreateReply struct {
	SDP     string // "sdp"
	CallID  string // "call-id"
	FromTag string // "from-tag"
}

// CLIReply answers cli.
type CLIReply struct {
	Response string // "response"
}

// Reason is an error text of the protocol. Both SIP servers compare some of
// them literally, so they must go out unchanged. It is an error, so that code
// may wrap it and callers may test for it with errors.Is.
type Reason string

// Error returns the text.
func (r Reason) Error() string { return string(r) }

// Texts that clients or people match on.
const (
	ReasonSessionLimit       Reason = "Parallel session limit reached"
	ReasonLoadLimit          Reason = "Load limit exceeded"
	ReasonCPULimit           Reason = "CPU usage limit exceeded"
	ReasonBandwidthLimit     Reason = "Bandwidth limit exceeded"
	ReasonOutOfPorts         Reason = "Ran out of ports"
	ReasonUnknownCallID      Reason = "Unknown call-id"
	ReasonNoCallID           Reason = "No call-id in message"
	ReasonNoFromTag          Reason = "No from-tag in message"
	ReasonNoToTag            Reason = "No to-tag in message"
	ReasonNoSDP              Reason = "No SDP body in message"
	ReasonSDPParse           Reason = "Failed to parse SDP"
	ReasonSDPIncomplete      Reason = "Incomplete SDP specification"
	ReasonSDPRewrite         Reason = "Error rewriting SDP"
	ReasonInvalidAssociation Reason = "Invalid dialogue association"
	ReasonNoMatchingTags     Reason = "Call-ID not found or tags didn't match"
	ReasonNoSuchTag          Reason = "From-tag given, but no such tag exists"
	ReasonUnknownCommand     Reason = "Unrecognized command"
	ReasonNoCommand          Reason = `Dictionary contains no key "command"`
	ReasonNoPayload          Reason = "Invalid data (no payload)"
	ReasonBadFormat          Reason = "Invalid NG data format"
	ReasonBadBencode         Reason = "Could not decode bencode dictionary"
	ReasonBadJSON            Reason = "Failed to parse JSON document"
	ReasonBadJSONDictionary  Reason = "Could not decode JSON dictionary"
	ReasonNoParticipant      Reason = "No participant party specified"
	ReasonUnknownCall        Reason = "Unknown call-ID" // of the commands about media of a call
	ReasonNoSuchLabel        Reason = "No monologue matching the given label"
	ReasonBadAddress         Reason = "Failed to parse network address"
	ReasonNoSuchAddress      Reason = "Failed to match address to any tag"
	ReasonNoMonologues       Reason = "No monologues matched"
	ReasonToTagNotFound      Reason = "To-tag not found"
	ReasonSDPCreate          Reason = "Failed to create SDP"
	ReasonSubscribe          Reason = "Failed to request subscription"
	ReasonBadLimit           Reason = "invalid limit, must be >= 0"
	ReasonNoMediaFile        Reason = "No media file specified"
	ReasonNotPlaying         Reason = "Not currently playing media"
	ReasonBadDTMFCode        Reason = "Out of range 'code' specified"
	ReasonInternal           Reason = "Internal error"
)

// Overloaded reports whether r refuses a new call for lack of resources, so
// that another node may be tried.
func (r Reason) Overloaded() bool {
	switch r {
	case ReasonSessionLimit, ReasonLoadLimit, ReasonCPULimit, ReasonBandwidthLimit, ReasonOutOfPorts:
		return true
	}
	return false
}

// Fail makes a Failure of err: the text of the Reason that err wraps, else the
// whole text of err.
func Fail(err error) *Failure {
	var r Reason
	if errors.As(err, &r) {
		return &Failure{Reason: r}
	}
	return &Failure{Reason: Reason(err.Error())}
}
