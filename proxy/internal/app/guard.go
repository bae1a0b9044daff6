package app

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/pkg/conf"
	"github.com/tandem-sbc/tandem/proxy/internal/acl"
	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/ban"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
)

// guard decides who may speak to the proxy. What it takes from the configuration is swapped as a whole; bans stay.
type guard struct {
	bans  *ban.Table
	rules atomic.Pointer[guardRules]
}

// guardRules is compiled from one configuration.
type guardRules struct {
	all     *acl.List
	each    map[string]*acl.List      // by listener
	proxies map[string][]conf.Network // load balancers, by listener
	trunks  []auth.Trunk
	never   []conf.Network
}

func newGuard(s *settings.Settings, log *zap.Logger) *guard {
	g := &guard{bans: ban.New(ban.Config{}, log.Named("guard"))}
	g.configure(s)
	return g
}

// configure takes a checked configuration into use.
func (g *guard) configure(s *settings.Settings) {
	rules := &guardRules{
		all: listOf(s.ACL), each: map[string]*acl.List{}, proxies: map[string][]conf.Network{}, trunks: trunksOf(s), never: s.Bans.Never,
	}
	for _, l := range s.Listeners {
		rules.each[l.Name], rules.proxies[l.Name] = listOf(l.ACL), l.ProxyProtocol.From
	}
	g.rules.Store(rules)
	failures := s.Bans.Failures
	if failures == 0 {
		failures = -1
	}
	g.bans.Configure(ban.Config{
		Failures: failures, Within: time.Duration(s.Bans.Within), Time: time.Duration(s.Bans.Time), Never: g.spared,
	})
}

func listOf(a settings.ACL) *acl.List {
	prefixes := func(in []conf.Network) (out []netip.Prefix) {
		for _, n := range in {
			out = append(out, netip.Prefix(n))
		}
		return out
	}
	return acl.New(prefixes(a.Allow), prefixes(a.Deny))
}

func holds(list []conf.Network, a netip.Addr) bool {
	for _, n := range list {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// spared reports a source that is never banned for what it does.
func (g *guard) spared(a netip.Addr) bool {
	rules := g.rules.Load()
	for i := range rules.trunks {
		if rules.trunks[i].Trusts(a) {
			return true
		}
	}
	return holds(rules.never, a)
}

// admit is the question of a listener.
func (g *guard) admit(listener string) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		rules := g.rules.Load()
		return rules.all.Permits(a) && rules.each[listener].Permits(a) && !g.bans.Banned(a)
	}
}

// proxyFrom tells the load balancers in front of a listener.
func (g *guard) proxyFrom(listener string) func(netip.Addr) bool {
	return func(a netip.Addr) bool { return holds(g.rules.Load().proxies[listener], a) }
}

// blame is for what a peer does that only strangers do. The source of a datagram may be forged, so it is blamed for a failed
// login alone, which is told only of sources that have received a nonce.
func (g *guard) blame(conn request.Connection, what ban.Offence) {
	if conn == nil || conn.Dialled() || (conn.Transport() == request.UDP && what != ban.LoginFailed) || trusted(g.rules.Load().trunks, conn) {
		return
	}
	if g.bans.Note(conn.Remote().Addr(), what) {
		request.Shut(conn)
	}
}

// refused is told of requests that a step has refused: errors of somebody who is nobody's user are blamed.
func (g *guard) refused(r *request.Request, code int) {
	if code >= 400 && code < 500 && r.User == "" && r.Trunk == "" && !r.InDialog {
		g.blame(r.Conn, ban.Refused)
	}
}

// agents are the scanners' names as the gate compares them.
func agents(s *settings.Settings) []string {
	var out []string
	for _, a := range s.Bans.Agents {
		out = append(out, strings.ToLower(a))
	}
	return out
}

// Bans lists the sources that are shut out.
func (a *App) Bans() []ban.Ban { return a.guard.bans.Bans() }

// LiftBan ends a ban; false if there was none.
func (a *App) LiftBan(source netip.Addr) bool { return a.guard.bans.Lift(source) }

// Ban shuts a source out.
func (a *App) Ban(source netip.Addr, d time.Duration) { a.guard.bans.Ban(source, d) }
