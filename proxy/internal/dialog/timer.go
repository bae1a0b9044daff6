package dialog

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Session is the policy about session timers (RFC 4028 §8).
type Session struct {
	// Min is the shortest interval that is let through (90 s, the least that the RFC allows).
	Min time.Duration
	// Interval is asked for where a side asks for none or for a longer one, as far as the sides' own Min-SE allow; 0: never.
	Interval time.Duration
}

func (s Session) withDefaults() Session {
	if s.Min <= 0 {
		s.Min = 90 * time.Second
	}
	if s.Interval > 0 {
		s.Interval = max(s.Interval, s.Min)
	}
	return s
}

// sessionTimer is what the sides of a dialog have agreed.
type sessionTimer struct {
	interval time.Duration
	ends     time.Time // zero: none
	callerIs bool      // who refreshes it: A
}

// timed reports whether a method may carry a session timer.
func timed(m sip.RequestMethod) bool { return m == sip.INVITE || m == sip.UPDATE }

// shortest is how a Min-SE header is read when there is none (RFC 4028 §5).
const shortest = 90 * time.Second

// supports reports that the sender of a request knows session timers.
func supports(req *sip.Request) bool {
	for _, name := range []string{"Supported", "k", "Require"} {
		for _, h := range req.GetHeaders(name) {
			for _, tag := range request.SplitList(h.Value()) {
				if strings.EqualFold(tag, "timer") {
					return true
				}
			}
		}
	}
	return false
}

// expires reads Session-Expires or its compact form; ok is false when there is none that can be read.
func expires(m sip.Message) (interval time.Duration, refresher string, ok bool) {
	value := request.Header(m, "Session-Expires")
	if value == "" {
		value = request.Header(m, "x")
	}
	seconds, params, _ := strings.Cut(value, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(seconds), 10, 31)
	if err != nil {
		return 0, "", false
	}
	refresher, _ = request.Param(request.ParseParams(params), "refresher")
	return time.Duration(n) * time.Second, strings.ToLower(refresher), true
}

// replace sets the interval of Session-Expires and keeps its parameters.
func replace(m *sip.Request, interval time.Duration) {
	value := request.Header(m, "Session-Expires")
	if value == "" {
		value = request.Header(m, "x")
	}
	_, params, found := strings.Cut(value, ";")
	next := seconds(interval)
	if found {
		next += ";" + params
	}
	remove(m, "Session-Expires", "x")
	m.AppendHeader(sip.NewHeader("Session-Expires", next))
}

func remove(m *sip.Request, names ...string) {
	for _, name := range names {
		for m.RemoveHeader(name) {
		}
	}
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// refuse answers a request whose interval is too small and whose sender can do better (RFC 4028 §8.1).
func (s Session) refuse(req *sip.Request) error {
	interval, _, asked := expires(req)
	if !asked || interval >= s.Min || !supports(req) {
		return nil
	}
	e := request.Fail(422, "Session Interval Too Small", nil)
	e.Headers = []sip.Header{sip.NewHeader("Min-SE", seconds(s.Min))}
	return e
}

// ask puts the proxy's own wish into a request that goes out: lower, never below what either side can bear, and without a
// refresher of its own choice.
func (s Session) ask(req *sip.Request) {
	least := shortest
	if n, err := strconv.ParseUint(strings.TrimSpace(request.Header(req, "Min-SE")), 10, 31); err == nil {
		least = max(least, time.Duration(n)*time.Second)
	}
	interval, _, asked := expires(req)
	switch {
	case asked && interval < s.Min: // of one who does not know 422
		if least < s.Min {
			remove(req, "Min-SE")
			req.AppendHeader(sip.NewHeader("Min-SE", seconds(s.Min)))
		}
		replace(req, s.Min)
	case s.Interval == 0:
	case !asked:
		req.AppendHeader(sip.NewHeader("Session-Expires", seconds(max(s.Interval, least))))
	case interval > max(s.Interval, least):
		replace(req, max(s.Interval, least))
	}
}

// agree takes a 2xx to a request that was sent as it is given, and returns what the sides have agreed; 0 for no timer. If
// the callee knows none, the caller is made to refresh where he can (RFC 4028 §8.2).
func agree(original, sent *sip.Request, res *sip.Response) (interval time.Duration, senderRefreshes bool) {
	if interval, refresher, ok := expires(res); ok {
		return interval, refresher != "uas"
	}
	interval, _, asked := expires(sent)
	if !asked || !supports(original) {
		return 0, false
	}
	res.AppendHeader(sip.NewHeader("Session-Expires", seconds(interval)+";refresher=uac"))
	res.AppendHeader(sip.NewHeader("Require", "timer"))
	return interval, true
}

// refreshed starts a dialog's session timer anew by a 2xx; the lock is held.
func (k *Keeper) refreshed(d *Dialog, original, sent *sip.Request, res *sip.Response, fromA bool) {
	if sent == nil || !timed(original.Method) {
		return
	}
	interval, sender := agree(original, sent, res)
	d.session = sessionTimer{interval: interval, callerIs: sender == fromA}
	if interval > 0 {
		d.session.ends = time.Now().Add(interval)
	}
}

// overdue ends dialogs whose session timer has run out. The sides themselves should have ended them before, by a third of
// the interval or 32 s (RFC 4028 §10).
func (k *Keeper) overdue(now time.Time) {
	k.mu.Lock()
	var late []*Dialog
	for d := range k.dialogs {
		if d.Confirmed && !d.closing && !d.session.ends.IsZero() && now.After(d.session.ends) {
			late = append(late, d)
		}
	}
	k.mu.Unlock()
	for _, d := range late {
		k.post.Post(d.CallID, func(ctx context.Context) {
			k.mu.Lock()
			still := !d.session.ends.IsZero() && time.Now().After(d.session.ends)
			k.mu.Unlock()
			if still {
				k.log.Info("session timer has run out, ending the call", zap.String("call-id", d.CallID),
					zap.Duration("interval", d.session.interval))
				k.end(ctx, d, "proxy: session timer", true, true)
			}
		})
	}
}

// keepTimer puts the running session timer into a re-INVITE made here, so that it goes on as it was: who refreshes keeps
// doing so. The lock is held.
func (d *Dialog) keepTimer(msg *sip.Request, fromA bool) {
	if d.session.interval <= 0 {
		return
	}
	refresher := "uas"
	if d.session.callerIs == fromA {
		refresher = "uac"
	}
	msg.AppendHeader(sip.NewHeader("Supported", "timer"))
	msg.AppendHeader(sip.NewHeader("Session-Expires", seconds(max(d.session.interval, shortest))+";refresher="+refresher))
}
