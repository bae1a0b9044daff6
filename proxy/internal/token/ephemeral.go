package token

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"strconv"
	"strings"
	"time"
)

// Ephemeral knows passwords that are made of a shared secret: the name in digest authentication is "expiry:user", with the
// expiry in seconds since 1970, and the password base64(HMAC(secret, name)). Kamailio's auth_ephemeral and TURN servers do the same.
type Ephemeral struct {
	Secrets   []string // each may have been used, so that they can be exchanged
	Algorithm string   // SHA-1 (empty) or SHA-256
	// Longest bounds how far in the future an expiry may be; 0: not at all. It keeps a name that has got out from being good for ever.
	Longest time.Duration
	Now     func() time.Time
}

// Passwords returns the user that a name is for, the passwords that may belong to it, and whether its time is over; ok is false
// if the name is none of this kind.
func (e *Ephemeral) Passwords(name string) (user string, passwords []string, expired, ok bool) {
	stamp, user, ok := strings.Cut(name, ":")
	if !ok || user == "" || strings.Contains(user, ":") {
		return "", nil, false, false
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || seconds <= 0 {
		return "", nil, false, false
	}
	now := time.Now()
	if e.Now != nil {
		now = e.Now()
	}
	until := time.Unix(seconds, 0)
	expired = !now.Before(until) || e.Longest > 0 && until.Sub(now) > e.Longest
	for _, secret := range e.Secrets {
		passwords = append(passwords, e.password(secret, name))
	}
	return user, passwords, expired, true
}

func (e *Ephemeral) password(secret, name string) string {
	var algorithm func() hash.Hash = sha1.New
	if e.Algorithm == "SHA-256" {
		algorithm = sha256.New
	}
	mac := hmac.New(algorithm, []byte(secret))
	mac.Write([]byte(name))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
