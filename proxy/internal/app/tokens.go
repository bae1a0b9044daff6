package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tandem-sbc/tandem/pkg/conf"
	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
	"github.com/tandem-sbc/tandem/proxy/internal/token"
)

// tokens holds what verifies credentials that hold for a time; it is swapped as a whole. It implements auth.Tokens and
// auth.Ephemeral.
type tokens struct{ rules atomic.Pointer[tokenRules] }

type tokenRules struct {
	verifier  *token.Verifier // nil: no tokens
	ephemeral *token.Ephemeral
	required  bool
	domains   []string
}

var errNoTokens = errors.New("no tokens are accepted")

// configure reads the keys; on error all stays as it was.
func (t *tokens) configure(s *settings.Settings) error {
	verifier, err := verifierOf(s)
	if err != nil {
		return err
	}
	h := s.Auth.Tokens.HMAC
	ephemeral := &token.Ephemeral{Algorithm: h.Algorithm, Longest: time.Duration(h.Longest)}
	for _, secret := range h.Secrets {
		ephemeral.Secrets = append(ephemeral.Secrets, secret.Reveal())
	}
	rules := &tokenRules{verifier: verifier, ephemeral: ephemeral, required: s.Auth.Tokens.JWT.Handshake == settings.HandshakeRequired}
	for _, d := range s.Domains {
		rules.domains = append(rules.domains, settings.Realm(d))
	}
	t.rules.Store(rules)
	return nil
}

func verifierOf(s *settings.Settings) (*token.Verifier, error) {
	j := s.Auth.Tokens.JWT
	if !j.Enabled() {
		return nil, nil
	}
	c := token.Config{Issuer: j.Issuer, Audience: j.Audience, Claim: j.Claim, Leeway: time.Duration(j.Leeway), Server: j.Server}
	for i, k := range j.Keys {
		key := token.Key{ID: k.ID, Algorithm: k.Algorithm, Key: []byte(k.Secret.Reveal())}
		if k.File != "" {
			data, err := os.ReadFile(k.File)
			if err == nil {
				key.Key, err = token.PublicKey(data)
			}
			if err != nil {
				return nil, fmt.Errorf("auth.tokens.jwt.keys[%d].file: %w", i, err)
			}
		}
		c.Keys = append(c.Keys, key)
	}
	if j.JWKS != "" {
		data, err := os.ReadFile(j.JWKS)
		if err != nil {
			return nil, fmt.Errorf("auth.tokens.jwt.jwks: %w", err)
		}
		keys, err := token.WebKeys(data)
		if err != nil {
			return nil, fmt.Errorf("auth.tokens.jwt.jwks: %w", err)
		}
		c.Keys = append(c.Keys, keys...)
	}
	v, err := token.New(c)
	if err != nil {
		return nil, fmt.Errorf("auth.tokens.jwt: %w", err)
	}
	return v, nil
}

// checkTokens adds the fault of keys that cannot be used.
func checkTokens(s *settings.Settings, doc *conf.Document) {
	if _, err := verifierOf(s); err != nil {
		doc.Fault("auth.tokens.jwt", "%v", err)
	}
}

// Verify implements auth.Tokens.
func (t *tokens) Verify(text, domain string) (string, time.Time, error) {
	v := t.rules.Load().verifier
	if v == nil {
		return "", time.Time{}, errNoTokens
	}
	return v.Verify(text, domain)
}

// Server implements auth.Tokens.
func (t *tokens) Server() string {
	if v := t.rules.Load().verifier; v != nil {
		return v.Server()
	}
	return ""
}

// Passwords implements auth.Ephemeral.
func (t *tokens) Passwords(name string) (user string, passwords []string, expired, ok bool) {
	e := t.rules.Load().ephemeral
	if len(e.Secrets) == 0 {
		return "", nil, false, false
	}
	return e.Passwords(name)
}

// tokenProtocol is the beginning of an offered subprotocol that carries a token: a page cannot set other headers.
const tokenProtocol = "access_token."

// handshake verifies the token of a WebSocket handshake: in the query (access_token), the Authorization header, or the offered
// subprotocols. The zero Proof is for who brings none and needs none.
func (t *tokens) handshake(r *http.Request) (request.Proof, error) {
	rules := t.rules.Load()
	text := r.URL.Query().Get("access_token")
	if bearer, ok := auth.Bearer(r.Header.Get("Authorization")); ok && text == "" {
		text = bearer
	}
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for offered := range strings.SplitSeq(line, ",") {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(offered), tokenProtocol); ok && text == "" {
				text = rest
			}
		}
	}
	switch {
	case rules.verifier == nil || text == "" && !rules.required:
		return request.Proof{}, nil
	case text == "":
		return request.Proof{}, errors.New("a token is required")
	}
	var last error
	for _, domain := range rules.domains {
		user, until, err := rules.verifier.Verify(text, domain)
		if err == nil {
			return request.Proof{User: user + "@" + domain, Until: until}, nil
		}
		if last = err; !errors.Is(err, token.ErrDomain) {
			break
		}
	}
	return request.Proof{}, last
}

func (a *App) openTokens(context.Context) error { return a.tokens.configure(a.settings.Load()) }
