package auth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Tokens verifies bearer tokens (RFC 8898).
type Tokens interface {
	// Verify returns the user of an own domain that a token is for, and until when.
	Verify(token, domain string) (user string, until time.Time, err error)
	// Server is the URL of the authorization server that challenges name (RFC 8898 §4); "": it is not told.
	Server() string
}

// Ephemeral knows passwords that hold for a time.
type Ephemeral interface {
	// Passwords returns the user that a name with a time in it is for, the passwords that may belong to it, and whether its time
	// is over; ok is false if the name is none of that kind.
	Passwords(name string) (user string, passwords []string, expired, ok bool)
}

// Errors of tokens; they are logged as causes.
var (
	ErrExpired  = errors.New("the time of the credentials is over")
	ErrInsecure = errors.New("a token came over a connection that anybody can read")
)

// byToken finds out the user by what the connection's handshake has proved, or by a bearer token in the request. proved is
// false when there is neither.
func (s *rules) byToken(r *request.Request, kind realmKind, realm string) (user string, proved bool, err error) {
	if proof, ok := request.ProofOf(r.Conn); ok && time.Now().Before(proof.Until) {
		user, domain, _ := strings.Cut(proof.User, "@")
		if domain != realm {
			return "", false, request.Fail(403, "Forbidden", ErrNotYours)
		}
		return user, true, nil
	}
	if s.Tokens == nil {
		return "", false, nil
	}
	for _, h := range r.Msg.GetHeaders(kind.credential) {
		token, ok := Bearer(h.Value())
		if !ok {
			continue
		}
		if r.Conn == nil || r.Conn.Transport() == request.UDP || r.Conn.Transport() == request.TCP {
			return "", false, request.Fail(403, "Token Needs TLS", ErrInsecure)
		}
		user, _, err := s.Tokens.Verify(token, realm)
		if err != nil {
			s.failed(r, "", "", err)
			refused := request.Fail(kind.code, kind.reason, err)
			refused.Headers = s.bearer(kind, []sip.Header{sip.NewHeader(kind.challenge, `Bearer realm="`+realm+`", error="invalid_token"`)})
			return "", false, refused
		}
		// It is for this proxy alone.
		for _, other := range removeAll(r.Msg, kind.credential) {
			if other != h {
				r.Msg.AppendHeader(other)
			}
		}
		return user, true, nil
	}
	return "", false, nil
}

// proved ends the step for a user known by a token.
func (s *rules) proved(r *request.Request, user, claimed, realm string, err error) (request.Verdict, error) {
	switch {
	case err != nil:
		return request.Done, err
	case user != claimed:
		return request.Done, request.Fail(403, "Forbidden", ErrNotYours)
	}
	r.User = user + "@" + realm
	return request.Continue, nil
}

// Bearer is the token of an Authorization value; ok is false if its scheme is another one.
func Bearer(value string) (token string, ok bool) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(value), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// bearer adds the challenge for tokens, where it can say who gives them out.
func (s *rules) bearer(kind realmKind, headers []sip.Header) []sip.Header {
	if s.Tokens == nil || s.Tokens.Server() == "" {
		return headers
	}
	return append(headers, sip.NewHeader(kind.challenge, `Bearer authz_server="`+s.Tokens.Server()+`"`))
}

// match finds the account that digest credentials were made with.
func (s *rules) match(ctx context.Context, c *credentials, realm, method string) (user string, expired, ok bool, err error) {
	if s.Ephemeral != nil {
		if user, passwords, expired, ok := s.Ephemeral.Passwords(c.username); ok {
			matched := false
			for _, p := range passwords {
				matched = c.matches(NewAccount(c.username, realm, p), method) || matched
			}
			return user, expired, matched, nil
		}
	}
	account, _, err := s.Accounts.Account(ctx, c.username, realm)
	return c.username, false, err == nil && c.matches(account, method), err
}

// failed tells of a login that failed. A datagram may have come from anywhere: its source is blamed only when the nonce was
// sent to it.
func (s *rules) failed(r *request.Request, user, nonce string, why error) {
	r.Log.Warn("authentication failed", zap.String("user", user), zap.Stringer("source", r.Source), zap.Error(why))
	if s.Failed == nil || r.Conn == nil {
		return
	}
	if r.Conn.Transport() != request.UDP || s.nonces.sentTo(nonce, r.Source.Addr()) {
		s.Failed(r.Conn)
	}
}
