package phone

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// maxChallenges bounds the answers to 401 and 407 for one request: one each, and one for a stale nonce.
const maxChallenges = 3

// ErrNoAnswer means that no final response came.
var ErrNoAnswer = errors.New("no final response")

// exchange is a request of ours and its final response.
type exchange struct {
	req *sip.Request // as sent last, with credentials
	res *sip.Response
	tx  sip.ClientTransaction
}

// transact sends a request, answers digest challenges and waits for the final response. Provisional responses go to
// provisional, which may be nil. When cancel is closed an INVITE is cancelled as soon as RFC 3261 §9.1 allows it.
func (p *Phone) transact(ctx context.Context, req *sip.Request, account Account, provisional func(*sip.Response), cancel <-chan struct{}) (exchange, error) {
	for challenges := 0; ; challenges++ {
		tx, err := p.client.TransactionRequest(ctx, req)
		if err != nil {
			return exchange{}, fmt.Errorf("%s: %w", req.Method, err)
		}
		res, err := p.await(ctx, tx, req, provisional, cancel)
		if !req.IsInvite() || err != nil { // an INVITE's transaction lives on, for retransmitted responses
			tx.Terminate()
		}
		if err != nil {
			return exchange{}, fmt.Errorf("%s: %w", req.Method, err)
		}
		if challenges == maxChallenges || res.StatusCode != sip.StatusUnauthorized && res.StatusCode != sip.StatusProxyAuthRequired {
			return exchange{req, res, tx}, nil
		}
		next, err := authorize(req, res, account)
		if err != nil {
			return exchange{}, fmt.Errorf("%s: %w", req.Method, err)
		}
		req = next
	}
}

func (p *Phone) await(ctx context.Context, tx sip.ClientTransaction, req *sip.Request, provisional func(*sip.Response), cancel <-chan struct{}) (*sip.Response, error) {
	early := false
	var armed <-chan struct{} // cancel, once a provisional response allows it
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
			early, armed = true, cancel
			if provisional != nil {
				provisional(res)
			}
		case <-armed:
			armed, cancel = nil, nil
			if early {
				p.cancel(ctx, req)
			}
		case <-tx.Done():
			return nil, errors.Join(ErrNoAnswer, tx.Err())
		case <-ctx.Done():
			return nil, errors.Join(ErrNoAnswer, ctx.Err())
		}
	}
}

// cancel sends CANCEL for an INVITE that is under way (§9.1): same branch, same target.
func (p *Phone) cancel(ctx context.Context, invite *sip.Request) {
	req := sip.NewRequest(sip.CANCEL, invite.Recipient)
	for _, h := range []sip.Header{invite.Via(), invite.From(), invite.To(), invite.CallID()} {
		req.AppendHeader(sip.HeaderClone(h))
	}
	req.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	sip.CopyHeaders("Route", invite, req)
	req.SetTransport("UDP")
	req.SetDestination(invite.Destination())
	tx, err := p.client.TransactionRequest(ctx, req)
	if err != nil {
		return
	}
	if !p.begin() {
		tx.Terminate()
		return
	}
	go func() { // its response says nothing: the INVITE's own final response counts
		defer p.work.Done()
		defer tx.Terminate()
		select {
		case <-tx.Responses():
		case <-tx.Done():
		case <-ctx.Done():
		}
	}()
}

// authorize repeats a request with credentials for the topmost challenge that it can answer (RFC 8760 §2.4).
func authorize(req *sip.Request, res *sip.Response, account Account) (*sip.Request, error) {
	ask, reply := "WWW-Authenticate", "Authorization"
	if res.StatusCode == sip.StatusProxyAuthRequired {
		ask, reply = "Proxy-Authenticate", "Proxy-Authorization"
	}
	var best *digest.Challenge
	for _, h := range res.GetHeaders(ask) {
		challenge, err := digest.ParseChallenge(h.Value())
		if err != nil {
			continue
		}
		challenge.Algorithm = strings.ToUpper(challenge.Algorithm)
		if digest.CanDigest(challenge) {
			best = challenge
			break
		}
	}
	if best == nil {
		return nil, fmt.Errorf("status %d without a challenge that can be answered", res.StatusCode)
	}
	if old := req.GetHeader(reply); old != nil && !best.Stale {
		return nil, fmt.Errorf("status %d: the credentials of %s are refused", res.StatusCode, account.User)
	}
	credentials, err := digest.Digest(best, digest.Options{
		Method: req.Method.String(), URI: req.Recipient.String(), Username: account.User, Password: account.Password,
	})
	if err != nil {
		return nil, fmt.Errorf("digest: %w", err)
	}
	next := req.Clone()
	next.RemoveHeader("Via")
	next.RemoveHeader(reply)
	next.AppendHeader(sip.NewHeader(reply, credentials.String()))
	next.CSeq().SeqNo++
	next.SetTransport("UDP")
	next.SetDestination(req.Destination())
	return next, nil
}
