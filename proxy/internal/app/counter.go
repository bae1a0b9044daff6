package app

import (
	"context"
	"maps"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"

	"github.com/tandem-sbc/tandem/proxy/internal/admin"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
)

// counter counts requests by method, on their way into the chain.
type counter struct {
	next     transaction.User
	requests map[sip.RequestMethod]*atomic.Uint64 // never changed; "" = all others
}

func newCounter(next transaction.User) *counter {
	c := &counter{next: next, requests: map[sip.RequestMethod]*atomic.Uint64{}}
	for _, m := range []sip.RequestMethod{
		"", sip.INVITE, sip.ACK, sip.CANCEL, sip.BYE, sip.REGISTER, sip.OPTIONS, sip.SUBSCRIBE, sip.NOTIFY, sip.REFER, sip.INFO, sip.MESSAGE,
		sip.PRACK, sip.UPDATE, sip.PUBLISH,
	} {
		c.requests[m] = new(atomic.Uint64)
	}
	return c
}

// Request implements transaction.User.
func (c *counter) Request(ctx context.Context, r *request.Request) {
	n, known := c.requests[r.Msg.Method]
	if !known { // methods are what strangers make up
		n = c.requests[""]
	}
	n.Add(1)
	c.next.Request(ctx, r)
}

func (c *counter) metric() admin.Metric {
	requests := admin.Metric{Name: "tandem_requests_total", Help: "Requests that were let in, by method.", Counter: true}
	for method := range maps.Keys(c.requests) {
		name := string(method)
		if name == "" {
			name = "other"
		}
		requests.Samples = append(requests.Samples, admin.Sample{Labels: []string{"method", name}, Value: float64(c.requests[method].Load())})
	}
	return requests
}
