// Package uac sends requests that the proxy makes for itself and that belong to no dialog, as OPTIONS and REGISTER to
// trunks: to the next hops by RFC 3263 one after the other, with answers to challenges.
package uac

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
)

// Resolver finds next hops; resolve.Resolver is one.
type Resolver interface {
	Resolve(ctx context.Context, uri sip.Uri) ([]request.Hop, error)
	Failed(hop request.Hop)
}

// Challenges answer those of a request's server; trunk.Account is one.
type Challenges interface {
	Authorize(req *sip.Request)
	Answer(req *sip.Request, res *sip.Response) (bool, error)
}

// Client sends requests. It is safe for concurrent use.
type Client struct {
	layer    *transaction.Layer
	conns    request.Connections
	resolver Resolver
}

// New makes a client.
func New(layer *transaction.Layer, conns request.Connections, resolver Resolver) *Client {
	return &Client{layer: layer, conns: conns, resolver: resolver}
}

// Request is one request to send. It must be without Via, Call-ID and CSeq; Complete, if not nil, adds what depends on the
// connection, as Contact.
type Request struct {
	Msg        *sip.Request
	NextHop    sip.Uri
	CallID     string
	CSeq       uint32 // of the first try
	Challenges Challenges
	Complete   func(msg *sip.Request, conn request.Connection)
}

// challenged bounds how often a request is sent again with credentials.
const challenged = 3

// Do sends a request and waits for its final response, of the first hop that gives one which is not 503. tries tells how
// many requests were sent: the next CSeq must be higher by that.
func (c *Client) Do(ctx context.Context, r Request) (res *sip.Response, tries uint32, err error) {
	hops, err := c.resolver.Resolve(ctx, r.NextHop)
	if err != nil {
		return nil, 0, err
	}
	for _, hop := range hops {
		if err := ctx.Err(); err != nil {
			return nil, tries, err
		}
		var sent uint32
		res, sent, err = c.hop(ctx, r, hop, tries)
		tries += sent
		if err == nil && res.StatusCode != sip.StatusServiceUnavailable {
			return res, tries, nil
		}
		c.resolver.Failed(hop)
	}
	return res, tries, err
}

// hop sends a request to one hop, again with credentials when it asks for them.
func (c *Client) hop(ctx context.Context, r Request, hop request.Hop, before uint32) (res *sip.Response, sent uint32, err error) {
	conn, err := c.conns.Reach(ctx, hop)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", hop.Addr, err)
	}
	msg := request.Clone(r.Msg)
	callID := sip.CallIDHeader(r.CallID)
	msg.AppendHeader(&callID)
	msg.AppendHeader(&sip.CSeqHeader{SeqNo: r.CSeq + before, MethodName: msg.Method})
	if msg.MaxForwards() == nil {
		left := sip.MaxForwardsHeader(70)
		msg.AppendHeader(&left)
	}
	if r.Complete != nil {
		r.Complete(msg, conn)
	}
	if r.Challenges != nil {
		r.Challenges.Authorize(msg)
	}
	for {
		msg.ReplaceHeader(&sip.CSeqHeader{SeqNo: r.CSeq + before + sent, MethodName: msg.Method})
		sent++
		if res, err = c.once(ctx, msg, conn); err != nil {
			return nil, sent, fmt.Errorf("%s: %w", hop.Addr, err)
		}
		asked := res.StatusCode == sip.StatusUnauthorized || res.StatusCode == sip.StatusProxyAuthRequired
		if !asked || r.Challenges == nil || sent > challenged {
			return res, sent, nil
		}
		again, err := r.Challenges.Answer(msg, res)
		if err != nil {
			return res, sent, err
		}
		if !again {
			return res, sent, nil
		}
	}
}

// once runs one transaction.
func (c *Client) once(ctx context.Context, msg *sip.Request, conn request.Connection) (*sip.Response, error) {
	out := request.Clone(msg)
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	host, port := request.HostPort(conn.SentBy())
	via := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(string(conn.Transport())), Host: host, Port: port,
		Params: sip.HeaderParams{{K: "branch", V: sip.RFC3261BranchMagicCookie + hex.EncodeToString(random[:])}},
	}
	if conn.Transport() == request.UDP {
		via.Params = append(via.Params, sip.HeaderKV{K: "rport"})
	}
	out.PrependHeader(via)
	w := waiter{done: make(chan result, 1)}
	tx, err := c.layer.Begin(out, conn, w)
	if err != nil {
		return nil, err
	}
	select {
	case r := <-w.done:
		return r.res, r.err
	case <-ctx.Done():
		tx.Abandon()
		return nil, errors.Join(ctx.Err(), transaction.ErrTimeout)
	case <-c.layer.Context().Done():
		tx.Abandon()
		return nil, c.layer.Context().Err()
	}
}

type result struct {
	res *sip.Response
	err error
}

// waiter hands on the final response of a transaction.
type waiter struct{ done chan result }

// Response implements transaction.Events.
func (w waiter) Response(_ context.Context, res *sip.Response) {
	if !res.IsProvisional() {
		w.put(result{res: res})
	}
}

// Failed implements transaction.Events.
func (w waiter) Failed(_ context.Context, err error) { w.put(result{err: err}) }

func (w waiter) put(r result) {
	select {
	case w.done <- r:
	default:
	}
}
