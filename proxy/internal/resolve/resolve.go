// Package resolve finds the next hops of a SIP URI by RFC 3263: NAPTR, SRV with priorities and weights, A and AAAA.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/miekg/dns"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// ErrNoHop: the URI leads nowhere; answered 480 or 502 by the caller.
var ErrNoHop = errors.New("no next hop found")

const (
	maxFailed = 4096
	maxHops   = 16
)

// Lookup asks the DNS; Client does so and keeps answers.
type Lookup interface {
	// Records returns the answers of one type; none and no error when there are none.
	Records(ctx context.Context, name string, kind uint16) ([]dns.RR, error)
	// Addresses returns A and AAAA, the system's hosts file included.
	Addresses(ctx context.Context, host string) ([]netip.Addr, error)
}

// Resolver resolves URIs and remembers, for a while, failed hops. It is safe for concurrent use.
type Resolver struct {
	lookup Lookup
	now    func() time.Time

	mu     sync.Mutex
	avoid  time.Duration
	failed map[request.Hop]time.Time
}

// candidate is one host with its addresses in order; equal priorities are drawn by weight at each use.
type candidate struct {
	hops []request.Hop
	// priority is that of the SRV record, with the rank of its NAPTR record above the low 16 bits.
	priority uint32
	weight   uint16
}

// New makes a resolver. avoid is how long a failed hop is tried last (30 s when 0).
func New(lookup Lookup, avoid time.Duration) *Resolver {
	r := &Resolver{lookup: lookup, now: time.Now, failed: map[request.Hop]time.Time{}}
	r.Avoid(avoid)
	return r
}

