package phone

import (
	"context"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"
)

// Transfer asks the peer by REFER (RFC 3515) to call to instead. When the peer tells by NOTIFY that it is talking there,
// this call is hung up.
func (c *Call) Transfer(ctx context.Context, to string) error {
	c.mu.Lock()
	if c.state != Established {
		c.mu.Unlock()
		return ErrNotEstablished
	}
	c.dialog.localSeq++
	req := c.dialog.request(sip.REFER, c.dialog.localSeq)
	local := c.dialog.local
	c.mu.Unlock()
	req.AppendHeader(c.phone.contact(c.account.User))
	req.AppendHeader(sip.NewHeader("Refer-To", "<"+to+">"))
	req.AppendHeader(sip.NewHeader("Referred-By", "<"+local.String()+">"))
	done, err := c.phone.transact(ctx, req, c.account, nil, nil)
	if err != nil {
		return err
	}
	if !done.res.IsSuccess() {
		return fmt.Errorf("REFER: %d %s", done.res.StatusCode, done.res.Reason)
	}
	return nil
}

// onNotify takes the news of a transfer: the body is the response that the peer has got (RFC 3515 §2.4.5).
func (p *Phone) onNotify(req *sip.Request, tx sip.ServerTransaction) {
	p.inDialog(req, tx, func(c *Call, req *sip.Request, tx sip.ServerTransaction) {
		p.respond(tx, req, sip.StatusOK, "OK", nil)
		event := ""
		if h := req.GetHeader("Event"); h != nil {
			event, _, _ = strings.Cut(h.Value(), ";")
		}
		if event != "refer" || !strings.HasPrefix(string(req.Body()), "SIP/2.0 2") || !p.begin() {
			return
		}
		c.log().Info("transferred")
		go func() {
			defer p.work.Done()
			ctx, cancel := context.WithTimeout(context.Background(), byeTimeout)
			defer cancel()
			if err := c.Hangup(ctx); err != nil {
				c.log().Warn("hang-up failed", zap.Error(err))
			}
		}()
	})
}
