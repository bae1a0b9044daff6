package trunk

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Registration is one address of record that is registered with a trunk (RFC 3261 §10.2).
type Registration struct {
	AoR         sip.Uri
	Registrar   sip.Uri // where to send to; zero: the trunk's targets
	Contact     string  // user part
	Expires     time.Duration
	Credentials Credentials
}

const (
	// firstRetry and lastRetry are the waits after failures, doubled each time.
	firstRetry, lastRetry = 2 * time.Second, 5 * time.Minute
	// registerTimeout is for one try where a registrar is named, over all its hops; a target has the trunk's timeout.
	registerTimeout = 40 * time.Second
	// shortest is the least life of a binding that is renewed at its pace.
	shortest = 10 * time.Second
)

// register keeps a registration alive until ctx ends.
func (t *Trunks) register(ctx context.Context, name string, g Registration) {
	n := &registrant{
		Trunks: t, trunk: name, Registration: g, account: NewAccount(g.Credentials), callID: newID(), tag: newID(), cseq: 1,
		expires: g.Expires,
	}
	retry := firstRetry
	for {
		granted, again, err := n.try(ctx)
		if ctx.Err() != nil {
			return
		}
		n.report(granted, err)
		if err == nil {
			retry = firstRetry
			if !wait(ctx, max(granted, shortest)*8/10) {
				return
			}
			continue
		}
		pause := max(again, retry/2+jitter(retry/2))
		t.log.Warn("registration at trunk failed", zap.String("trunk", name), zap.String("aor", g.AoR.String()), zap.Error(err),
			zap.Duration("again_in", pause.Round(time.Millisecond)))
		retry = min(2*retry, lastRetry)
		if !wait(ctx, pause) {
			return
		}
	}
}

// registrant is one registration at work.
type registrant struct {
	*Trunks
	Registration
	trunk   string
	account *Account
	callID  string
	tag     string
	cseq    uint32
	expires time.Duration // asked for; raised by 423
}

// try registers once, at the first next hop that answers. again is when to try again at the earliest after an error.
func (n *registrant) try(ctx context.Context) (granted, again time.Duration, err error) {
	hops, limit := []sip.Uri{n.Registrar}, registerTimeout
	if n.Registrar.Host == "" {
		hops = nil
		if k := n.Trunks.trunk(n.trunk); k != nil && k.Silence > 0 {
			limit = k.Silence
		}
		for _, target := range n.Trunks.Targets(n.trunk, "") {
			hops = append(hops, target.URI)
		}
	}
	err = fmt.Errorf("no registrar: %w", request.ErrNoListener)
	for _, hop := range hops {
		hctx, cancel := context.WithTimeout(ctx, limit)
		granted, again, err = n.at(hctx, hop)
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return granted, again, err
}

// at registers at one next hop, with longer life when that is asked for (423).
func (n *registrant) at(ctx context.Context, hop sip.Uri) (granted, again time.Duration, err error) {
	for range 2 {
		var contact string
		msg := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: n.AoR.Scheme, Host: n.AoR.Host, Port: n.AoR.Port})
		msg.AppendHeader(sip.NewHeader("From", "<"+n.AoR.String()+">;tag="+n.tag))
		msg.AppendHeader(sip.NewHeader("To", "<"+n.AoR.String()+">"))
		res, next, err := n.sender.Send(ctx, msg, hop, n.callID, n.cseq, n.account, func(msg *sip.Request, conn request.Connection) {
			uri := n.contact(conn)
			contact = uri.String()
			msg.AppendHeader(sip.NewHeader("Contact", fmt.Sprintf("<%s>;expires=%d", contact, int(n.expires.Seconds()))))
			msg.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(n.expires.Seconds()))))
			msg.SetBody(nil)
		})
		n.cseq = max(next, n.cseq+1)
		switch {
		case err != nil:
			return 0, 0, err
		case res.IsSuccess():
			return n.granted(res, contact), 0, nil
		case res.StatusCode == 423: // Interval Too Brief (RFC 3261 §10.3)
			least, bad := strconv.Atoi(strings.TrimSpace(request.Header(res, "Min-Expires")))
			if asked := time.Duration(least) * time.Second; bad == nil && asked > n.expires && asked <= 7*24*time.Hour {
				n.expires = asked
				continue
			}
		}
		return 0, retryAfter(res), fmt.Errorf("%d %s", res.StatusCode, res.Reason)
	}
	return 0, 0, fmt.Errorf("423 again")
}

// contact is where the trunk shall send calls to.
func (n *registrant) contact(conn request.Connection) sip.Uri {
	host, port := request.HostPort(conn.SentBy())
	uri := sip.Uri{Scheme: "sip", User: n.Contact, Host: host, Port: port}
	if t := conn.Transport(); t != request.UDP {
		uri.UriParams = sip.HeaderParams{{K: "transport", V: string(t)}}
	}
	return uri
}

// granted is how long the registrar keeps our Contact; that of other devices of the same account does not count.
func (n *registrant) granted(res *sip.Response, contact string) time.Duration {
	seconds := int(n.expires.Seconds())
	if v, err := strconv.Atoi(strings.TrimSpace(request.Header(res, "Expires"))); err == nil {
		seconds = v
	}
	list, _ := request.Addresses(res, "Contact")
	mine := func(a request.Address) bool {
		var own sip.Uri
		return request.ParseURI(contact, &own) == nil && a.URI.User == own.User && a.URI.Host == own.Host && a.URI.Port == own.Port
	}
	if i := slices.IndexFunc(list, mine); i >= 0 {
		if text, ok := list[i].Param("expires"); ok {
			if v, err := strconv.Atoi(text); err == nil {
				seconds = v
			}
		}
	}
	return min(time.Duration(max(seconds, 0))*time.Second, n.expires)
}

// retryAfter is the time of Retry-After, at most an hour.
func retryAfter(res *sip.Response) time.Duration {
	value := strings.FieldsFunc(request.Header(res, "Retry-After"), func(r rune) bool { return r == ' ' || r == '(' || r == ';' })
	if len(value) == 0 {
		return 0
	}
	s, err := strconv.Atoi(value[0])
	if err != nil || s < 0 {
		return 0
	}
	return min(time.Duration(s)*time.Second, time.Hour)
}

// newID makes a Call-ID or tag.
func newID() string {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return hex.EncodeToString(random[:])
}

func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return mathrand.N(d)
}
