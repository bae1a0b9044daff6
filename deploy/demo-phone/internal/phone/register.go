package phone

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"
	"go.uber.org/zap"
)

const (
	registerTimeout = 10 * time.Second
	leaveTimeout    = 2 * time.Second
	firstRetry      = time.Second
	longestRetry    = 30 * time.Second
)

// Registration is the state of one account.
type Registration struct {
	User       string    `json:"user"`
	Behaviour  Behaviour `json:"behaviour"`
	Registered bool      `json:"registered"`
	Until      time.Time `json:"until,omitzero"`
	Error      string    `json:"error,omitempty"` // of the newest try
}

type registration struct {
	account Account
	callID  string
	tag     string
	seq     uint32
	left    chan struct{} // closed when de-registered

	mu    sync.Mutex
	state Registration
}

func newRegistration(a Account) *registration {
	return &registration{
		account: a, callID: uuid.NewString(), tag: sip.GenerateTagN(16), left: make(chan struct{}),
		state: Registration{User: a.User, Behaviour: a.Behaviour},
	}
}

// Registrations tells how far each account is.
func (p *Phone) Registrations() []Registration {
	out := make([]Registration, 0, len(p.registrations))
	for _, r := range p.registrations {
		r.mu.Lock()
		out = append(out, r.state)
		r.mu.Unlock()
	}
	return out
}

// keepRegistered registers, refreshes at two thirds of the time that the registrar gave, and leaves when ctx ends.
func (p *Phone) keepRegistered(ctx context.Context, r *registration) {
	defer close(r.left)
	retry := firstRetry
	for {
		expires, err := p.register(ctx, r, p.config.Expires)
		wait := expires * 2 / 3
		if err != nil {
			wait, retry = retry, min(2*retry, longestRetry)
			if ctx.Err() == nil {
				p.log.Warn("registration failed", zap.String("user", r.account.User), zap.Duration("retry_in", wait), zap.Error(err))
			}
		} else {
			retry = firstRetry
			p.log.Info("registered", zap.String("user", r.account.User), zap.Duration("expires", expires))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			if r.registered() {
				leave, cancel := context.WithTimeout(context.Background(), leaveTimeout)
				defer cancel()
				if _, err := p.register(leave, r, 0); err != nil {
					p.log.Warn("de-registration failed", zap.String("user", r.account.User), zap.Error(err))
				}
			}
			return
		}
	}
}

func (r *registration) registered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Registered
}

// register sends one REGISTER and returns how long it holds.
func (p *Phone) register(ctx context.Context, r *registration, expires time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	granted, err := p.sendRegister(ctx, r, expires)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Error = ""
	if err != nil {
		r.state.Error = err.Error()
		r.state.Registered = r.state.Registered && time.Now().Before(r.state.Until)
		return 0, err
	}
	r.state.Registered = granted > 0
	r.state.Until = time.Now().Add(granted)
	return granted, nil
}

func (p *Phone) sendRegister(ctx context.Context, r *registration, expires time.Duration) (time.Duration, error) {
	r.seq++
	registrar := sip.Uri{Scheme: "sip", Host: p.config.Domain}
	req := sip.NewRequest(sip.REGISTER, registrar)
	aor := sip.Uri{Scheme: "sip", User: r.account.User, Host: p.config.Domain}
	d := dialog{callID: r.callID, localTag: r.tag, local: aor, remote: aor}
	d.identify(req, r.seq)
	req.AppendHeader(p.contact(r.account.User))
	seconds := sip.ExpiresHeader(expires / time.Second)
	req.AppendHeader(&seconds)
	req.AppendHeader(sip.NewHeader("User-Agent", product))
	req.SetDestination(p.config.Registrar)
	done, err := p.transact(ctx, req, r.account, nil, nil)
	if err != nil {
		return 0, err
	}
	r.seq = done.req.CSeq().SeqNo
	if least := done.res.GetHeader("Min-Expires"); done.res.StatusCode == 423 && least != nil {
		if seconds, err := strconv.ParseUint(least.Value(), 10, 31); err == nil && time.Duration(seconds)*time.Second > expires {
			return p.sendRegister(ctx, r, time.Duration(seconds)*time.Second)
		}
	}
	if !done.res.IsSuccess() {
		return 0, fmt.Errorf("REGISTER: %d %s", done.res.StatusCode, done.res.Reason)
	}
	return p.granted(done.res, r.account.User, expires), nil
}

// granted is the expiry of our own contact in a 200, which lists all contacts of the address (RFC 3261 §10.2.4).
func (p *Phone) granted(res *sip.Response, user string, asked time.Duration) time.Duration {
	own := p.contact(user).Address
	var contacts []string
	for _, h := range res.GetHeaders("Contact") {
		contacts = append(contacts, values(h.Value())...)
	}
	for _, contact := range contacts {
		var uri sip.Uri
		params := sip.NewParams()
		if _, err := sip.ParseAddressValue(contact, &uri, &params); err != nil || uri.HostPort() != own.HostPort() || uri.User != own.User {
			continue
		}
		if text, ok := params.Get("expires"); ok {
			if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
				return time.Duration(seconds) * time.Second
			}
		}
	}
	if h := res.GetHeader("Expires"); h != nil {
		if seconds, err := strconv.ParseUint(h.Value(), 10, 31); err == nil {
			return time.Duration(seconds) * time.Second
		}
	}
	return asked
}
