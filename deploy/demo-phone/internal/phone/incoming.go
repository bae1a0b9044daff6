package phone

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/plainsdp"
)

// allow lists the methods this phone answers; INFO is not among them, digits come as RFC 4733 events.
const allow = "INVITE, ACK, CANCEL, BYE, UPDATE, NOTIFY, OPTIONS"

const (
	t1 = 500 * time.Millisecond // RFC 3261 §17.1.1.1
	t2 = 4 * time.Second
)

// respond answers a request; extra headers follow the obligatory ones.
func (p *Phone) respond(tx sip.ServerTransaction, req *sip.Request, status int, reason string, body []byte, extra ...sip.Header) {
	res := sip.NewResponseFromRequest(req, status, reason, body)
	if len(body) > 0 {
		res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	}
	for _, h := range extra {
		res.AppendHeader(h)
	}
	if err := tx.Respond(res); err != nil {
		p.log.Debug("response not sent", zap.Int("status", status), zap.Error(err))
	}
}

// onInvite answers a new call, or hands a re-INVITE to its call.
func (p *Phone) onInvite(req *sip.Request, tx sip.ServerTransaction) {
	if !p.sane(req, tx) {
		return
	}
	if toTag(req) != "" {
		p.inDialog(req, tx, (*Call).reinvited)
		return
	}
	account, err := p.account(req.Recipient.User)
	switch {
	case err != nil:
		p.respond(tx, req, sip.StatusNotFound, "Not Found", nil)
		return
	case account.Busy:
		p.respond(tx, req, sip.StatusBusyHere, "Busy Here", nil)
		return
	case req.Contact() == nil:
		p.respond(tx, req, sip.StatusBadRequest, "Contact missing", nil)
		return
	}
	// sipgo makes the 487 to a CANCEL from this request, and all responses must have the same tag (RFC 3261 §8.2.6.2).
	tag := sip.GenerateTagN(16)
	d := uasDialog(req, tag)
	req.To().Params.Add("tag", tag)
	call, err := p.newCall(account, d, req.From().Address, true)
	if err != nil {
		p.log.Warn("call refused", zap.String("call_id", d.callID), zap.Error(err))
		p.respond(tx, req, sip.StatusBusyHere, "Busy Here", nil)
		return
	}
	call.log().Info("call received", zap.String("peer", call.peer))
	call.ring(req, tx)
}

// sane refuses what a strict phone does not understand, and tells whether the request may go on.
func (p *Phone) sane(req *sip.Request, tx sip.ServerTransaction) bool {
	if h := req.GetHeader("Require"); h != nil {
		p.respond(tx, req, sip.StatusBadExtension, "Bad Extension", nil, sip.NewHeader("Unsupported", h.Value()))
		return false
	}
	if len(req.Body()) == 0 {
		return true
	}
	kind := ""
	if h := req.GetHeader("Content-Type"); h != nil {
		kind, _, _ = strings.Cut(h.Value(), ";")
	}
	if !strings.EqualFold(strings.TrimSpace(kind), "application/sdp") {
		p.respond(tx, req, sip.StatusUnsupportedMediaType, "Unsupported Media Type", nil, sip.NewHeader("Accept", "application/sdp"))
		return false
	}
	return true
}

