// Package auth is the step that finds out who sent a request: a user by digest
// authentication (RFC 3261 §22, RFC 8760), a trunk by its source address.
// Nobody else gets past it.
package auth

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// Account holds H(user:realm:password) in lower-case hex, by algorithm; an
// empty one means that this algorithm cannot be used.
type Account struct {
	MD5    string
	SHA256 string
}

// NewAccount makes the account of a password.
func NewAccount(user, realm, password string) Account {
	a1 := user + ":" + realm + ":" + password
	return Account{MD5: hashMD5(a1), SHA256: hashSHA256(a1)}
}

func hashMD5(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func hashSHA256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Accounts finds accounts. ok is false if there is none; an error means that
// it could not be found out.
type Accounts interface {
	Account(ctx context.Context, user, realm string) (a Account, ok bool, err error)
}

// Listed are accounts in memory, by "user@realm".
type Listed map[string]Account

// Add adds an account.
func (l Listed) Add(user, realm string, a Account) { l[user+"@"+strings.ToLower(realm)] = a }

// Account finds an account.
func (l Listed) Account(_ context.Context, user, realm string) (Account, bool, error) {
	a, ok := l[user+"@"+strings.ToLower(realm)]
	return a, ok, nil
}

// Either asks several sources in order; the first that knows the account
// answers.
type Either []Accounts

// Account finds an account.
func (e Either) Account(ctx context.Context, user, realm string) (Account, bool, error) {
	var errs []error
	for _, source := range e {
		a, ok, err := source.Account(ctx, user, realm)
		if ok {
			return a, true, nil
		}
		errs = append(errs, err)
	}
	return Account{}, false, errors.Join(errs...)
}
