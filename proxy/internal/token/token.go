// Package token verifies what browsers bring in place of a stored password: JSON Web Tokens, and passwords that an application
// derives from a shared secret for a time (as in the TURN REST API).
package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Errors of tokens; test with errors.Is.
var (
	ErrNoKey    = errors.New("no key for this token")
	ErrNoUser   = errors.New("the token names no user")
	ErrDomain   = errors.New("the token is for another domain")
	ErrTooLarge = errors.New("token over 8 KiB")
)

// maxToken bounds what is parsed, in bytes.
const maxToken = 8 << 10

// Key verifies signatures of one algorithm. That a key has its algorithm keeps a public key from being taken for the secret of
// an HMAC.
type Key struct {
	ID        string // kid; empty: for tokens that name none as well
	Algorithm string // HS256, RS256, ES256, EdDSA and their larger ones
	Key       any    // []byte, *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey
}

// fits reports whether the key can be of its algorithm.
func (k Key) fits() error {
	ok := false
	switch key := k.Key.(type) {
	case []byte:
		if ok = strings.HasPrefix(k.Algorithm, "HS"); ok && len(key) < 32 {
			return errors.New("the secret needs at least 32 bytes")
		}
	case *rsa.PublicKey:
		if ok = strings.HasPrefix(k.Algorithm, "RS") || strings.HasPrefix(k.Algorithm, "PS"); ok && key.Size() < 256 {
			return errors.New("the RSA key needs at least 2048 bits")
		}
	case *ecdsa.PublicKey:
		ok = slices.Index([]string{"ES256", "ES384", "ES512"}, k.Algorithm) == slices.Index([]int{256, 384, 521}, key.Curve.Params().BitSize) &&
			strings.HasPrefix(k.Algorithm, "ES")
	case ed25519.PublicKey:
		ok = k.Algorithm == "EdDSA"
	}
	if !ok {
		return fmt.Errorf("a %T is no key of algorithm %q", k.Key, k.Algorithm)
	}
	return nil
}

// Config says which tokens are good.
type Config struct {
	Keys     []Key
	Issuer   string        // iss must be this; empty: any
	Audience string        // aud must hold this; empty: any
	Claim    string        // claim that names the user; empty: sub
	Leeway   time.Duration // by which clocks may differ
	Server   string        // URL of the authorization server, told in challenges (RFC 8898 §4)
	Now      func() time.Time
}

// Verifier verifies tokens. It is immutable.
type Verifier struct {
	config Config
	parser *jwt.Parser
}

// New makes a verifier.
func New(c Config) (*Verifier, error) {
	if len(c.Keys) == 0 {
		return nil, ErrNoKey
	}
	if c.Claim == "" {
		c.Claim = "sub"
	}
	var algorithms []string
	for i, k := range c.Keys {
		if err := k.fits(); err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		algorithms = append(algorithms, k.Algorithm)
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(algorithms), jwt.WithExpirationRequired(), jwt.WithLeeway(c.Leeway)}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	if c.Audience != "" {
		options = append(options, jwt.WithAudience(c.Audience))
	}
	if c.Now != nil {
		options = append(options, jwt.WithTimeFunc(c.Now))
	}
	return &Verifier{c, jwt.NewParser(options...)}, nil
}

// Server is the URL of the authorization server; may be empty.
func (v *Verifier) Server() string { return v.config.Server }

// Verify returns the user of domain that a token is for, and until when. A claim like alice@example.org or sip:alice@example.org
// must name the domain.
func (v *Verifier) Verify(token, domain string) (user string, until time.Time, err error) {
	if len(token) > maxToken {
		return "", time.Time{}, ErrTooLarge
	}
	claims := jwt.MapClaims{}
	if _, err := v.parser.ParseWithClaims(token, claims, v.key); err != nil {
		return "", time.Time{}, err
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return "", time.Time{}, jwt.ErrTokenRequiredClaimMissing
	}
	name, _ := claims[v.config.Claim].(string)
	user, host, qualified := strings.Cut(strings.TrimPrefix(name, "sip:"), "@")
	if user == "" {
		return "", time.Time{}, ErrNoUser
	}
	if qualified && !strings.EqualFold(host, domain) {
		return "", time.Time{}, ErrDomain
	}
	return user, expires.Time, nil
}

// key finds the keys for a token: those of its algorithm, and of its kid if it names one.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	id, _ := t.Header["kid"].(string)
	var set jwt.VerificationKeySet
	for _, k := range v.config.Keys {
		if k.Algorithm == t.Method.Alg() && (id == "" || k.ID == "" || k.ID == id) {
			set.Keys = append(set.Keys, k.Key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, ErrNoKey
	}
	return set, nil
}
