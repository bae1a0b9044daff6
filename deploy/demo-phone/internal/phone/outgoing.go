package phone

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/plainsdp"
)

// maxGlare bounds the tries of a re-INVITE that meets the peer's (491).
const maxGlare = 4

var (
	// ErrNotEstablished means that the call is not in a state that allows the request.
	ErrNotEstablished = errors.New("call is not established")
	// ErrRefused wraps the status of a refused request.
	ErrRefused = errors.New("refused")
)

// Call sends an INVITE as one of the phone's users to a SIP address and returns at once; the call's Snapshot tells how it goes on.
// With late the INVITE has no offer: the 200 has it, and the answer is in the ACK.
func (p *Phone) Call(user, to string, late bool) (*Call, error) {
	account, err := p.account(user)
	if err != nil {
		return nil, err
	}
	var target sip.Uri
	if err := sip.ParseUri(to, &target); err != nil || target.Scheme != "sip" || target.Host == "" {
		return nil, fmt.Errorf("%q is no sip: address", to)
	}
	domain := p.config.Domain
	if domain == "" {
		domain = host(p.address.Addr())
	}
	d := dialog{
		callID: uuid.NewString(), localTag: sip.GenerateTagN(16), localSeq: 1,
		local: sip.Uri{Scheme: "sip", User: user, Host: domain}, remote: target, target: target,
	}
	if !p.begin() {
		return nil, ErrBusy
	}
	call, err := p.newCall(account, d, target, false)
	if err != nil {
		p.work.Done()
		return nil, err
	}
	call.log().Info("calling", zap.String("peer", call.peer))
	go func() {
		defer p.work.Done()
		call.place(late)
	}()
	return call, nil
}

// place runs an outgoing call up to its answer.
func (c *Call) place(late bool) {
	p := c.phone
	ctx, cancel := context.WithTimeout(context.Background(), maxRinging)
	defer cancel()
	req := c.initial(late)
	done, err := p.transact(ctx, req, c.account, c.progress, c.hangup)
	if err != nil {
		c.end(0, err.Error())
		return
	}
	res := done.res
	if !res.IsSuccess() {
		c.mu.Lock()
		c.dialog.localSeq = done.req.CSeq().SeqNo
		c.mu.Unlock()
		c.end(res.StatusCode, res.Reason)
		return
	}
	c.mu.Lock()
	c.dialog.localSeq = done.req.CSeq().SeqNo
	c.dialog.established(res)
	c.mu.Unlock()
	if err := c.acknowledge(done, late); err != nil {
		c.giveUp(err.Error())
		return
	}
	select {
	case <-c.hangup: // the 200 crossed our CANCEL
		c.giveUp("hung up here")
	default:
		c.establish()
	}
}

// initial builds the INVITE.
func (c *Call) initial(late bool) *sip.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	req := sip.NewRequest(sip.INVITE, c.dialog.target)
	c.dialog.identify(req, c.dialog.localSeq)
	if c.phone.config.Registrar != "" {
		req.SetDestination(c.phone.config.Registrar)
	}
	c.decorate(req)
	if !late {
		offer(req, c.session.offer())
	}
	return req
}

// decorate adds what every INVITE of this phone has.
func (c *Call) decorate(req *sip.Request) {
	req.AppendHeader(c.phone.contact(c.account.User))
	req.AppendHeader(sip.NewHeader("Allow", allow))
	req.AppendHeader(sip.NewHeader("User-Agent", product))
}

func offer(req *sip.Request, body []byte) {
	req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	req.SetBody(body)
}

// progress takes a provisional response: ringing, or early media when it has an answer.
func (c *Call) progress(res *sip.Response) {
	if res.StatusCode == sip.StatusTrying {
		return
	}
	if len(res.Body()) == 0 {
		c.setState(Ringing)
		return
	}
	c.mu.Lock()
	remote, err := c.session.accept(res.Body())
	c.mu.Unlock()
	if err != nil {
		c.log().Warn("early media not understood", zap.Error(err))
		return
	}
	c.media.SetRemote(remote)
	c.setState(Early)
}

// acknowledge takes the SDP of a 2xx and sends its ACK, now and for each repeated 2xx. With late the 2xx has the offer.
// The ACK goes out in any case (RFC 3261 §13.2.2.4); an error says that the session can't be had.
func (c *Call) acknowledge(done exchange, late bool) error {
	c.mu.Lock()
	ack := c.dialog.request(sip.ACK, done.req.CSeq().SeqNo)
	credentials(done.req, ack)
	apply, err := c.settle(done.res.Body(), late, ack)
	winner := c.dialog.remoteTag
	c.mu.Unlock()

	first := ack.Clone()
	done.tx.OnRetransmission(func(res *sip.Response) {
		if tag := toTag(res); tag != winner {
			c.log().Warn("a second branch answered", zap.String("remote_tag", tag))
			c.refuseFork(done.req, res)
			return
		}
		again := first.Clone()
		again.RemoveHeader("Via")
		_ = c.phone.client.WriteRequest(again)
	})
	if sendErr := c.phone.client.WriteRequest(ack); sendErr != nil {
		return errors.Join(err, fmt.Errorf("ACK: %w", sendErr))
	}
	if err == nil {
		apply()
	}
	return err
}

