package resolve

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/miekg/dns"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// zone serves records written as in a zone file.
type zone struct {
	t       *testing.T
	records []string
	hosts   map[string][]string
	asked   int
}

func (z *zone) Records(_ context.Context, name string, kind uint16) ([]dns.RR, error) {
	z.asked++
	var out []dns.RR
	for _, line := range z.records {
		rr, err := dns.NewRR(line)
		if err != nil {
			z.t.Fatal(err)
		}
		if rr.Header().Rrtype == kind && rr.Header().Name == dns.Fqdn(name) {
			out = append(out, rr)
		}
	}
	return out, nil
}

func (z *zone) Addresses(_ context.Context, host string) ([]netip.Addr, error) {
	z.asked++
	var out []netip.Addr
	for _, a := range z.hosts[host] {
		out = append(out, netip.MustParseAddr(a))
	}
	if len(out) == 0 {
		return nil, errors.New("no such host")
	}
	return out, nil
}

func carrier(t *testing.T) *zone {
	return &zone{t: t, records: []string{
		`carrier.test. 60 IN NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.carrier.test.`,
		`carrier.test. 60 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.carrier.test.`,
		`_sips._tcp.carrier.test. 60 IN SRV 10 1 5071 b.carrier.test.`,
		`_sip._udp.carrier.test. 60 IN SRV 20 1 5062 b.carrier.test.`,
		`_sip._udp.carrier.test. 60 IN SRV 10 1 5060 a.carrier.test.`,
		`_sip._tcp.plain.test. 60 IN SRV 10 1 5080 a.carrier.test.`,
	}, hosts: map[string][]string{
		"a.carrier.test": {"192.0.2.1", "2001:db8::1"}, "b.carrier.test": {"192.0.2.2"}, "bare.test": {"192.0.2.9"},
	}}
}

func resolveAll(t *testing.T, r *Resolver, uri string) []string {
	t.Helper()
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		t.Fatal(err)
	}
	hops, err := r.Resolve(context.Background(), u)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, h := range hops {
		out = append(out, string(h.Transport)+" "+h.Addr.String())
	}
	return out
}

func TestOrderOfRFC3263(t *testing.T) {
	for uri, want := range map[string][]string{
		"sip:x@carrier.test":               {"tls 192.0.2.2:5071", "udp 192.0.2.1:5060", "udp [2001:db8::1]:5060", "udp 192.0.2.2:5062"},
		"sips:x@carrier.test":              {"tls 192.0.2.2:5071"},
		"sip:x@carrier.test;transport=UDP": {"udp 192.0.2.1:5060", "udp [2001:db8::1]:5060", "udp 192.0.2.2:5062"},
		"sip:x@plain.test":                 {"tcp 192.0.2.1:5080", "tcp [2001:db8::1]:5080"},
		"sip:x@bare.test":                  {"udp 192.0.2.9:5060"},
		"sip:x@bare.test:5099":             {"udp 192.0.2.9:5099"},
		"sip:x@bare.test;transport=tls":    {"tls 192.0.2.9:5061"},
		"sip:x@192.0.2.7":                  {"udp 192.0.2.7:5060"},
		"sip:x@[2001:db8::7]:5070":         {"udp [2001:db8::7]:5070"},
		"sips:x@192.0.2.7":                 {"tls 192.0.2.7:5061"},
		"sip:x@elsewhere;maddr=192.0.2.8":  {"udp 192.0.2.8:5060"},
	} {
		got := resolveAll(t, New(carrier(t), 0), uri)
		if len(got) != len(want) {
			t.Errorf("%s: %q, want %q", uri, got, want)
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: %q, want %q", uri, got, want)
				break
			}
		}
	}
}

func TestBrowsersAreNeverResolved(t *testing.T) {
	z := carrier(t)
	r := New(z, 0)
	for _, uri := range []string{"sip:x@abc123.invalid;transport=ws", "sip:x@abc123.invalid", "sip:x@192.0.2.1;transport=wss"} {
		var u sip.Uri
		if err := sip.ParseUri(uri, &u); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Resolve(context.Background(), u); !errors.Is(err, request.ErrNeverDialled) {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if z.asked != 0 {
		t.Errorf("DNS was asked %d times", z.asked)
	}
}

func TestFailedHopIsTriedLastAndForgiven(t *testing.T) {
	r := New(carrier(t), time.Minute)
	now := time.Now()
	r.now = func() time.Time { return now }
	uri := "sip:x@carrier.test;transport=udp"
	first := resolveAll(t, r, uri)[0]
	r.Failed(request.Hop{Transport: request.UDP, Addr: netip.MustParseAddrPort("192.0.2.1:5060"), Host: "carrier.test", Listener: "any"})
	got := resolveAll(t, r, uri)
	if got[0] == first || got[len(got)-1] != first {
		t.Errorf("after the failure: %q", got)
	}
	now = now.Add(2 * time.Minute)
	if got := resolveAll(t, r, uri); got[0] != first {
		t.Errorf("after the time to avoid: %q", got)
	}
}

func TestWeights(t *testing.T) {
	z := &zone{t: t, records: []string{
		`_sip._udp.w.test. 60 IN SRV 10 90 5060 a.w.test.`,
		`_sip._udp.w.test. 60 IN SRV 10 10 5060 b.w.test.`,
	}, hosts: map[string][]string{"a.w.test": {"192.0.2.1"}, "b.w.test": {"192.0.2.2"}}}
	r := New(z, 0)
	heavy := 0
	for range 2000 {
		if resolveAll(t, r, "sip:w.test;transport=udp")[0] == "udp 192.0.2.1:5060" {
			heavy++
		}
	}
	if heavy < 1700 || heavy > 1900 {
		t.Errorf("the target of weight 90 of 100 came first %d times of 2000", heavy)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	r := New(carrier(t), time.Hour)
	for i := range 3 * maxFailed {
		r.Failed(request.Hop{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 5060)})
	}
	if len(r.failed) > maxFailed {
		t.Errorf("%d failed hops kept", len(r.failed))
	}
}
