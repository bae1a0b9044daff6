package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Config of a Client; zero values take the defaults named.
type Config struct {
	// Servers are "address:port" of name servers; empty: those of /etc/resolv.conf, read again when it changes.
	Servers []string
	// Timeout is for one question to one server (2 s).
	Timeout time.Duration
	// MaxTTL bounds how long answers are kept (1 h).
	MaxTTL time.Duration
}

const (
	// maxKept bounds the answers kept.
	maxKept = 4096
	// negative is how long it is kept that there is no such record, when the zone does not say (RFC 2308), and at most;
	// unanswered how long that no server has answered, so that not every call waits for them.
	negative, maxNegative, unanswered = 30 * time.Second, 5 * time.Minute, 3 * time.Second
	// stale is how long after its time an answer is better than none (RFC 8767).
	stale = time.Hour
	// lookAgain is the least time between looks at the system's files.
	lookAgain = 5 * time.Second
)

// Client asks name servers, and keeps what they answer for its TTL. It is safe for concurrent use.
type Client struct {
	config atomic.Pointer[Config]
	now    func() time.Time
	system files

	mu     sync.Mutex
	kept   map[question]*answer
	asking map[question]*asking
}

type question struct {
	name string // absolute, in lower case
	kind uint16
}

// answer holds the records of a question; err says that no server has answered.
type answer struct {
	records []dns.RR
	err     error
	until   time.Time
}

// asking is a question under way, for all who want to know.
type asking struct {
	done chan struct{}
	answer
}

// NewClient makes a client.
func NewClient(c Config) *Client {
	client := &Client{now: time.Now, kept: map[question]*answer{}, asking: map[question]*asking{}}
	client.system = files{hostsPath: "/etc/hosts", resolvPath: "/etc/resolv.conf"}
	client.Configure(c)
	return client
}

// Configure sets another configuration; when the servers are others, kept answers are forgotten.
func (c *Client) Configure(next Config) {
	if next.Timeout <= 0 {
		next.Timeout = 2 * time.Second
	}
	if next.MaxTTL <= 0 {
		next.MaxTTL = time.Hour
	}
	before := c.config.Swap(&next)
	if before != nil && strings.Join(before.Servers, " ") != strings.Join(next.Servers, " ") {
		c.mu.Lock()
		clear(c.kept)
		c.mu.Unlock()
	}
}

// Records implements Lookup.
func (c *Client) Records(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	q := question{strings.ToLower(dns.Fqdn(name)), kind}
	if _, ok := dns.IsDomainName(q.name); !ok {
		return nil, fmt.Errorf("%q: %w", name, ErrNoHop)
	}
	c.mu.Lock()
	if a := c.kept[q]; a != nil && c.now().Before(a.until) {
		c.mu.Unlock()
		return a.records, a.err
	}
	if a := c.asking[q]; a != nil {
		c.mu.Unlock()
		select {
		case <-a.done:
			return a.records, a.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	a := &asking{done: make(chan struct{})}
	c.asking[q] = a
	c.mu.Unlock()

	a.answer = c.ask(ctx, q)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asking, q)
	old := c.kept[q]
	switch {
	case a.err != nil && old != nil && old.err == nil && c.now().Before(old.until.Add(stale)):
		a.answer = answer{records: old.records, until: old.until} // looked for again next time
	case a.err != nil && ctx.Err() != nil: // nobody has waited for the servers
	default:
		c.keep(q, a.answer)
	}
	close(a.done)
	return a.records, a.err
}

// keep enters an answer; the lock is held.
func (c *Client) keep(q question, a answer) {
	if _, again := c.kept[q]; !again && len(c.kept) >= maxKept {
		now := c.now()
		for k, old := range c.kept {
			if now.After(old.until) {
				delete(c.kept, k)
			}
		}
		for k := range c.kept { // any, when all are fresh
			if len(c.kept) < maxKept {
				break
			}
			delete(c.kept, k)
		}
	}
	c.kept[q] = &a
}

// ask asks one server after the other.
func (c *Client) ask(ctx context.Context, q question) answer {
	cfg := c.config.Load()
	servers := cfg.Servers
	if len(servers) == 0 {
		servers = c.system.servers()
	}
	m := new(dns.Msg)
	m.SetQuestion(q.name, q.kind)
	m.SetEdns0(1232, false)
	err := fmt.Errorf("%s: no name server: %w", q.name, ErrNoHop)
	for _, server := range servers {
		in, failed := exchange(ctx, m, server, cfg.Timeout)
		if failed == nil {
			switch in.Rcode {
			case dns.RcodeSuccess, dns.RcodeNameError:
				return c.read(in, q, cfg.MaxTTL)
			}
			failed = errors.New(dns.RcodeToString[in.Rcode])
		}
		err = fmt.Errorf("%s from %s: %w", q.name, server, failed)
		if ctx.Err() != nil {
			break
		}
	}
	return answer{err: err, until: c.now().Add(unanswered)}
}

// read takes the records and how long they are good.
func (c *Client) read(in *dns.Msg, q question, most time.Duration) answer {
	var a answer
	ttl := most
	shorten := func(seconds uint32) { ttl = min(ttl, time.Duration(seconds)*time.Second) }
	for _, rr := range in.Answer {
		shorten(rr.Header().Ttl) // of a CNAME on the way as well
		if rr.Header().Rrtype == q.kind && len(a.records) < maxHops {
			a.records = append(a.records, rr)
		}
	}
	if len(a.records) == 0 {
		ttl = min(negative, most)
		for _, rr := range in.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				ttl = min(time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second, maxNegative, most)
			}
		}
	}
	a.until = c.now().Add(max(ttl, time.Second)) // one call asks the same several times
	return a
}