// settle reads the SDP of a 2xx; for a late offer it puts the answer into ack. The lock is held.
func (c *Call) settle(body []byte, late bool, ack *sip.Request) (apply func(), err error) {
	if late {
		answer, remote, err := c.session.answer(body)
		if err == nil {
			offer(ack, answer)
		}
		return func() { c.media.SetRemote(remote) }, err
	}
	remote, err := c.session.accept(body)
	return func() { c.media.SetRemote(remote) }, err
}

// credentials copies those of an INVITE into its ACK (RFC 3261 §22.1).
func credentials(from, to *sip.Request) {
	sip.CopyHeaders("Authorization", from, to)
	sip.CopyHeaders("Proxy-Authorization", from, to)
}

// refuseFork acknowledges and ends the dialog of a further branch that answered (RFC 3261 §13.2.2.4).
func (c *Call) refuseFork(invite *sip.Request, res *sip.Response) {
	c.mu.Lock()
	fork := c.dialog
	c.mu.Unlock()
	fork.established(res)
	_ = c.phone.client.WriteRequest(fork.request(sip.ACK, invite.CSeq().SeqNo))
	if !c.phone.begin() {
		return
	}
	go func() {
		defer c.phone.work.Done()
		ctx, cancel := context.WithTimeout(context.Background(), byeTimeout)
		defer cancel()
		_, _ = c.phone.transact(ctx, fork.request(sip.BYE, invite.CSeq().SeqNo+1), c.account, nil, nil)
	}()
}

// Hold offers direction (SendOnly or Inactive) in a re-INVITE.
func (c *Call) Hold(ctx context.Context, direction plainsdp.Direction) error {
	return c.reinvite(ctx, direction)
}

// Resume offers sendrecv in a re-INVITE.
func (c *Call) Resume(ctx context.Context) error { return c.reinvite(ctx, plainsdp.SendRecv) }

// reinvite changes this side's direction, once no other INVITE is under way. When the peer refuses, the session stays what
// it was (RFC 3261 §14.1).
func (c *Call) reinvite(ctx context.Context, want plainsdp.Direction) error {
	for !c.claim() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-c.done:
			return ErrNotEstablished
		case <-ctx.Done():
			return errors.Join(ErrNotEstablished, ctx.Err())
		}
	}
	c.mu.Lock()
	before := c.session
	c.session.local.Direction = want
	c.mu.Unlock()
	err := c.renegotiate(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inviting = false
	if err != nil {
		version := c.session.local.Version
		c.session = before
		c.session.local.Version = version // never used twice
	}
	return err
}

// claim takes the right to send an INVITE in this dialog (RFC 3261 §14.1: one at a time).
func (c *Call) claim() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Established || c.serving || c.inviting {
		return false
	}
	c.inviting = true
	return true
}

func (c *Call) renegotiate(ctx context.Context) error {
	for glare := 1; ; glare++ {
		c.mu.Lock()
		c.dialog.localSeq++
		req := c.dialog.request(sip.INVITE, c.dialog.localSeq)
		c.decorate(req)
		offer(req, c.session.offer())
		c.mu.Unlock()
		done, err := c.phone.transact(ctx, req, c.account, nil, nil)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.dialog.localSeq = max(c.dialog.localSeq, done.req.CSeq().SeqNo)
		if done.res.IsSuccess() {
			c.dialog.refresh(done.res.Contact())
		}
		c.mu.Unlock()
		switch status := done.res.StatusCode; {
		case done.res.IsSuccess():
			return c.acknowledge(done, false)
		case status == sip.StatusCallTransactionDoesNotExists, status == sip.StatusRequestTimeout:
			c.end(status, "the peer has lost the call")
			return fmt.Errorf("re-INVITE: %d: %w", status, ErrRefused)
		case status == 491 && glare < maxGlare:
			if err := c.backOff(ctx); err != nil {
				return err
			}
		default:
			return fmt.Errorf("re-INVITE: %d %s: %w", status, done.res.Reason, ErrRefused)
		}
	}
}

// backOff waits the time of RFC 3261 §14.1 after a 491: 2.1-4 s for the one who made the Call-ID, else 0-2 s.
func (c *Call) backOff(ctx context.Context) error {
	wait := rand.N(2 * time.Second)
	if !c.incoming {
		wait = 2100*time.Millisecond + rand.N(1900*time.Millisecond)
	}
	select {
	case <-time.After(wait):
		return nil
	case <-c.done:
		return ErrNotEstablished
	case <-ctx.Done():
		return ctx.Err()
	}
}
