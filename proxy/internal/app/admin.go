package app

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
	"github.com/tandem-sbc/tandem/proxy/internal/admin"
	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
	"github.com/tandem-sbc/tandem/proxy/internal/location"
)

// openAdmin starts the interface for operators, if there is to be one.
func (a *App) openAdmin(context.Context) error {
	s := a.settings.Load().Admin
	if s.Address.IsZero() {
		return nil
	}
	host, err := netip.ParseAddr(s.Address.Host)
	if err != nil {
		return fmt.Errorf("admin.address: %w", err)
	}
	c := admin.Config{
		Address: netip.AddrPortFrom(host, s.Address.Port), Token: s.Token.Reveal(), Explain: a.Explain,
		Metrics:   func(w io.Writer) { admin.WriteMetrics(w, a.metrics()) },
		Resources: []admin.Resource{a.callsResource(), a.bindingsResource(), a.trunksResource(), a.bansResource()},
	}
	if a.media != nil {
		c.Resources = append(c.Resources, a.nodesResource())
	}
	if a.file != "" {
		c.Reload = a.reread
	}
	if a.admin, err = admin.Start(c, a.log.Named("admin")); err != nil {
		return err
	}
	a.closers = append(a.closers, a.admin.Close)
	return nil
}

// AdminAddress is where operators reach the proxy; not valid if they do not.
func (a *App) AdminAddress() netip.AddrPort {
	if a.admin == nil {
		return netip.AddrPort{}
	}
	return a.admin.Address()
}

// callShown is a dialog as operators see it.
type callShown struct {
	CallID    string    `json:"call_id"`
	Confirmed bool      `json:"confirmed"`
	Since     time.Time `json:"since"`
	Caller    party     `json:"caller"`
	Callee    party     `json:"callee"`
}

type party struct {
	Tag        string `json:"tag"`
	Identity   string `json:"identity"`
	Profile    string `json:"profile"`
	AoR        string `json:"aor"`
	Trunk      string `json:"trunk"`
	Connection string `json:"connection"`
	Alive      bool   `json:"alive"`
}

func (a *App) callsResource() admin.Resource {
	return admin.Resource{
		Name: "calls",
		List: func() any {
			out := []callShown{}
			for _, c := range a.keeper.List() {
				out = append(out, callShown{c.CallID, c.Confirmed, c.Since, party(c.Caller), party(c.Callee)})
			}
			return out
		},
		Remove: func(_ context.Context, id string) error {
			if !slices.ContainsFunc(a.keeper.List(), func(c dialog.Call) bool { return c.CallID == id }) {
				return fmt.Errorf("%w: no call has the Call-ID %s", admin.ErrNotFound, id)
			}
			a.keeper.End(id)
			return nil
		},
	}
}

// banned is a source that is shut out, as operators see it.
type banned struct {
	Source string    `json:"source"`
	Why    string    `json:"why"`
	Until  time.Time `json:"until"`
}

func (a *App) bansResource() admin.Resource {
	return admin.Resource{
		Name: "bans",
		List: func() any {
			out := []banned{}
			for _, b := range a.Bans() {
				out = append(out, banned{b.Source.String(), string(b.Reason), b.Until})
			}
			return out
		},
		Remove: func(_ context.Context, id string) error {
			source, err := netip.ParsePrefix(id)
			if err != nil {
				var addr netip.Addr
				if addr, err = netip.ParseAddr(id); err != nil {
					return fmt.Errorf("%w: %q is no address", admin.ErrNotFound, id)
				}
				source = netip.PrefixFrom(addr, addr.BitLen())
			}
			if !a.LiftBan(source.Addr()) {
				return fmt.Errorf("%w: %s is not shut out", admin.ErrNotFound, id)
			}
			return nil
		},
	}
}

func (a *App) trunksResource() admin.Resource {
	return admin.Resource{Name: "trunks", List: func() any { return a.trunks.Status() }}
}

// binding is a contact as operators see it.
type binding struct {
	AoR        string    `json:"aor"`
	Contact    string    `json:"contact"`
	Transport  string    `json:"transport"`
	Source     string    `json:"source"`
	UserAgent  string    `json:"user_agent"`
	Instance   string    `json:"instance"`
	Registered time.Time `json:"registered"`
	Expires    time.Time `json:"expires"`
}

