package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
	"github.com/tandem-sbc/tandem/proxy/internal/store/sqlite"
)

// Errors of ChangeUser.
var (
	ErrNoUser   = errors.New("no such account")
	ErrBadUser  = errors.New("not like user@domain with a domain of the configuration")
	ErrPassword = errors.New("a password of at least 8 characters is needed")
	ErrAction   = errors.New("neither set nor delete")
)

// ChangeUser sets the password of an account in the store of a configuration,
// reading it from password, or deletes the account. A running proxy sees it at
// once.
func ChangeUser(ctx context.Context, action, file, address string, password io.Reader) error {
	s, err := Load(file)
	if err != nil {
		return err
	}
	user, domain, _ := strings.Cut(address, "@")
	realm := settings.Realm(domain)
	known := false
	for _, d := range s.Domains {
		known = known || settings.Realm(d) == realm
	}
	if user == "" || !known {
		return fmt.Errorf("%q: %w", address, ErrBadUser)
	}
	db, err := sqlite.Open(ctx, s.Storage.Path)
	if err != nil {
		return err
	}
	defer db.Close()
	switch action {
	case "set":
		line, err := bufio.NewReader(io.LimitReader(password, 1024)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("password: %w", err)
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 8 {
			return ErrPassword
		}
		return db.SetAccount(ctx, user, realm, auth.NewAccount(user, realm, line))
	case "delete":
		found, err := db.DeleteAccount(ctx, user, realm)
		if err == nil && !found {
			err = fmt.Errorf("%s: %w", address, ErrNoUser)
		}
		return err
	}
	return fmt.Errorf("%q: %w", action, ErrAction)
}
