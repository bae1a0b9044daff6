package settings

import (
	"fmt"
	"slices"
	"time"

	"github.com/tandem-sbc/tandem/pkg/conf"
)

// ACL says which sources may speak to the proxy: the longest prefix decides, of equal ones deny; without any allow all others may.
type ACL struct {
	Allow []conf.Network `yaml:"allow"`
	Deny  []conf.Network `yaml:"deny"`
}

// Bans shut sources out for a time.
type Bans struct {
	Failures int            `yaml:"failures"` // within Within; 0: no bans
	Within   conf.Duration  `yaml:"within"`
	Time     conf.Duration  `yaml:"time"`
	Agents   []string       `yaml:"agents"` // parts of User-Agent values of scanners
	Never    []conf.Network `yaml:"never"`  // besides trunks
}

// ProxyProtocol names the load balancers in front of a listener.
type ProxyProtocol struct {
	From []conf.Network `yaml:"from"`
}

func defaultBans() Bans {
	return Bans{
		Failures: 20, Within: conf.Duration(time.Minute), Time: conf.Duration(10 * time.Minute),
		Agents: []string{
			"friendly-scanner", "friendly-request", "sipvicious", "sipcli", "sip-scan", "sundayddr", "vaxsipuseragent", "pplsip", "iwar",
		},
	}
}

func (s *Settings) validateGuard(doc *conf.Document) {
	validateACL(doc, "acl", s.ACL)
	for i, l := range s.Listeners {
		key := fmt.Sprintf("listeners[%d]", i)
		validateACL(doc, key+".acl", l.ACL)
		if len(l.ProxyProtocol.From) > 0 && l.Transport == "udp" {
			doc.Fault(key+".proxy_protocol", "only for tcp, tls, ws and wss")
		}
	}
	b := s.Bans
	within(doc, "bans.failures", b.Failures, 0, 100_000)
	for key, d := range map[string]conf.Duration{"bans.within": b.Within, "bans.time": b.Time} {
		if t := time.Duration(d); t < time.Second || t > 30*24*time.Hour {
			doc.Fault(key, "must be from 1s to 720h")
		}
	}
	for i, a := range b.Agents {
		if len(a) < 3 {
			doc.Fault(fmt.Sprintf("bans.agents[%d]", i), "%q is so short that it fits anybody", a)
		}
	}
}

func validateACL(doc *conf.Document, key string, a ACL) {
	for i, n := range a.Allow {
		if slices.Contains(a.Deny, n) {
			doc.Fault(fmt.Sprintf("%s.allow[%d]", key, i), "%s is denied as well", n)
		}
	}
}
