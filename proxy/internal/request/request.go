// Package request holds the SIP request in flight, the Step interface of the chain, and the small interfaces by
// which steps work together without importing each other.
//
// Concurrency: everything that belongs to one Call-ID (steps, observers, responders' callbacks, timers) runs one
// after the other in the order of receipt, on goroutines of the transaction layer and never on one that reads a
// socket. Code in a step or an observer may therefore block (within its context) and needs no lock for what
// belongs to one call.
package request

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"
)

// Verdict is what a step decides about the rest of the chain.
type Verdict int

// The verdicts of a step.
const (
	// Continue hands the request to the next step.
	Continue Verdict = iota
	// Done ends the chain: the request was answered, forwarded or deliberately dropped.
	Done
)

// Step is one stage of the chain. A returned error ends the chain; it is logged, and answered with the status
// of an *Error in its tree, else with 500.
type Step interface {
	Handle(ctx context.Context, r *Request) (Verdict, error)
}

// StepFunc makes a function a Step.
type StepFunc func(ctx context.Context, r *Request) (Verdict, error)

// Handle calls f.
func (f StepFunc) Handle(ctx context.Context, r *Request) (Verdict, error) { return f(ctx, r) }

// Responder sends responses of one server transaction upstream. ACK has one that drops everything.
type Responder interface {
	// Send sends the response through the server transaction. The response must carry the Via, From, To,
	// Call-ID and CSeq of the request as received.
	Send(res *sip.Response) error
}

// Request is one SIP request on its way through the chain.
type Request struct {
	// Msg is the chain's own copy: steps may change it. Its Via is the one received, with received and rport set.
	Msg *sip.Request
	// Original is the request as received, from which responses are built. Read only.
	Original *sip.Request
	// Conn is the connection it came by; nil for a request the proxy made itself.
	Conn Connection
	// Source is the address it came from.
	Source netip.AddrPort
	// Received is when it was read from the socket.
	Received time.Time
	// InDialog reports a tag in To.
	InDialog bool
	// Shared says of a BYE that another dialog of the same call goes on: what belongs to the whole call stays.
	Shared bool
	// Pass tells how often its call has run through the proxy before it came here again: a call between two users of an
	// upstream proxy does, with the same Call-ID and tags. Set by the dialog step.
	Pass int
	// Profile is the leg profile of the side the request comes from: the listener's, unless a step knows better.
	Profile string
	// User is the authenticated user as "name@realm"; empty when nobody authenticated.
	User string
	// Trunk is the name of the trunk the request comes from, known by its source address; empty for all others.
	Trunk string
	// Targets is where to forward to; filled by route or dialog, consumed by forward.
	Targets []Target
	// Observers are called by forward, in this order.
	Observers []Observer
	// Dialogs is set by the dialog step for requests that form a dialog; may be nil.
	Dialogs Dialogs
	// Redirects is set by the route step, which says where a redirected request may go; may be nil.
	Redirects Redirects
	// Log carries call-id, tag and method.
	Log *zap.Logger
	// Responder sends upstream.
	Responder Responder
}

// Dialogs is what forward needs of the dialog step.
type Dialogs interface {
	// Seal gives the value of the protected Record-Route parameter for a branch; "" for none.
	Seal(r *Request, b *Branch) string
	// Orphaned takes a 2xx to INVITE that can not be delivered, as the caller is gone or had another final response: the
	// callee's call has to be acknowledged and ended.
	Orphaned(ctx context.Context, r *Request, b *Branch, res *sip.Response)
	// Crossed takes a branch whose 2xx to INVITE crossed the caller's CANCEL: he may not acknowledge it.
	Crossed(r *Request, b *Branch)
}

// Redirects is what forward needs of the route step.
type Redirects interface {
	// Redirected returns the targets that a 300, 301 or 302 from a target leads to, by its contacts; none when it is not to
	// be followed.
	Redirected(r *Request, from Target, contacts []Address) []Target
}

// Target is one place a request may be forwarded to.
type Target struct {
	// URI becomes the request URI.
	URI sip.Uri
	// Conn, when set, is the one connection to use: never another one (browsers, NATed phones).
	Conn Connection
	// Route is pushed in front of the request's Route headers, first one first (Path of a binding, outbound
	// proxy); the next hop is taken from it when Conn is nil.
	Route []sip.Uri
	// NextHop, if it has a host, is where the copy is sent when Conn is nil, whatever URI and Route say: a hop that is told
	// nothing of being one.
	NextHop sip.Uri
	// Listener names the listener to send from when Conn is nil; empty: any of the transport.
	Listener string
	// Profile is the leg profile towards this target.
	Profile string
	// AoR is the address of record the target was found under, "sip:user@domain"; may be empty.
	AoR string
	// Trunk names the trunk that the target belongs to; may be empty. Calls are counted by it, and challenges to requests
	// that the proxy makes itself are answered with its credentials.
	Trunk string
	// Q orders targets, 0..1000, highest first: equal values ring in parallel, lower ones after those failed.
	Q int
	// Timeout limits ringing of this target (time to a final response); 0: Timer C alone.
	Timeout time.Duration
	// Silence limits the time to the first response of each of its addresses, 100 included; 0: Timers B and F alone.
	Silence time.Duration
	// Failover, when set, says after which status (408 and 503 made up here included) targets of lower Q are tried; nil:
	// after any.
	Failover func(code int) bool
	// Trusted says that it is a next hop by configuration: its redirections are followed anywhere.
	Trusted bool
}

