package app

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/tandem-sbc/tandem/pkg/conf"
	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/bridge"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/route"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
)

// Load reads and checks a configuration file, with everything that can be known
// without starting.
func Load(path string) (*settings.Settings, error) {
	return settings.Load(path, checkProfiles, checkCertificates, checkTokens, checkConditions)
}

func checkProfiles(s *settings.Settings, doc *conf.Document) {
	for name, p := range s.Profiles {
		if _, err := bridge.Compile(p.Flags, p.Interface, p.SDPOnly, digitsOf(p)); err != nil {
			doc.Fault("profiles."+name+".flags", "%v", err)
		}
	}
}

func digitsOf(p settings.Profile) bridge.Digits {
	switch p.Digits {
	case settings.DigitsRTP:
		return bridge.DigitsRTP
	case settings.DigitsInfo:
		return bridge.DigitsInfo
	}
	return bridge.DigitsAsSent
}

func compileProfiles(s *settings.Settings) (map[string]*bridge.Profile, error) {
	profiles := make(map[string]*bridge.Profile, len(s.Profiles))
	for name, p := range s.Profiles {
		compiled, err := bridge.Compile(p.Flags, p.Interface, p.SDPOnly, digitsOf(p))
		if err != nil {
			return nil, fmt.Errorf("profile %s: %w", name, err)
		}
		profiles[name] = compiled
	}
	return profiles, nil
}

// accounts are those of the configuration, then those of the store.
func (a *App) accounts(s *settings.Settings) auth.Accounts {
	listed := auth.Listed{}
	for _, u := range s.Users {
		account := auth.Account{MD5: u.HA1.MD5.Reveal(), SHA256: u.HA1.SHA256.Reveal()}
		if u.Password != "" {
			account = auth.NewAccount(u.Name, settings.Realm(u.Domain), u.Password.Reveal())
		}
		listed.Add(u.Name, u.Domain, account)
	}
	return auth.Either{listed, a.db}
}

// existing answers route's question by the accounts.
type existing struct{ accounts auth.Accounts }

// Exists reports whether the account exists.
func (e existing) Exists(ctx context.Context, user, domain string) (bool, error) {
	_, ok, err := e.accounts.Account(ctx, user, domain)
	return ok, err
}

func trunksOf(s *settings.Settings) []auth.Trunk {
	trunks := make([]auth.Trunk, 0, len(s.Trunks))
	for _, t := range s.Trunks {
		trunks = append(trunks, auth.Trunk{Name: t.Name, Profile: t.Profile, Names: t.TLSNames, Trusts: func(addr netip.Addr) bool {
			for _, n := range t.Sources {
				if n.Contains(addr) {
					return true
				}
			}
			return false
		}})
	}
	return trunks
}

func trusted(trunks []auth.Trunk, conn request.Connection) bool {
	for i := range trunks {
		if conn != nil && trunks[i].Knows(conn, conn.Remote().Addr()) {
			return true
		}
	}
	return false
}

// rulesOf compiles the routes of a validated configuration.
func rulesOf(s *settings.Settings) []route.Rule {
	rules := make([]route.Rule, 0, len(s.Routes))
	for _, r := range s.Routes {
		rule := route.Rule{
			Name: r.Name, Domain: r.Domain, Prefix: r.Prefix, Strip: r.Strip, Add: r.Add,
			Profile: r.Profile, Timeout: time.Duration(r.Timeout),
		}
		for _, from := range r.From {
			if from == settings.FromUsers {
				rule.Users = true
			} else {
				rule.Trunks = append(rule.Trunks, from)
			}
		}
		if r.When != "" {
			rule.When, _ = route.Compile(r.When) // validated with the file
		}
		if r.Pattern != "" {
			rule.Pattern = regexp.MustCompile(`\A(?:` + r.Pattern + `)\z`)
		}
		switch r.To[0] {
		case settings.ToRegistered:
			rule.Action = route.ActionRegistered
		case settings.ToReject:
			rule.Action = route.ActionReject
		default:
			rule.Action = route.ActionTrunks
			rule.To = r.To
			if s.Trunk(r.To[0]) == nil {
				rule.Action, rule.NextHop = route.ActionSend, parsed(r.To[0])
			}
		}
		rules = append(rules, rule)
	}
	return rules
}