// inDialog finds the call of an in-dialog request, checks its order and target, and hands it over.
func (p *Phone) inDialog(req *sip.Request, tx sip.ServerTransaction, handle func(*Call, *sip.Request, sip.ServerTransaction)) {
	p.mu.Lock()
	call := p.calls[toTag(req)]
	p.mu.Unlock()
	if call == nil || !call.owns(req) {
		p.respond(tx, req, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist", nil)
		return
	}
	if !call.inOrder(req.CSeq().SeqNo) {
		p.respond(tx, req, sip.StatusInternalServerError, "CSeq Out Of Order", nil)
		return
	}
	handle(call, req, tx)
}

func (c *Call) owns(req *sip.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dialog.matches(req)
}

// inOrder takes the CSeq of an in-dialog request; only a lower one is refused (RFC 3261 §12.2.2). An equal one in a new
// transaction is what JsSIP sends when it repeats a re-INVITE after 491.
func (c *Call) inOrder(seq uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq < c.dialog.remoteSeq {
		return false
	}
	c.dialog.remoteSeq = seq
	return true
}

// ring goes from the INVITE to the answer, the refusal or the CANCEL.
func (c *Call) ring(req *sip.Request, tx sip.ServerTransaction) {
	canceled := make(chan struct{})
	var once sync.Once
	if !tx.OnCancel(func(*sip.Request) { once.Do(func() { close(canceled) }) }) {
		c.end(sip.StatusRequestTerminated, "cancelled by the peer")
		return
	}
	body, apply, ok := c.describe(req, tx)
	if !ok {
		return
	}
	contact := c.phone.contact(c.account.User)
	if early := c.account.EarlyMedia && len(req.Body()) > 0; early {
		apply()
		c.setState(Early)
		c.phone.respond(tx, req, sip.StatusSessionInProgress, "Session Progress", body, contact)
	} else {
		c.setState(Ringing)
		c.phone.respond(tx, req, sip.StatusRinging, "Ringing", nil, contact)
	}
	patience := c.account.Ring
	if c.account.NoAnswer {
		patience = maxRinging
	}
	select {
	case <-canceled:
		c.end(sip.StatusRequestTerminated, "cancelled by the peer")
		return
	case <-c.hangup:
	case <-tx.Done():
		c.end(0, "transaction lost")
		return
	case <-time.After(patience):
		if !c.account.NoAnswer {
			apply()
			c.answer(req, tx, body, canceled)
			return
		}
	}
	c.phone.respond(tx, req, sip.StatusTemporarilyUnavailable, "Temporarily Unavailable", nil)
	c.end(sip.StatusTemporarilyUnavailable, "refused here")
}

// describe makes the body of the 200: the answer to the INVITE's offer, or an offer when there was none. apply starts the media
// that an answer agrees on. It refuses the INVITE and ends a call that is not established when the offer can't be taken.
func (c *Call) describe(req *sip.Request, tx sip.ServerTransaction) (body []byte, apply func(), ok bool) {
	c.mu.Lock()
	if len(req.Body()) == 0 {
		body = c.session.offer()
		c.mu.Unlock()
		return body, func() {}, true
	}
	body, remote, err := c.session.answer(req.Body())
	established := c.state == Established
	c.mu.Unlock()
	if err == nil {
		return body, func() { c.media.SetRemote(remote) }, true
	}
	status, reason := sip.StatusNotAcceptableHere, "Not Acceptable Here"
	if errors.Is(err, plainsdp.ErrMalformed) {
		status, reason = sip.StatusBadRequest, "Malformed SDP"
	}
	c.phone.respond(tx, req, status, reason, nil)
	if !established {
		c.end(status, err.Error())
	}
	return nil, nil, false
}

// answer sends the first 200 and sees to its ACK.
func (c *Call) answer(req *sip.Request, tx sip.ServerTransaction, body []byte, canceled <-chan struct{}) {
	established := func() bool {
		select {
		case <-canceled: // the CANCEL was first: sipgo has sent 487 and not our 200
			c.end(sip.StatusRequestTerminated, "cancelled by the peer")
			return false
		default:
			return c.establish()
		}
	}
	c.confirm(req, tx, body, established)
}

// confirm sends a 2xx again and again until its ACK comes (RFC 3261 §13.3.1.4). sent runs after the first copy and may stop it.
// An ACK with the answer to a late offer is applied; without ACK or without that answer the call ends with BYE.
func (c *Call) confirm(req *sip.Request, tx sip.ServerTransaction, body []byte, sent func() bool) {
	c.mu.Lock()
	c.ackFor = req.CSeq().SeqNo
	select {
	case <-c.ack: // left over from an earlier exchange
	default:
	}
	c.mu.Unlock()
	send := func() {
		c.phone.respond(tx, req, sip.StatusOK, "OK", body, c.phone.contact(c.account.User), sip.NewHeader("Allow", allow))
	}
	send()
	if !sent() {
		return
	}
	deadline := time.After(64 * t1)
	for interval := t1; ; interval = min(2*interval, t2) {
		select {
		case ack := <-c.ack:
			if len(req.Body()) == 0 {
				c.lateAnswer(ack.Body())
			}
			return
		case <-time.After(interval):
			send()
		case <-c.done:
			return
		case <-deadline:
			c.giveUp("no ACK")
			return
		}
	}
}

func (c *Call) lateAnswer(body []byte) {
	c.mu.Lock()
	remote, err := c.session.accept(body)
	c.mu.Unlock()
	if err != nil {
		c.giveUp("answer in ACK: " + err.Error())
		return
	}
	c.media.SetRemote(remote)
}

// giveUp ends an established call with BYE because of a fault.
func (c *Call) giveUp(reason string) {
	if err := c.bye(context.Background()); err != nil {
		c.log().Warn("BYE failed", zap.Error(err))
	}
	c.end(0, reason)
}

// overtaken is how long an INVITE waits for the ACK of the one before it.
const overtaken = 300 * time.Millisecond

// reinvited answers a re-INVITE: hold, resume, new address, or a request for an offer.
func (c *Call) reinvited(req *sip.Request, tx sip.ServerTransaction) {
	glare, busy := c.serve(req)
	// sipgo handles each message in a goroutine of its own, so an INVITE may overtake the ACK that came before it.
	for waited := time.Duration(0); busy && waited < overtaken; waited += overtaken / 10 {
		time.Sleep(overtaken / 10)
		glare, busy = c.serve(req)
	}
	switch {
	case glare:
		c.phone.respond(tx, req, 491, "Request Pending", nil)
		return
	case busy:
		c.phone.respond(tx, req, sip.StatusInternalServerError, "Another INVITE Is Pending", nil, sip.NewHeader("Retry-After", "3"))
		return
	}
	if body, apply, ok := c.describe(req, tx); ok {
		apply()
		c.confirm(req, tx, body, func() bool { c.served(); return true })
		return
	}
	c.served()
}

// serve takes the one place for an INVITE of the peer, unless one of ours (glare) or an earlier one of his has it.
func (c *Call) serve(req *sip.Request) (glare, busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	glare, busy = c.inviting, c.serving || c.state != Established
	if !glare && !busy {
		c.serving = true
		c.dialog.refresh(req.Contact())
	}
	return glare, busy
}

func (c *Call) served() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = false
}

