package bridge

import (
	"context"
	"errors"
	"net/netip"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// exchange observes one request and its branches.
type exchange struct {
	step     *Step
	forked   bool // several branches: each gets a via-branch
	branches map[string]*branch
	ending   bool   // a BYE has gone out
	early    string // branch and tag of the callee whose SDP came first
}

// branch is what happened on one forwarded copy.
type branch struct {
	offer   string            // SDP of the request as received; empty if it had none
	replies map[string]*reply // by To tag
}

// reply is the last SDP from one callee and what became of it. Repetitions, and
// a 200 that says the same as the 183, go on with the same bytes.
type reply struct {
	code    int
	in, out string
}

// maxReplies bounds the callees behind one branch.
const maxReplies = 64

// viaBranch names the branch to the daemon if there are several.
func (e *exchange) viaBranch(r *request.Request, b *request.Branch) string {
	if e.forked && !r.InDialog {
		return b.ID
	}
	return ""
}

// Outgoing implements request.Observer.
func (e *exchange) Outgoing(ctx context.Context, r *request.Request, b *request.Branch) error {
	if r.Msg.Method == sip.BYE {
		e.ending = true
		if !r.Shared { // else another fork has answered as well, and keeps the media
			e.step.end(r, false)
		}
		return nil
	}
	p, ok, err := findSDP(b.Msg)
	if err != nil {
		return request.Fail(415, "Unsupported Media Type", err)
	}
	state := &branch{replies: make(map[string]*reply)}
	e.branches[b.ID] = state
	if !ok {
		return nil
	}
	sender, err := e.step.profile(r.Profile)
	if err != nil {
		return err
	}
	receiver, err := e.step.profile(b.Target.Profile)
	if err != nil {
		return err
	}
	sdp := string(b.Msg.Body()[p.start:p.end])
	out, done, err := e.lateAnswer(ctx, r, b, sender, receiver, sdp)
	if !done && err == nil {
		if out, err = e.offer(ctx, r, b, sender, receiver, sdp); err == nil {
			state.offer = sdp
		}
	}
	if err != nil {
		return err
	}
	if c := e.step.find(r.MediaID()); c != nil {
		out = c.stamp(e.step.seed, r.ToTag(), out)
	}
	replaceSDP(b.Msg, p, out, receiver.sdpOnly)
	return nil
}

// partyOf is the sender's tag to the daemon, which wants one; a peer of RFC 2543 has none.
func partyOf(r *request.Request) string {
	if tag := r.FromTag(); tag != "" {
		return tag
	}
	return "untagged"
}

// offer sends the SDP of a request as an offer towards its receiver.
func (e *exchange) offer(ctx context.Context, r *request.Request, b *request.Branch, sender, receiver *Profile, sdp string) (string, error) {
	c, err := e.step.enter(r.MediaID())
	if err != nil {
		return "", request.Fail(503, "Service Unavailable", err)
	}
	if c.ended {
		if r.InDialog {
			return "", request.Fail(481, "Call/Transaction Does Not Exist", errEnded)
		}
		if err := e.step.revive(ctx, c); err != nil {
			return "", refused(err)
		}
	}
	if !r.InDialog {
		c.caller = partyOf(r)
	}
	req := receiver.request(ng.CommandOffer, sender)
	req.CallID, req.FromTag, req.ToTag = c.id, partyOf(r), r.ToTag()
	req.SDP = sdp
	req.ViaBranch = e.viaBranch(r, b)
	req.SIPMessageType = ng.SIPMessageRequest
	req.ReceivedFrom = received(r.Source)
	c.asked = true
	answer, err := e.step.Media.Offer(ctx, req)
	if err != nil {
		r.Log.Warn("media offer failed", zap.String("via-branch", req.ViaBranch), zap.Error(err))
		return "", refused(err)
	}
	return answer.SDP, nil
}

func received(source netip.AddrPort) netip.Addr { return source.Addr().Unmap().WithZone("") }

func remote(b *request.Branch) netip.Addr {
	if b.Conn == nil {
		return netip.Addr{}
	}
	return received(b.Conn.Remote())
}

// lateAnswer sends the SDP of an ACK or PRACK as the answer to an offer that
// came in a response. done is false if there is no such offer and the SDP is an
// offer itself.
func (e *exchange) lateAnswer(ctx context.Context, r *request.Request, b *request.Branch, sender, receiver *Profile, sdp string) (out string, done bool, err error) {
	if r.Msg.Method != sip.ACK && r.Msg.Method != sip.PRACK {
		return "", false, nil
	}
	c, err := e.step.enter(r.MediaID())
	if err != nil {
		return "", true, err
	}
	offer := c.late[r.ToTag()]
	if offer != nil && offer.in == sdp {
		return offer.out, true, nil // a repeated ACK
	}
	if r.Msg.Method == sip.PRACK && (offer == nil || offer.in != "") {
		return "", false, nil
	}
	if c.ended {
		return "", true, errEnded
	}
	// An ACK can hold nothing but an answer, also if the offer was seen before
	// a restart only.
	req := receiver.request(ng.CommandAnswer, sender)
	req.CallID, req.FromTag, req.ToTag = c.id, r.ToTag(), partyOf(r)
	req.SDP = sdp
	req.SIPMessageType = ng.SIPMessageRequest
	req.ReceivedFrom = received(r.Source)
	answer, err := e.step.Media.Answer(ctx, req)
	if err != nil {
		r.Log.Warn("media answer failed", zap.Error(err))
		return "", true, refused(err)
	}
	if offer != nil {
		offer.in, offer.out = sdp, answer.SDP
		c.agreed = &agreement{offer: offer.offer, answer: agreementSide{partyOf(r), r.Profile, sdp}}
	}
	return answer.SDP, true, nil
}

// Incoming implements request.Observer.
func (e *exchange) Incoming(ctx context.Context, r *request.Request, b *request.Branch, res *sip.Response) error {
	state := e.branches[b.ID]
	if state == nil || res.StatusCode >= 300 {
		return nil
	}
	p, ok, err := findSDP(res)
	if err != nil || !ok {
		if err != nil {
			r.Log.Warn("response body dropped", zap.Error(err))
			dropBody(res)
		}
		return nil
	}
	receiver, err := e.step.profile(r.Profile)
	if err != nil {
		return err
	}
	out, err := e.reply(ctx, r, b, state, res, string(res.Body()[p.start:p.end]))
	if err != nil {
		// Without SDP the caller gives the call up by itself; with the
		// callee's own it would hear nothing and learn inner addresses.
		r.Log.Warn("media answer failed", zap.Int("code", res.StatusCode), zap.Error(err))
		if c := e.step.find(r.MediaID()); r.Conn == nil && c != nil && c.move != nil {
			c.move.failed = err
		}
		dropBody(res)
		return nil
	}
	if e.second(r, b, res) {
		dropBody(res)
		return nil
	}
	replaceSDP(res, p, out, receiver.sdpOnly)
	return nil
}

// second reports SDP of a further early dialog to a browser, whose libraries cope with one: the first. It stays where the
// response is reliable, as PRACK would have nothing to acknowledge.
func (e *exchange) second(r *request.Request, b *request.Branch, res *sip.Response) bool {
	if !res.IsProvisional() || r.InDialog || r.Conn == nil || !r.Conn.Transport().WebSocket() || request.Header(res, "RSeq") != "" {
		return false
	}
	callee := b.ID + " " + request.ToTag(res)
	if e.early == "" {
		e.early = callee
	}
	return e.early != callee
}

// reply sends the SDP of a response to the daemon: an answer if the request had
// an offer, else an offer.
func (e *exchange) reply(ctx context.Context, r *request.Request, b *request.Branch, state *branch, res *sip.Response, sdp string) (string, error) {
	tag := request.ToTag(res)
	last := state.replies[tag]
	if last != nil && last.in == sdp && last.code == res.StatusCode {
		return last.out, nil
	}
	sender, err := e.step.profile(b.Target.Profile)
	if err != nil {
		return "", err
	}
	receiver, err := e.step.profile(r.Profile)
	if err != nil {
		return "", err
	}
	c, err := e.step.enter(r.MediaID())
	if err != nil {
		return "", err
	}
	if c.ended {
		return "", errEnded
	}
	command, call := ng.CommandOffer, e.step.Media.Offer
	from, to := tag, ""
	if state.offer != "" {
		command, call = ng.CommandAnswer, e.step.Media.Answer
		from, to = partyOf(r), tag
	} else if r.InDialog {
		to = partyOf(r)
	}
	req := receiver.request(command, sender)
	req.CallID, req.FromTag, req.ToTag = c.id, from, to
	req.SDP = sdp
	req.ViaBranch = e.viaBranch(r, b)
	req.SIPMessageType, req.SIPCode = ng.SIPMessageReply, res.StatusCode
	req.ReceivedFrom = remote(b)
	c.asked = true
	got, err := call(ctx, req)
	if err != nil && state.offer != "" && !r.InDialog && lost(err) {
		got, err = e.replace(ctx, r, b, state, req, c)
	}
	if err != nil {
		return "", err
	}
	out := got.SDP
	switch {
	case last != nil && last.in == sdp:
		out = last.out // the daemon knows it is final; the caller sees no change
	case r.Conn != nil: // else it is the answer to a re-INVITE of ours and goes to nobody
		out = c.stamp(e.step.seed, partyOf(r), out)
	}
	if last != nil || len(state.replies) < maxReplies {
		state.replies[tag] = &reply{res.StatusCode, sdp, out}
	}
	side := agreementSide{tag, b.Target.Profile, sdp}
	switch {
	case state.offer != "" && res.IsSuccess():
		c.agreed = &agreement{offer: agreementSide{partyOf(r), r.Profile, state.offer}, answer: side}
	case state.offer == "" && (c.late[tag] != nil || len(c.late) < maxLate):
		c.late[tag] = &lateOffer{offer: side, answerer: r.Profile}
	}
	return out, nil
}

// lost reports an error that says that the daemon, and with it the call's media, is gone.
func lost(err error) bool {
	return errors.Is(err, ngclient.ErrTimeout) || errors.Is(err, ngclient.ErrRefused) || errors.Is(err, ngclient.ErrReleased) ||
		errors.Is(err, ng.ReasonUnknownCallID)
}

// replace brings a call whose daemon was lost between offer and answer to another one. The callee has the old one's ports
// still: the call moves as soon as it is confirmed.
func (e *exchange) replace(ctx context.Context, r *request.Request, b *request.Branch, state *branch, answer *ng.Request, c *call) (*ng.SDPReply, error) {
	sender, err := e.step.profile(r.Profile)
	if err != nil {
		return nil, err
	}
	receiver, err := e.step.profile(b.Target.Profile)
	if err != nil {
		return nil, err
	}
	e.step.Media.ReleaseCall(c.id)
	if _, err := e.offer(ctx, r, b, sender, receiver, state.offer); err != nil {
		return nil, err
	}
	got, err := e.step.Media.Answer(ctx, answer)
	if err == nil {
		r.Log.Info("media daemon lost in call setup, another one taken")
		e.step.Move(c.id)
	}
	return got, err
}

// Finished implements request.Observer: what a failed request has told the
// daemon is taken back.
func (e *exchange) Finished(ctx context.Context, r *request.Request, b *request.Branch, o request.Outcome) {
	c := e.step.find(r.MediaID())
	if r.Msg.Method == sip.BYE {
		switch {
		case !e.ending && !r.Shared: // its receiver has gone
			e.step.end(r, true)
		case c != nil:
			e.step.forget(c)
		}
		return
	}
	state := e.branches[b.ID]
	if state == nil || o.Answered() || c == nil || c.ended || !c.asked {
		return
	}
	switch {
	case r.InDialog:
		// 481 and 408 mean that there is no call to go back to; a call that moves has agreed on nothing yet.
		if c.move != nil && !c.move.renewed {
			return
		}
		if state.offer != "" && o.Code != sip.StatusCallTransactionDoesNotExists && o.Code != sip.StatusRequestTimeout {
			e.rollback(ctx, r, c)
		}
	case r.Msg.Method != sip.INVITE:
	case o.Last:
		e.step.end(r, true)
	case e.forked:
		e.step.delete(r, &ng.Request{CallID: c.id, FromTag: partyOf(r), ViaBranch: b.ID}, func() {})
	}
}

// rollback tells the daemon once more what both sides last agreed on
// (RFC 3261 §14.1: a failed re-INVITE leaves the session as it was).
func (e *exchange) rollback(ctx context.Context, r *request.Request, c *call) {
	if c.agreed == nil {
		return
	}
	a := c.agreed
	offerer, err := e.step.profile(a.offer.profile)
	if err != nil {
		return
	}
	answerer, err := e.step.profile(a.answer.profile)
	if err != nil {
		return
	}
	req := answerer.request(ng.CommandOffer, offerer)
	req.CallID, req.FromTag, req.ToTag, req.SDP = c.id, a.offer.tag, a.answer.tag, a.offer.sdp
	req.SIPMessageType = ng.SIPMessageRequest
	if _, err := e.step.Media.Offer(ctx, req); err != nil {
		r.Log.Warn("media not rolled back", zap.Error(err))
		return
	}
	req = offerer.request(ng.CommandAnswer, answerer)
	req.CallID, req.FromTag, req.ToTag, req.SDP = c.id, a.offer.tag, a.answer.tag, a.answer.sdp
	req.SIPMessageType, req.SIPCode = ng.SIPMessageReply, sip.StatusOK
	if _, err := e.step.Media.Answer(ctx, req); err != nil {
		r.Log.Warn("media not rolled back", zap.Error(err))
		return
	}
	r.Log.Debug("media rolled back")
}