// exchange asks one server, again by TCP when the answer was cut.
func exchange(ctx context.Context, m *dns.Msg, server string, timeout time.Duration) (*dns.Msg, error) {
	udp := dns.Client{Timeout: timeout}
	in, _, err := udp.ExchangeContext(ctx, m, server)
	if err == nil && in.Truncated {
		tcp := dns.Client{Net: "tcp", Timeout: timeout}
		in, _, err = tcp.ExchangeContext(ctx, m, server)
	}
	if err != nil {
		return nil, err
	}
	if len(in.Question) != 1 || !strings.EqualFold(in.Question[0].Name, m.Question[0].Name) || in.Question[0].Qtype != m.Question[0].Qtype {
		return nil, errors.New("answer to another question")
	}
	return in, nil
}

// Addresses implements Lookup: the hosts file, then A and AAAA, where names without a dot are completed by the search list
// of /etc/resolv.conf.
func (c *Client) Addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if known := c.system.host(host); len(known) > 0 {
		return known, nil
	}
	names := []string{host}
	if len(c.config.Load().Servers) == 0 {
		names = c.system.names(host)
	}
	var errs []error
	for _, name := range names {
		var six []dns.RR
		var err6 error
		var wg sync.WaitGroup
		wg.Go(func() { six, err6 = c.Records(ctx, name, dns.TypeAAAA) })
		four, err4 := c.Records(ctx, name, dns.TypeA)
		wg.Wait()
		if out := addressesOf(four, six); len(out) > 0 {
			return out, nil
		}
		errs = append(errs, err4, err6)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s: no address: %w", host, ErrNoHop)
}

func addressesOf(four, six []dns.RR) []netip.Addr {
	out := make([]netip.Addr, 0, len(four)+len(six))
	for _, list := range [][]dns.RR{four, six} {
		for _, rr := range list {
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
	}
	return out
}

// files are what the system knows: /etc/hosts and /etc/resolv.conf, read again when they change.
type files struct {
	hostsPath, resolvPath string

	mu                sync.Mutex
	looked            time.Time
	hostsAt, resolvAt time.Time
	hosts             map[string][]netip.Addr
	resolv            *dns.ClientConfig
}

// refresh reads files that have changed; the lock is held.
func (f *files) refresh() {
	if time.Since(f.looked) < lookAgain {
		return
	}
	f.looked = time.Now()
	if info, err := os.Stat(f.hostsPath); err == nil && !info.ModTime().Equal(f.hostsAt) {
		f.hostsAt = info.ModTime()
		f.hosts = readHosts(f.hostsPath)
	}
	if info, err := os.Stat(f.resolvPath); err == nil && !info.ModTime().Equal(f.resolvAt) {
		if cfg, err := dns.ClientConfigFromFile(f.resolvPath); err == nil {
			f.resolvAt, f.resolv = info.ModTime(), cfg
		}
	}
}

func readHosts(path string) map[string][]netip.Addr {
	hosts := map[string][]netip.Addr{}
	data, err := os.ReadFile(path)
	if err != nil {
		return hosts
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			hosts[name] = append(hosts[name], addr.Unmap())
		}
	}
	return hosts
}

func (f *files) host(name string) []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	return f.hosts[strings.ToLower(strings.TrimSuffix(name, "."))]
}

func (f *files) servers() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	if f.resolv == nil {
		return nil
	}
	var out []string
	for _, h := range f.resolv.Servers {
		out = append(out, net.JoinHostPort(h, f.resolv.Port))
	}
	return out
}

// names are the absolute names that a host may stand for.
func (f *files) names(host string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	if f.resolv == nil {
		return []string{host}
	}
	return f.resolv.NameList(host)
}