// onAck hands the ACK of a 2xx to the call that waits for it. ACKs of other responses end in their transaction.
func (p *Phone) onAck(req *sip.Request, _ sip.ServerTransaction) {
	p.mu.Lock()
	call := p.calls[toTag(req)]
	p.mu.Unlock()
	if call == nil {
		return
	}
	call.mu.Lock()
	defer call.mu.Unlock()
	if !call.dialog.matches(req) || call.ackFor != req.CSeq().SeqNo {
		return
	}
	select {
	case call.ack <- req:
	default: // a retransmission of the ACK
	}
}

func (p *Phone) onBye(req *sip.Request, tx sip.ServerTransaction) {
	p.inDialog(req, tx, func(c *Call, req *sip.Request, tx sip.ServerTransaction) {
		p.respond(tx, req, sip.StatusOK, "OK", nil)
		c.end(sip.StatusOK, "hung up by the peer")
	})
}

// onUpdate answers UPDATE (RFC 3311): without SDP it refreshes the session and the target, with SDP it is an offer.
func (p *Phone) onUpdate(req *sip.Request, tx sip.ServerTransaction) {
	if !p.sane(req, tx) {
		return
	}
	p.inDialog(req, tx, func(c *Call, req *sip.Request, tx sip.ServerTransaction) {
		c.mu.Lock()
		c.dialog.refresh(req.Contact())
		pending := c.inviting
		c.mu.Unlock()
		contact := p.contact(c.account.User)
		if len(req.Body()) == 0 {
			p.respond(tx, req, sip.StatusOK, "OK", nil, contact)
			return
		}
		if pending {
			p.respond(tx, req, 491, "Request Pending", nil)
			return
		}
		if body, apply, ok := c.describe(req, tx); ok {
			apply()
			p.respond(tx, req, sip.StatusOK, "OK", body, contact)
		}
	})
}

// onLateCancel answers a CANCEL whose INVITE is unknown; sipgo itself handles the others.
func (p *Phone) onLateCancel(req *sip.Request, tx sip.ServerTransaction) {
	p.respond(tx, req, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist", nil)
}

func (p *Phone) onOptions(req *sip.Request, tx sip.ServerTransaction) {
	p.respond(tx, req, sip.StatusOK, "OK", nil, sip.NewHeader("Allow", allow), sip.NewHeader("Accept", "application/sdp"))
}

func (p *Phone) onOther(req *sip.Request, tx sip.ServerTransaction) {
	p.respond(tx, req, sip.StatusMethodNotAllowed, "Method Not Allowed", nil, sip.NewHeader("Allow", allow))
}
