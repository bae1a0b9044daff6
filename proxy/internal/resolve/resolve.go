// Package resolve finds the next hops of a SIP URI by RFC 3263: NAPTR, SRV with priorities and weights, A and AAAA.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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
	// keep is how long answers are kept. net.Resolver tells no TTL, so it is short.
	keep    = 30 * time.Second
	maxKept = 4096
	maxHops = 16
)

// Lookup asks the DNS. It is an interface so that tests can serve records.
type Lookup interface {
	// Records returns the answers of one type; none and no error when there are none.
	Records(ctx context.Context, name string, kind uint16) ([]dns.RR, error)
	// Addresses returns A and AAAA, the system's hosts file included.
	Addresses(ctx context.Context, host string) ([]netip.Addr, error)
}

// Resolver resolves URIs and remembers, for a while, answers and failed hops. It is safe for concurrent use.
type Resolver struct {
	lookup Lookup
	now    func() time.Time
	avoid  time.Duration

	mu     sync.Mutex
	kept   map[string]answer
	failed map[request.Hop]time.Time
}

type answer struct {
	hops  []candidate
	until time.Time
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
	if avoid <= 0 {
		avoid = 30 * time.Second
	}
	return &Resolver{lookup: lookup, now: time.Now, avoid: avoid, kept: map[string]answer{}, failed: map[request.Hop]time.Time{}}
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
	key := fmt.Sprintf("%s|%d|%s|%t", strings.ToLower(q.host), q.port, q.transport, q.secure)
	r.mu.Lock()
	known, ok := r.kept[key]
	r.mu.Unlock()
	if !ok || r.now().After(known.until) {
		hops, err := r.find(ctx, q)
		if err != nil {
			return nil, err
		}
		known = answer{hops, r.now().Add(keep)}
		r.mu.Lock()
		if len(r.kept) >= maxKept {
			clear(r.kept)
		}
		r.kept[key] = known
		r.mu.Unlock()
	}
	hops := r.order(known.hops)
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
	if len(r.failed) >= maxKept {
		clear(r.failed)
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

// System asks name servers for NAPTR and SRV, and the operating system for addresses.
type System struct {
	// Servers are "host:port", and are asked for addresses as well; empty: those of /etc/resolv.conf.
	Servers []string
}

// Records implements Lookup.
func (s System) Records(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	servers := s.Servers
	if len(servers) == 0 {
		cfg, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return nil, err
		}
		for _, h := range cfg.Servers {
			servers = append(servers, net.JoinHostPort(h, cfg.Port))
		}
	}
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), kind)
	m.SetEdns0(1232, false)
	err := error(ErrNoHop)
	for _, server := range servers {
		var in *dns.Msg
		in, err = exchange(ctx, m, server)
		if err != nil {
			continue
		}
		switch in.Rcode {
		case dns.RcodeSuccess, dns.RcodeNameError:
			var out []dns.RR
			for _, rr := range in.Answer {
				if rr.Header().Rrtype == kind && len(out) < maxHops {
					out = append(out, rr)
				}
			}
			return out, nil
		}
		err = fmt.Errorf("%s: %s", name, dns.RcodeToString[in.Rcode])
	}
	return nil, err
}

// exchange asks one server, again by TCP when the answer was cut.
func exchange(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
	udp := dns.Client{Timeout: 2 * time.Second}
	in, _, err := udp.ExchangeContext(ctx, m, server)
	if err == nil && in.Truncated {
		tcp := dns.Client{Net: "tcp", Timeout: 2 * time.Second}
		in, _, err = tcp.ExchangeContext(ctx, m, server)
	}
	return in, err
}

// Addresses implements Lookup.
func (s System) Addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if len(s.Servers) == 0 {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	// The addresses must come from where the SRV records came from: a private zone is not known elsewhere.
	four, err := s.Records(ctx, host, dns.TypeA)
	six, err6 := s.Records(ctx, host, dns.TypeAAAA)
	var out []netip.Addr
	for _, rr := range append(four, six...) {
		var ip net.IP
		switch v := rr.(type) {
		case *dns.A:
			ip = v.A
		case *dns.AAAA:
			ip = v.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, addr.Unmap())
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no address: %w", host, errors.Join(err, err6, ErrNoHop))
	}
	return out, nil
}
