package app

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/tandem-sbc/tandem/pkg/conf"
	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/resolve"
	"github.com/tandem-sbc/tandem/proxy/internal/route"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
	"github.com/tandem-sbc/tandem/proxy/internal/trunk"
	"github.com/tandem-sbc/tandem/proxy/internal/uac"
)

// checkConditions compiles the conditions of routes.
func checkConditions(s *settings.Settings, doc *conf.Document) {
	for i, r := range s.Routes {
		if r.When == "" {
			continue
		}
		if _, err := route.Compile(r.When); err != nil {
			doc.Fault(fmt.Sprintf("routes[%d].when", i), "%v", err)
		}
	}
}

// newResolver makes the resolver of next hops.
func newResolver(s *settings.Settings) *resolve.Resolver {
	r := s.Resolver
	servers := make([]string, 0, len(r.Servers))
	for _, text := range r.Servers {
		if address, ok := settings.ServerAddress(text); ok {
			servers = append(servers, address)
		}
	}
	client := resolve.NewClient(resolve.Config{Servers: servers, Timeout: time.Duration(r.Timeout), MaxTTL: time.Duration(r.MaxTTL)})
	return resolve.New(client, time.Duration(r.Avoid))
}

// trunkConfigs compiles the trunks of a validated configuration.
func trunkConfigs(s *settings.Settings, known []auth.Trunk) []trunk.Config {
	configs := make([]trunk.Config, 0, len(s.Trunks))
	for i := range s.Trunks {
		t := &s.Trunks[i]
		c := trunk.Config{
			Name: t.Name, Profile: t.OutwardProfile(), Silence: time.Duration(t.Timeout), Avoid: time.Duration(t.Avoid),
			Failover: settings.Codes(t.Failover), Credentials: credentials(t.Credentials), CallsPerSecond: t.CallsPerSecond,
			Probe: trunk.Probe{
				Interval: time.Duration(t.Probe.Interval), Timeout: time.Duration(t.Probe.Timeout),
				DownAfter: t.Probe.DownAfter, UpAfter: t.Probe.UpAfter,
			},
			Identity: trunk.Identity{
				Number: t.Identity.Number, Domain: t.Identity.Domain, From: t.Identity.From, Trusted: *t.Identity.Trusted,
			},
			Knows: func(conn request.Connection) bool { return conn != nil && known[i].Knows(conn, conn.Remote().Addr()) },
		}
		for _, h := range t.Identity.Headers {
			c.Identity.Asserted = c.Identity.Asserted || h == settings.HeaderPAI
			c.Identity.RemoteParty = c.Identity.RemoteParty || h == settings.HeaderRPID
		}
		for _, to := range t.Targets {
			c.Targets = append(c.Targets, trunk.Target{URI: parsed(to.URI), Weight: to.Weight, Priority: to.Priority})
		}
		for _, g := range t.Register {
			r := trunk.Registration{
				AoR: parsed(g.AoR), Registrar: parsed(g.Registrar), Contact: g.Contact, Expires: time.Duration(g.Expires),
				Credentials: credentials(g.Credentials),
			}
			if r.Contact == "" {
				r.Contact = r.AoR.User
			}
			c.Registrations = append(c.Registrations, r)
		}
		c.Rewrite = rewriteOf(t.Rewrite)
		configs = append(configs, c)
	}
	return configs
}

func credentials(c settings.Credentials) trunk.Credentials {
	return trunk.Credentials{User: c.User, Password: c.Password.Reveal(), Realm: c.Realm}
}

// parsed reads a URI that was validated with the file.
func parsed(text string) (uri sip.Uri) {
	_ = sip.ParseUri(text, &uri)
	return uri
}

func rewriteOf(rules []settings.Rewrite) trunk.Rewrite {
	var out trunk.Rewrite
	for _, r := range rules {
		rule := trunk.NumberRule{Strip: r.Strip, Add: r.Add, Replace: r.Replace}
		if r.Match != "" {
			rule.Match = regexp.MustCompile(r.Match)
		}
		list := &out.OutCalled
		switch {
		case r.Direction == settings.DirectionIn && r.Number == settings.NumberCalled:
			list = &out.InCalled
		case r.Direction == settings.DirectionIn:
			list = &out.InCalling
		case r.Number == settings.NumberCalling:
			list = &out.OutCalling
		}
		*list = append(*list, rule)
	}
	return out
}

// sender sends what trunks ask for.
type sender struct{ client *uac.Client }

// Send implements trunk.Sender.
func (s sender) Send(ctx context.Context, msg *sip.Request, nextHop sip.Uri, callID string, cseq uint32, account *trunk.Account,
	complete func(*sip.Request, request.Connection),
) (*sip.Response, uint32, error) {
	r := uac.Request{Msg: msg, NextHop: nextHop, CallID: callID, CSeq: cseq, Complete: complete}
	if account != nil {
		r.Challenges = account
	}
	res, tries, err := s.client.Do(ctx, r)
	return res, cseq + tries, err
}