func (a *App) bindingsResource() admin.Resource {
	return admin.Resource{
		Name: "registrations",
		List: func() any {
			all := a.table.All()
			out := make([]binding, 0, len(all))
			for i := range all {
				b := &all[i]
				out = append(out, binding{
					string(b.AoR), b.Contact, b.Transport, b.Source.String(), b.UserAgent, b.Instance, b.Registered, b.Expires,
				})
			}
			return out
		},
		Remove: func(_ context.Context, id string) error {
			aor := location.AoR(id)
			if len(a.table.Lookup(aor)) == 0 {
				return fmt.Errorf("%w: nobody is registered as %s", admin.ErrNotFound, id)
			}
			return a.table.Update(aor, func([]location.Binding) ([]location.Binding, error) { return nil, nil })
		},
	}
}

// node is a media daemon as operators see it.
type node struct {
	Address string `json:"address"`
	Weight  int    `json:"weight"`
	Up      bool   `json:"up"`
}

func (a *App) nodesResource() admin.Resource {
	find := func(id string) (*ngclient.Node, error) {
		for _, n := range a.media.Nodes() {
			if n.Address() == id {
				return n, nil
			}
		}
		return nil, fmt.Errorf("%w: no media node is at %s", admin.ErrNotFound, id)
	}
	weigh := func(weight func(*ngclient.Node) int) func(context.Context, string) error {
		return func(_ context.Context, id string) error {
			n, err := find(id)
			if err == nil {
				n.SetWeight(weight(n))
			}
			return err
		}
	}
	return admin.Resource{
		Name: "nodes",
		List: func() any {
			out := []node{}
			for _, n := range a.media.Nodes() {
				out = append(out, node{n.Address(), n.Weight(), n.Up()})
			}
			return out
		},
		Actions: map[string]func(context.Context, string) error{
			"drain": weigh(func(*ngclient.Node) int { return 0 }),
			"undrain": weigh(func(n *ngclient.Node) int {
				for _, c := range nodesOf(a.settings.Load().Media) {
					if c.Address == n.Address() {
						return max(c.Weight, 1)
					}
				}
				return 1
			}),
		},
	}
}

// metrics are what Prometheus is told.
func (a *App) metrics() []admin.Metric {
	confirmed, early := a.keeper.Count()
	servers, clients := a.layer.Count()
	connections := admin.Metric{Name: "tandem_connections", Help: "TCP, TLS and WebSocket connections that are up, by transport."}
	for transport, n := range a.edge.Connections() {
		connections.Samples = append(connections.Samples, admin.Sample{Labels: []string{"transport", string(transport)}, Value: float64(n)})
	}
	responses := admin.Metric{Name: "tandem_responses_total", Help: "Responses sent, by class, repetitions not counted.", Counter: true}
	for class, n := range a.layer.Answers() {
		if class > 0 {
			responses.Samples = append(responses.Samples, admin.Sample{Labels: []string{"class", strconv.Itoa(class) + "xx"}, Value: float64(n)})
		}
	}
	all := []admin.Metric{
		a.counter.metric(), responses, connections,
		{Name: "tandem_calls", Help: "Dialogs, by state.", Samples: []admin.Sample{
			{Labels: []string{"state", "confirmed"}, Value: float64(confirmed)}, {Labels: []string{"state", "early"}, Value: float64(early)},
		}},
		{Name: "tandem_transactions", Help: "Transactions that are held, by side.", Samples: []admin.Sample{
			{Labels: []string{"side", "server"}, Value: float64(servers)}, {Labels: []string{"side", "client"}, Value: float64(clients)},
		}},
		admin.Value("tandem_registrations", "Contacts that are registered.", false, float64(a.table.Len())),
		a.trunkMetric(),
	}
	if a.bridge != nil {
		all = append(all, admin.Value("tandem_media_calls", "Calls that media daemons have for the proxy.", false, float64(a.bridge.Calls())))
		up := admin.Metric{Name: "tandem_media_node_up", Help: "Whether a media daemon answers."}
		for _, n := range a.media.Nodes() {
			up.Samples = append(up.Samples, admin.Sample{Labels: []string{"node", n.Address()}, Value: truth(n.Up())})
		}
		all = append(all, up)
	}
	return all
}

func (a *App) trunkMetric() admin.Metric {
	up := admin.Metric{Name: "tandem_trunk_target_up", Help: "Whether a trunk's target answers its probes."}
	for _, t := range a.trunks.Status() {
		for _, to := range t.Targets {
			up.Samples = append(up.Samples, admin.Sample{Labels: []string{"trunk", t.Name, "target", to.URI}, Value: truth(!to.Down)})
		}
	}
	return up
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