// Avoid sets how long a failed hop is tried last from now on (30 s when 0).
func (r *Resolver) Avoid(d time.Duration) {
	if d <= 0 {
		d = 30 * time.Second
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.avoid = d
}

// Resolve returns the hops for a URI in the order to try them, those that failed lately last. It returns
// request.ErrNeverDialled for ws, wss and hosts under .invalid (RFC 7118 §5), ErrNoHop when nothing is found.
func (r *Resolver) Resolve(ctx context.Context, uri sip.Uri) ([]request.Hop, error) {
	q, err := newQuery(uri)
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(q.host); err == nil {
		return []request.Hop{{Transport: q.transportOr(q.fallback()), Addr: netip.AddrPortFrom(addr.Unmap(), q.portOr(q.transportOr(q.fallback()))), Host: q.host}}, nil
	}
	known, err := r.find(ctx, q)
	if err != nil {
		return nil, err
	}
	hops := r.order(known)
	if len(hops) == 0 {
		return nil, fmt.Errorf("%s: %w", q.host, ErrNoHop)
	}
	return hops, nil
}

// Failed remembers that a hop could not be reached or did not answer.
func (r *Resolver) Failed(hop request.Hop) {
	hop.Listener = ""
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, again := r.failed[hop]; !again && len(r.failed) >= maxFailed {
		now := r.now()
		maps.DeleteFunc(r.failed, func(_ request.Hop, until time.Time) bool { return now.After(until) })
		if len(r.failed) >= maxFailed {
			clear(r.failed)
		}
	}
	r.failed[hop] = r.now().Add(r.avoid)
}

// query is what a URI says about where to go.
type query struct {
	host      string
	port      uint16
	transport request.Transport // "": not said
	secure    bool
}

func newQuery(uri sip.Uri) (query, error) {
	if uri.Scheme != "sip" && uri.Scheme != "sips" && uri.Scheme != "" {
		return query{}, fmt.Errorf("scheme %s: %w", uri.Scheme, ErrNoHop)
	}
	q := query{host: strings.Trim(uri.Host, "[]"), port: uint16(uri.Port), secure: uri.Scheme == "sips"}
	if maddr, ok := request.Param(uri.UriParams, "maddr"); ok && maddr != "" {
		q.host = strings.Trim(maddr, "[]")
	}
	if t, ok := request.Param(uri.UriParams, "transport"); ok && t != "" {
		q.transport = request.Transport(strings.ToLower(t))
	}
	if q.secure && q.transport == request.TCP {
		q.transport = request.TLS
	}
	switch q.transport {
	case "", request.TCP, request.TLS:
	case request.UDP:
		if q.secure {
			return q, fmt.Errorf("sips over udp: %w", ErrNoHop)
		}
	case request.WS, request.WSS:
		return q, fmt.Errorf("%s: %w", q.host, request.ErrNeverDialled)
	default:
		return q, fmt.Errorf("transport %s: %w", q.transport, ErrNoHop)
	}
	if lower := strings.ToLower(strings.TrimSuffix(q.host, ".")); lower == "invalid" || strings.HasSuffix(lower, ".invalid") {
		return q, fmt.Errorf("%s: %w", q.host, request.ErrNeverDialled)
	}
	return q, nil
}

// fallback is the transport when neither URI nor DNS name one (RFC 3263 §4.1).
func (q query) fallback() request.Transport {
	if q.secure {
		return request.TLS
	}
	return request.UDP
}

func (q query) transportOr(t request.Transport) request.Transport {
	if q.transport != "" {
		return q.transport
	}
	return t
}

func (q query) portOr(t request.Transport) uint16 {
	if q.port != 0 {
		return q.port
	}
	return t.DefaultPort()
}

// service is the SRV name of a transport.
func service(t request.Transport, host string) string {
	switch t {
	case request.TLS:
		return "_sips._tcp." + host
	case request.TCP:
		return "_sip._tcp." + host
	default:
		return "_sip._udp." + host
	}
}

// find asks the DNS in the order of RFC 3263 §4.1 and §4.2.
func (r *Resolver) find(ctx context.Context, q query) ([]candidate, error) {
	if q.port != 0 {
		return r.addresses(ctx, q.host, q.host, q.transportOr(q.fallback()), q.port, 0, 0)
	}
	if q.transport != "" {
		if hops, err := r.services(ctx, service(q.transport, q.host), q.host, q.transport, 0); err != nil || len(hops) > 0 {
			return hops, err
		}
		return r.addresses(ctx, q.host, q.host, q.transport, q.transport.DefaultPort(), 0, 0)
	}
	if hops, err := r.pointers(ctx, q); err != nil || len(hops) > 0 {
		return hops, err
	}
	transports := []request.Transport{request.UDP, request.TCP, request.TLS}
	if q.secure {
		transports = []request.Transport{request.TLS}
	}
	for _, t := range transports {
		if hops, err := r.services(ctx, service(t, q.host), q.host, t, 0); err == nil && len(hops) > 0 {
			return hops, nil
		}
	}
	t := q.fallback()
	return r.addresses(ctx, q.host, q.host, t, t.DefaultPort(), 0, 0)
}

// pointers follows NAPTR records of the services we can use.
func (r *Resolver) pointers(ctx context.Context, q query) ([]candidate, error) {
	records, err := r.lookup.Records(ctx, q.host, dns.TypeNAPTR)
	if err != nil {
		return nil, nil // many home routers answer NAPTR with an error; SRV and A may still work
	}
	var use []*dns.NAPTR
	for _, rr := range records {
		if n, ok := rr.(*dns.NAPTR); ok && strings.EqualFold(n.Flags, "s") && pointerTransport(n.Service, q.secure) != "" {
			use = append(use, n)
		}
	}
	slices.SortStableFunc(use, func(a, b *dns.NAPTR) int {
		if a.Order != b.Order {
			return int(a.Order) - int(b.Order)
		}
		return int(a.Preference) - int(b.Preference)
	})
	var out []candidate
	for i, n := range use {
		hops, err := r.services(ctx, strings.TrimSuffix(n.Replacement, "."), q.host, pointerTransport(n.Service, q.secure), uint32(i)<<16)
		if err == nil {
			out = append(out, hops...)
		}
	}
	return out, nil
}

func pointerTransport(service string, secure bool) request.Transport {
	switch strings.ToUpper(service) {
	case "SIPS+D2T":
		return request.TLS
	case "SIP+D2T":
		if !secure {
			return request.TCP
		}
	case "SIP+D2U":
		if !secure {
			return request.UDP
		}
	}
	return ""
}

// services follows SRV records. base orders them behind those of better NAPTR records.
func (r *Resolver) services(ctx context.Context, name, host string, t request.Transport, base uint32) ([]candidate, error) {
	records, err := r.lookup.Records(ctx, name, dns.TypeSRV)
	if err != nil {
		return nil, nil
	}
	var out []candidate
	for _, rr := range records {
		srv, ok := rr.(*dns.SRV)
		if !ok || srv.Target == "." {
			continue
		}
		hops, err := r.addresses(ctx, strings.TrimSuffix(srv.Target, "."), host, t, srv.Port, base+uint32(srv.Priority), srv.Weight)
		if err == nil {
			out = append(out, hops...)
		}
	}
	return out, nil
}

// addresses looks up target; host is the name that TLS certificates are checked against (RFC 5922 §4).
func (r *Resolver) addresses(ctx context.Context, target, host string, t request.Transport, port uint16, priority uint32, weight uint16) ([]candidate, error) {
	addrs, err := r.lookup.Addresses(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", target, ErrNoHop, err)
	}
	c := candidate{priority: priority, weight: weight}
	for _, a := range addrs[:min(len(addrs), maxHops)] {
		c.hops = append(c.hops, request.Hop{Transport: t, Addr: netip.AddrPortFrom(a.Unmap(), port), Host: host})
	}
	return []candidate{c}, nil
}

// order draws among equal priorities by weight (RFC 2782) and puts hops that failed lately last.
func (r *Resolver) order(in []candidate) []request.Hop {
	left := slices.Clone(in)
	slices.SortStableFunc(left, func(a, b candidate) int { return int(a.priority) - int(b.priority) })
	var good, bad []request.Hop
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(left) > 0 && len(good)+len(bad) < maxHops {
		same, sum := 0, 0
		for same < len(left) && left[same].priority == left[0].priority {
			sum += int(left[same].weight)
			same++
		}
		pick := 0
		if sum > 0 {
			for draw := rand.IntN(sum + 1); pick < same-1; pick++ {
				if draw -= int(left[pick].weight); draw <= 0 {
					break
				}
			}
		}
		for _, hop := range left[pick].hops {
			if until, ok := r.failed[hop]; ok && now.Before(until) {
				bad = append(bad, hop)
			} else {
				good = append(good, hop)
			}
		}
		left = slices.Delete(left, pick, pick+1)
	}
	return append(good, bad...)
}