// BranchState is the state of one forwarded copy.
type BranchState int

// The states of a branch.
const (
	// BranchCalling: sent, nothing heard.
	BranchCalling BranchState = iota
	// BranchProceeding: a provisional response came.
	BranchProceeding
	// BranchAnswered: a 2xx came.
	BranchAnswered
	// BranchFailed: a final response of 300 or more, a timeout or a transport error.
	BranchFailed
)

// Branch is one forwarded copy of a request: a client transaction.
type Branch struct {
	// ID is the branch parameter of our Via on this copy ("z9hG4bK…"): unique, fit as ng via-branch. It stays the same when
	// the copy is sent again to another address of its target; the Via then has a suffix.
	ID string
	// Msg is the request as it is sent; an Observer's Outgoing may change its body and headers.
	Msg *sip.Request
	// Target is where it goes.
	Target Target
	// Conn is the connection it is sent by.
	Conn Connection
	// State is kept by forward.
	State BranchState
	// Recorded are our Record-Route values of this copy, topmost first: one, or two where transport or listener change.
	Recorded []string
	// Record, set by an Outgoing observer, says what is sent in place of Recorded.
	Record func(recorded []string) []string
	// Inserted is how often the request was sent again with credentials: its CSeq is higher by that than the one of the
	// request received, and so must be those of later requests of the same sender.
	Inserted uint32
}

// Outcome is how a branch ended.
type Outcome struct {
	// Code is the final status: that of the callee, or 408 for a timeout, 503 for a transport error, 487 for a
	// branch that was cancelled before it was sent.
	Code int
	// Cancelled reports that the proxy sent or had pending a CANCEL for this branch.
	Cancelled bool
	// Last reports that no other branch of the request is unfinished or answered: the call setup as a whole failed.
	Last bool
	// Local reports that the code was made up here (timeout, transport error), not received.
	Local bool
	// Unreachable reports a next hop that could not be reached or said nothing.
	Unreachable bool
	// RetryAfter is how long a 503 asks to be left alone (RFC 3261 §21.5.4); 0: it says nothing.
	RetryAfter time.Duration
}

// Answered reports a 2xx.
func (o Outcome) Answered() bool { return o.Code >= 200 && o.Code < 300 }

// Observer sees, and may change, what forward sends. Calls of one Call-ID are serialised; the context carries
// the total deadline of the observers for this message.
type Observer interface {
	// Outgoing is called before a copy is sent, for every method including ACK of a 2xx (which has no response).
	// An error fails the branch with the status of an *Error in the tree, else 500; for ACK it is logged only.
	Outgoing(ctx context.Context, r *Request, b *Branch) error
	// Incoming is called for every response but 100 that will go upstream now: 101–199, 2xx (each retransmission
	// again), and the one final failure chosen. The response is a copy, its Via is already ours removed.
	// An error is logged; a provisional response is then dropped, a final one goes upstream all the same.
	Incoming(ctx context.Context, r *Request, b *Branch, res *sip.Response) error
	// Finished is called once for each branch: when its final response, timeout or transport error is known.
	// It is not called for ACK.
	Finished(ctx context.Context, r *Request, b *Branch, o Outcome)
}

// Error is an error with the SIP status to answer.
type Error struct {
	Code   int
	Reason string
	// Headers are added to the response.
	Headers []sip.Header
	// Cause is logged and never sent.
	Cause error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Reason + ": " + e.Cause.Error()
	}
	return e.Reason
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Fail makes an *Error.
func Fail(code int, reason string, cause error) *Error {
	return &Error{Code: code, Reason: reason, Cause: cause}
}

// CallID is the Call-ID; empty when the message has none.
func (r *Request) CallID() string { return CallID(r.Msg) }

// MediaID is the call-id for the media daemon: the Call-ID, with a mark that no Call-ID can have where the call is here for
// a further time, so that its passes are different calls there.
func (r *Request) MediaID() string { return MediaID(r.CallID(), r.Pass) }

// MediaID is that of a call and a pass.
func MediaID(callID string, pass int) string {
	if pass == 0 {
		return callID
	}
	return callID + passMark + strconv.Itoa(pass)
}

const passMark = ";pass="

// CallIDOfMedia is the Call-ID behind a MediaID, and the pass.
func CallIDOfMedia(id string) (callID string, pass int) {
	callID, text, marked := strings.Cut(id, passMark)
	if pass, err := strconv.Atoi(text); marked && err == nil {
		return callID, pass
	}
	return id, 0
}

// FromTag is the tag of From; empty when absent.
func (r *Request) FromTag() string { return FromTag(r.Msg) }

// ToTag is the tag of To; empty when absent.
func (r *Request) ToTag() string { return ToTag(r.Msg) }

// Response builds a response to the request as received (RFC 3261 §8.2.6): Via, From, To (with a tag, the same for
// every response of this request), Call-ID, CSeq. It is not sent; see Send.
func (r *Request) Response(code int, reason string, headers ...sip.Header) *sip.Response {
	res := NewResponse(r.Original, code, reason)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	return res
}

// Respond builds and sends a response.
func (r *Request) Respond(code int, reason string, headers ...sip.Header) error {
	return r.Responder.Send(r.Response(code, reason, headers...))
}

// Send sends a response built by Response.
func (r *Request) Send(res *sip.Response) error { return r.Responder.Send(res) }
