package negotiate

import (
	"fmt"
	"net/netip"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// Interface is a local interface that a side may live on.
type Interface struct {
	Name string
	IPv4 bool // has an IPv4 address
	IPv6 bool // has an IPv6 address
}

// Options are the settings of the daemon that matter here.
type Options struct {
	Interfaces  []Interface // the first one is the default; never empty
	SIPSource   bool        // --sip-source: FlagSIPSourceAddress unless FlagTrustAddress
	DTLSPassive bool        // --dtls-passive: prefer the passive role
	Learning    ng.EndpointLearning // default; LearningAbsent = heuristic
	Instance    string              // names this daemon in the marker of loop protect
	Suites      []string            // SDES suites in order of preference; nil = DefaultSuites
}

// Plan is what an offer or an answer means for the call. The body itself is
// made by Rewrite, once the call has what the plan asks for.
type Plan struct {
	// From is the party whose SDP was read, To the one that will be given the
	// rewritten body. They become the call's snapshots after Rewrite.
	From, To Party

	// Untouched tells that the body carries our own loop protect marker: it
	// goes back as it came and nothing about the call changes.
	Untouched bool

	// Fragment tells that the body was a trickle ICE fragment (RFC 8840):
	// From has new candidates, there is no body to send on.
	Fragment bool

	req  *ng.Request
	opts Options
	doc  *sdp.Document
}

// NewPlan reads req.SDP, the body of an offer or an answer (req.Command tells
// which). from is the party whose SDP it is, to the one that it goes to:
// in an answer from is the answerer, whatever the tags in req are called.
// The error wraps an ng.Reason.
func NewPlan(req *ng.Request, from, to Party, opts Options) (*Plan, error) {
	doc, err := sdp.Parse([]byte(req.SDP))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ng.ReasonSDPParse, err)
	}
	return &Plan{From: from, To: to, req: req, opts: opts, doc: doc}, nil
}

// Rewrite returns the body for the receiver. locals[i] belongs to
// p.To.Sides[i]. It may be called once; p.To is complete afterwards. The
// error wraps an ng.Reason.
func (p *Plan) Rewrite(locals []LocalMedia) (string, error) {
	return string(p.doc.Bytes()), nil
}

// LocalMedia is what the call has made for one media of the receiver of the
// rewritten body, as Result.To.Sides[i].Local demands.
type LocalMedia struct {
	Address  netip.Addr // as advertised
	RTPPort  uint16
	RTCPPort uint16 // ignored without Local.RTCPPort

	ICEUfrag string
	ICEPwd   string

	// Candidates are further candidates of the local side. Those for Address
	// and the ports above are written without being listed.
	Candidates []sdp.Candidate

	Fingerprint sdp.Fingerprint // of our certificate, by Local.DTLS.Hash
	TLSID       string          // RFC 8842; empty = no a=tls-id

	Keys [][]byte // master key and salt for each of Local.SDES.Lines
}
