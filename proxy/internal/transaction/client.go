package transaction

import (
	"context"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Events are what a client transaction tells its owner, in the order of the call.
type Events interface {
	// Response is called for each provisional response, the first final one, and further 2xx to INVITE.
	Response(ctx context.Context, res *sip.Response)
	// Failed is called instead of a final response: ErrTimeout or the transport's error.
	Failed(ctx context.Context, err error)
}

// Client is a client transaction.
type Client struct {
	layer  *Layer
	key    string
	callID string
	req    *sip.Request
	conn   request.Connection
	events Events

	mu       sync.Mutex
	state    state
	interval time.Duration // of Timer A or E
	timer    *time.Timer   // A, E
	life     *time.Timer   // B, D, F, K, M
	ack      *sip.Request
}

// Begin sends a request whose topmost Via is ours by a new client transaction. The request must not be changed any more.
// Nothing of events is called when it returns an error.
func (l *Layer) Begin(req *sip.Request, conn request.Connection, events Events) (*Client, error) {
	c := &Client{
		layer: l, key: clientKey(request.ViaBranch(req), req.Method), callID: request.CallID(req), req: req, conn: conn,
		events: events,
	}
	l.mu.Lock()
	if l.closed || len(l.clients) >= l.limits.Transactions {
		l.mu.Unlock()
		return nil, ErrOverload
	}
	l.clients[c.key] = c
	l.watch(conn, c)
	l.mu.Unlock()

	c.mu.Lock()
	c.life = time.AfterFunc(l.timers.Timeout(), c.timedOut) // Timers B and F
	if !conn.Transport().Reliable() {
		c.interval = l.timers.T1
		c.timer = time.AfterFunc(c.interval, c.resend)
	}
	c.mu.Unlock()
	if err := conn.Send(req); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

func (c *Client) invite() bool { return c.req.Method == sip.INVITE }

// resend is Timer A or E.
func (c *Client) resend() {
	c.mu.Lock()
	if c.state > proceeding || (c.invite() && c.state != calling) {
		c.mu.Unlock()
		return
	}
	c.interval *= 2
	if !c.invite() {
		c.interval = min(c.interval, c.layer.timers.T2)
		if c.state == proceeding {
			c.interval = c.layer.timers.T2
		}
	}
	c.timer.Reset(c.interval)
	c.mu.Unlock()
	if err := c.conn.Send(c.req); err != nil {
		c.fail(err)
	}
}

// timedOut is Timer B or F.
func (c *Client) timedOut() { c.fail(ErrTimeout) }

// connectionLost fails a transaction that waits for a response on a connection that is gone.
func (c *Client) connectionLost() { c.fail(request.ErrConnectionClosed) }

func (c *Client) fail(err error) {
	c.mu.Lock()
	waiting := c.state <= proceeding
	if waiting {
		c.state = terminated
	}
	c.mu.Unlock()
	if !waiting {
		return
	}
	c.end()
	c.layer.Post(c.callID, func(ctx context.Context) { c.events.Failed(ctx, err) })
}

// receive moves the state machine by a response.
func (c *Client) receive(res *sip.Response) {
	c.mu.Lock()
	waiting := c.state <= proceeding
	up, ack, over := c.advance(res)
	final := waiting && c.state > proceeding // the first one, on which the owner waits
	c.mu.Unlock()
	if ack != nil {
		if err := c.conn.Send(ack); err != nil {
			c.layer.log.Debug("ACK not sent", zap.String("call-id", c.callID), zap.Error(err))
		}
	}
	if over {
		c.end()
	}
	if up {
		post := c.layer.admit
		if final {
			post = c.layer.Post
		}
		post(c.callID, func(ctx context.Context) { c.events.Response(ctx, res) })
	}
}

// advance returns whether the response goes up, an ACK to send, and whether the transaction is over; the lock is held.
func (c *Client) advance(res *sip.Response) (up bool, ack *sip.Request, over bool) {
	t := c.layer.timers
	reliable := c.conn.Transport().Reliable()
	switch {
	case c.state == accepted:
		return res.IsSuccess(), nil, false
	case c.state == completed && c.invite() && res.StatusCode >= 300:
		return false, c.ack, false
	case c.state > proceeding:
		return false, nil, false
	case res.IsProvisional():
		if c.state == calling && c.invite() {
			c.life.Stop() // from here on the core's Timer C rules
			c.halt()
		}
		c.state = proceeding
		return true, nil, false
	}
	c.halt()
	if !c.invite() {
		c.state = completed
		if reliable {
			return true, nil, true
		}
		c.expire(t.T4) // Timer K
		return true, nil, false
	}
	if res.IsSuccess() {
		c.state = accepted
		c.expire(t.Timeout()) // Timer M
		return true, nil, false
	}
	c.state = completed
	c.ack = newAck(c.req, res)
	if reliable {
		return true, c.ack, true
	}
	c.expire(t.Timeout()) // Timer D
	return true, c.ack, false
}

// newAck builds the ACK of a failed INVITE (RFC 3261 §17.1.1.3).
func newAck(req *sip.Request, res *sip.Response) *sip.Request {
	ack := sip.NewRequest(sip.ACK, *req.Recipient.Clone())
	ack.AppendHeader(req.Via().Clone())
	sip.CopyHeaders("Route", req, ack)
	hops := sip.MaxForwardsHeader(70)
	ack.AppendHeader(&hops)
	sip.CopyHeaders("From", req, ack)
	sip.CopyHeaders("To", res, ack)
	sip.CopyHeaders("Call-ID", req, ack)
	seq, _ := request.CSeq(req)
	ack.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: sip.ACK})
	ack.SetBody(nil)
	return ack
}

// NewCancel builds the CANCEL of an INVITE as it was sent: same request URI, topmost Via and Route (RFC 3261 §9.1).
func NewCancel(req *sip.Request) *sip.Request {
	cancel := sip.NewRequest(sip.CANCEL, *req.Recipient.Clone())
	cancel.AppendHeader(req.Via().Clone())
	sip.CopyHeaders("Route", req, cancel)
	hops := sip.MaxForwardsHeader(70)
	cancel.AppendHeader(&hops)
	for _, name := range []string{"From", "To", "Call-ID"} {
		sip.CopyHeaders(name, req, cancel)
	}
	seq, _ := request.CSeq(req)
	cancel.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: sip.CANCEL})
	cancel.SetBody(nil)
	return cancel
}

// Abandon ends a transaction whose owner waits no longer; later responses are stray.
func (c *Client) Abandon() { c.end() }

func (c *Client) expire(d time.Duration) {
	c.life.Stop()
	c.life = time.AfterFunc(d, c.end)
}

func (c *Client) halt() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

func (c *Client) end() {
	c.stop()
	l := c.layer
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.clients[c.key] == c {
		delete(l.clients, c.key)
	}
	l.unwatch(c.conn, c)
}

func (c *Client) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = terminated
	c.halt()
	if c.life != nil {
		c.life.Stop()
	}
}
