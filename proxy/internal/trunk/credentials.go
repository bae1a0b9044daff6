package trunk

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// Credentials answer challenges for one account.
type Credentials struct {
	User, Password string
	Realm          string // "" = any
}

// ErrRefused means that a peer refuses credentials, or asks for what they cannot give.
var ErrRefused = errors.New("credentials refused")

const (
	// remembered bounds the challenges kept for an account, one for each realm.
	remembered = 8
	// maxChallenges bounds those that are read of one response, challengeSize the bytes of each.
	maxChallenges, challengeSize = 8, 2048
)

// Account answers challenges with credentials and remembers those that it has answered. It is safe for concurrent use.
type Account struct {
	Credentials
	mu    sync.Mutex
	known []*known
}

// known is a challenge that was answered, of a proxy (407) or not (401).
type known struct {
	digest.Challenge
	proxy bool
	count int // uses of its nonce
}

// NewAccount returns an account that knows no challenge yet; nil without a user.
func NewAccount(c Credentials) *Account {
	if c.User == "" {
		return nil
	}
	return &Account{Credentials: c}
}

// Authorize adds credentials for each challenge known, with the next count of its nonce (RFC 7616 §3.4). ACK gets what
// INVITE had, as nobody may challenge it (RFC 3261 §22.1).
func (a *Account) Authorize(req *sip.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.known {
		if len(k.QOP) == 0 && k.count > 0 { // without qop a nonce may be good for once only, and is not counted
			continue
		}
		// A challenge that was answered once can be answered again.
		_ = a.add(req, k)
	}
}

// Answer puts credentials for the challenges of res into req. See request.Challenges.
func (a *Account) Answer(req *sip.Request, res *sip.Response) (bool, error) {
	proxy := res.StatusCode == sip.StatusProxyAuthRequired
	header, own := "WWW-Authenticate", "Authorization"
	if proxy {
		header, own = "Proxy-Authenticate", "Proxy-Authorization"
	}
	best := choose(res, header)
	best = slices.DeleteFunc(best, func(c *digest.Challenge) bool { return a.Realm != "" && !strings.EqualFold(a.Realm, c.Realm) })
	if len(best) == 0 {
		return false, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range best {
		used, ok := carried(req, own, c.Realm)
		if !ok || c.Stale {
			continue
		}
		i := slices.IndexFunc(a.known, func(k *known) bool { return k.Nonce == used && k.proxy == proxy })
		if i >= 0 && a.known[i].count <= 1 { // they were wrong for a fresh nonce; an older one may just be forgotten
			a.known = slices.Delete(a.known, i, i+1)
			return false, fmt.Errorf("realm %q: %w", c.Realm, ErrRefused)
		}
	}
	for _, c := range best {
		remove(req, own, c.Realm)
		k := a.remember(c, proxy)
		if err := a.add(req, k); err != nil {
			return false, fmt.Errorf("realm %q: %w: %w", c.Realm, ErrRefused, err)
		}
	}
	return true, nil
}

// remember keeps a challenge in place of the one of the same realm; the lock is held.
func (a *Account) remember(c *digest.Challenge, proxy bool) *known {
	k := &known{Challenge: *c, proxy: proxy}
	same := func(o *known) bool { return o.proxy == proxy && strings.EqualFold(o.Realm, c.Realm) }
	if i := slices.IndexFunc(a.known, same); i >= 0 {
		a.known[i] = k
		return k
	}
	if len(a.known) >= remembered {
		a.known = slices.Delete(a.known, 0, 1)
	}
	a.known = append(a.known, k)
	return k
}

// add puts credentials for a challenge into req; the lock is held.
func (a *Account) add(req *sip.Request, k *known) error {
	if req.Method != sip.ACK && req.Method != sip.CANCEL {
		k.count++
	}
	credentials, err := digest.Digest(&k.Challenge, digest.Options{
		Method: string(req.Method), URI: req.Recipient.String(), Count: max(k.count, 1), Username: a.User, Password: a.Password,
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(req.Body()))), nil },
	})
	if err != nil {
		return err
	}
	name := "Authorization"
	if k.proxy {
		name = "Proxy-Authorization"
	}
	req.AppendHeader(sip.NewHeader(name, credentials.String()))
	return nil
}

// choose reads the digest challenges of a response, the strongest that is understood for each realm (RFC 8760 §2.4).
func choose(res *sip.Response, header string) []*digest.Challenge {
	var best []*digest.Challenge
	for n, h := range res.GetHeaders(header) {
		if n >= maxChallenges || len(h.Value()) > challengeSize {
			break
		}
		c, err := digest.ParseChallenge(strings.TrimSpace(h.Value()))
		if err != nil || !digest.CanDigest(c) || strings.ContainsAny(c.Realm+c.Nonce+c.Opaque, "\r\n") {
			continue
		}
		for i := range c.QOP {
			c.QOP[i] = strings.TrimSpace(c.QOP[i])
		}
		i := slices.IndexFunc(best, func(o *digest.Challenge) bool { return strings.EqualFold(o.Realm, c.Realm) })
		switch {
		case i < 0:
			best = append(best, c)
		case strength(c) > strength(best[i]):
			best[i] = c
		}
	}
	return best
}

func strength(c *digest.Challenge) int {
	switch strings.ToUpper(c.Algorithm) {
	case "SHA-256":
		return 2
	case "SHA-512", "SHA-512-256":
		return 1 // few peers that offer them have been seen to be right about them
	default:
		return 0
	}
}

// carried is the nonce of the credentials for a realm that req carries.
func carried(req *sip.Request, name, realm string) (nonce string, ok bool) {
	for _, h := range req.GetHeaders(name) {
		if c, err := digest.ParseCredentials(h.Value()); err == nil && strings.EqualFold(c.Realm, realm) {
			return c.Nonce, true
		}
	}
	return "", false
}

// remove takes out the credentials for a realm.
func remove(req *sip.Request, name, realm string) {
	all := req.GetHeaders(name)
	for range all {
		req.RemoveHeader(name)
	}
	for _, h := range all {
		if c, err := digest.ParseCredentials(h.Value()); err != nil || !strings.EqualFold(c.Realm, realm) {
			req.AppendHeader(h)
		}
	}
}
