package settings

import (
	"fmt"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/pkg/conf"
)

// Tokens are credentials that hold for a time, for browsers that are not to know a password.
type Tokens struct {
	HMAC HMAC `yaml:"hmac"`
	JWT  JWT  `yaml:"jwt"`
}

// HMAC are passwords made of a shared secret, as in the TURN REST API.
type HMAC struct {
	Secrets   []conf.Secret `yaml:"secrets"`
	Algorithm string        `yaml:"algorithm"` // SHA-1 or SHA-256
	Longest   conf.Duration `yaml:"longest"`   // how far in the future the expiry may be
}

// JWT are JSON Web Tokens.
type JWT struct {
	Keys      []TokenKey    `yaml:"keys"`
	JWKS      string        `yaml:"jwks"` // file of further keys
	Issuer    string        `yaml:"issuer"`
	Audience  string        `yaml:"audience"`
	Claim     string        `yaml:"claim"` // that names the user
	Leeway    conf.Duration `yaml:"leeway"`
	Server    string        `yaml:"server"`    // told in challenges
	Handshake string        `yaml:"handshake"` // optional or required, of WebSockets
}

// TokenKey verifies tokens.
type TokenKey struct {
	ID        string      `yaml:"id"`
	Algorithm string      `yaml:"algorithm"`
	Secret    conf.Secret `yaml:"secret"` // of HS256 …
	File      string      `yaml:"file"`   // PEM: public key or certificate
}

// HandshakeRequired is JWT.Handshake for listeners that let nobody in without a token.
const HandshakeRequired = "required"

// Enabled reports whether any key is configured.
func (j JWT) Enabled() bool { return len(j.Keys) > 0 || j.JWKS != "" }

func defaultTokens() Tokens {
	return Tokens{
		HMAC: HMAC{Algorithm: "SHA-1", Longest: conf.Duration(24 * time.Hour)},
		JWT:  JWT{Claim: "sub", Leeway: conf.Duration(30 * time.Second), Handshake: "optional"},
	}
}

func (s *Settings) validateTokens(doc *conf.Document) {
	h, j := s.Auth.Tokens.HMAC, s.Auth.Tokens.JWT
	for i, secret := range h.Secrets {
		if len(secret) < 16 {
			doc.Fault(fmt.Sprintf("auth.tokens.hmac.secrets[%d]", i), "needs at least 16 characters")
		}
	}
	if h.Algorithm != "SHA-1" && h.Algorithm != "SHA-256" {
		doc.Fault("auth.tokens.hmac.algorithm", "%q is neither SHA-1 nor SHA-256", h.Algorithm)
	}
	for i, k := range j.Keys {
		key := fmt.Sprintf("auth.tokens.jwt.keys[%d]", i)
		if (k.Secret == "") == (k.File == "") {
			doc.Fault(key, "either secret or file is needed")
		}
		if k.Algorithm == "" {
			doc.Fault(key+".algorithm", "missing; a key is for one algorithm only")
		}
	}
	if j.Leeway > conf.Duration(5*time.Minute) {
		doc.Fault("auth.tokens.jwt.leeway", "must be at most 5m")
	}
	if j.Claim == "" {
		doc.Fault("auth.tokens.jwt.claim", "missing")
	}
	if strings.ContainsAny(j.Server, "\"\\\r\n") || j.Server != "" && !strings.HasPrefix(j.Server, "https://") {
		doc.Fault("auth.tokens.jwt.server", "%q is not like https://id.example.org", j.Server)
	}
	if j.Handshake != "optional" && j.Handshake != HandshakeRequired {
		doc.Fault("auth.tokens.jwt.handshake", "%q is neither optional nor required", j.Handshake)
	}
	if j.Handshake == HandshakeRequired && !j.Enabled() {
		doc.Fault("auth.tokens.jwt.handshake", "required, but there is no key")
	}
}
