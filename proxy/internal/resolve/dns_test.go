package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/miekg/dns"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nameServer serves records by UDP and TCP on one port of loopback; over UDP long answers are cut, as RFC 1035 has it.
func nameServer(t *testing.T, records ...string) (address string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	zone := dns.NewServeMux()
	zone.HandleFunc(".", func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg)
		m.SetReply(q)
		known := false
		for _, line := range records {
			rr, err := dns.NewRR(line)
			if err != nil {
				t.Error(err)
			}
			if dns.CanonicalName(rr.Header().Name) == dns.CanonicalName(q.Question[0].Name) {
				if known = true; rr.Header().Rrtype == q.Question[0].Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
		}
		if !known {
			m.Rcode = dns.RcodeNameError
		}
		if w.LocalAddr().Network() == "udp" {
			size := dns.MinMsgSize
			if o := q.IsEdns0(); o != nil {
				size = int(o.UDPSize())
			}
			m.Truncate(size)
		}
		_ = w.WriteMsg(m)
	})
	packet, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := net.Listen("tcp4", packet.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: packet, Handler: zone}, {Listener: stream, Handler: zone}} {
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(ended)
			_ = s.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-ended
		})
	}
	return packet.LocalAddr().String(), asked
}

func TestOverTheWire(t *testing.T) {
	address, asked := nameServer(t,
		`carrier.test. 60 IN NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.carrier.test.`,
		`carrier.test. 60 IN NAPTR 10 20 "S" "SIP+D2T" "" _sip._tcp.carrier.test.`,
		`carrier.test. 60 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.carrier.test.`,
		`carrier.test. 60 IN NAPTR 5 10 "u" "E2U+sip" "!^.*$!sip:evil@x!" .`,
		`_sips._tcp.carrier.test. 60 IN SRV 10 1 5071 b.carrier.test.`,
		`_sip._tcp.carrier.test. 60 IN SRV 10 1 5072 b.carrier.test.`,
		`_sip._udp.carrier.test. 60 IN SRV 6000 1 5062 b.carrier.test.`, // above 4095 the order counts as well
		`_sip._udp.carrier.test. 60 IN SRV 5000 1 5060 a.carrier.test.`,
		`a.carrier.test. 60 IN A 192.0.2.1`, `b.carrier.test. 60 IN A 192.0.2.2`, `b.carrier.test. 60 IN AAAA 2001:db8::2`,
		`_sip._udp.closed.test. 60 IN SRV 0 0 0 .`,
	)
	r := New(NewClient(Config{Servers: []string{address}}), 0)
	want := []string{"tls 192.0.2.2:5071", "tls [2001:db8::2]:5071", "tcp 192.0.2.2:5072", "tcp [2001:db8::2]:5072",
		"udp 192.0.2.1:5060", "udp 192.0.2.2:5062", "udp [2001:db8::2]:5062"}
	if got := resolveAll(t, r, "sip:x@carrier.test"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	before := asked.Load()
	resolveAll(t, r, "sip:y@CARRIER.test")
	if asked.Load() != before {
		t.Error("an answer is not kept")
	}
	var u sip.Uri
	for _, uri := range []string{"sip:x@nobody.test", "sip:x@closed.test", "sip:x@closed.test:5070"} {
		if err := sip.ParseUri(uri, &u); err != nil {
			t.Fatal(err)
		}
		if hops, err := r.Resolve(context.Background(), u); !errors.Is(err, ErrNoHop) {
			t.Errorf("%s: %v %v", uri, hops, err)
		}
	}
}

// An answer too long for a datagram is asked for again by TCP, and what is kept of it has a bound.
func TestLongAnswers(t *testing.T) {
	records := []string{`target-of-all-records.long.test. 60 IN A 192.0.2.5`}
	for i := range 60 {
		records = append(records, fmt.Sprintf(`_sip._udp.long.test. 60 IN SRV %d 1 %d target-of-all-records.long.test.`, i, 6000+i))
	}
	address, _ := nameServer(t, records...)
	got := resolveAll(t, New(NewClient(Config{Servers: []string{address}}), 0), "sip:x@long.test;transport=udp")
	if len(got) != maxHops || got[0] != "udp 192.0.2.5:6000" {
		t.Errorf("%d hops: %q", len(got), got)
	}
}

// A name server that does not answer delays, and the next one is asked.
func TestSecondNameServer(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := silent.LocalAddr().String()
	silent.Close() // from here on refused
	address, _ := nameServer(t, `_sip._tcp.s.test. 60 IN SRV 1 1 5080 a.s.test.`, `a.s.test. 60 IN A 192.0.2.3`)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	hops, err := New(NewClient(Config{Servers: []string{dead, address}}), 0).Resolve(ctx, sip.Uri{Scheme: "sip", Host: "s.test"})
	if err != nil || len(hops) != 1 || hops[0].Addr != netip.MustParseAddrPort("192.0.2.3:5080") || hops[0].Transport != request.TCP {
		t.Errorf("%v %v", hops, err)
	}
}

// Answers are kept for their TTL, negative ones for that of the zone, and a dead server is not asked again for every call.
func TestAnswersAreKept(t *testing.T) {
	address, asked := nameServer(t, `a.test. 60 IN A 192.0.2.1`, `a.test. 60 IN AAAA 2001:db8::1`, `long.test. 99999 IN A 192.0.2.2`)
	c := NewClient(Config{Servers: []string{address}, Timeout: 200 * time.Millisecond, MaxTTL: 2 * time.Minute})
	now := time.Now()
	c.now = func() time.Time { return now }
	times := func(name string) int64 {
		before := asked.Load()
		_, _ = c.Records(t.Context(), name, dns.TypeA)
		return asked.Load() - before
	}
	for _, step := range []struct {
		name  string
		after time.Duration
		want  int64
	}{
		{"a.test", 0, 1}, {"A.test.", 59 * time.Second, 0}, {"a.test", 2 * time.Second, 1},
		{"long.test", 0, 1}, {"long.test", 119 * time.Second, 0}, {"long.test", 2 * time.Second, 1},
		{"none.test", 0, 1}, {"none.test", 29 * time.Second, 0}, {"none.test", 2 * time.Second, 1},
	} {
		now = now.Add(step.after)
		if got := times(step.name); got != step.want {
			t.Errorf("%+v: asked %d times", step, got)
		}
	}
	var wg sync.WaitGroup
	now = now.Add(time.Hour)
	before := asked.Load()
	for range 20 {
		wg.Go(func() {
			if addrs, err := c.Addresses(context.Background(), "a.test"); err != nil || len(addrs) != 2 {
				t.Errorf("%v %v", addrs, err)
			}
		})
	}
	wg.Wait()
	if n := asked.Load() - before; n != 2 {
		t.Errorf("asked %d times for two records", n)
	}
	for i := range maxKept + 100 {
		c.keep(question{fmt.Sprintf("h%d.test.", i), dns.TypeA}, answer{until: now.Add(time.Hour)})
	}
	if len(c.kept) > maxKept {
		t.Errorf("%d answers kept", len(c.kept))
	}
}

// When all servers are gone, an old answer is better than none; and where there is none, not every call waits.
func TestServersGone(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0") // answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := NewClient(Config{Servers: []string{silent.LocalAddr().String()}, Timeout: 50 * time.Millisecond})
	now := time.Now()
	c.now = func() time.Time { return now }
	rr, _ := dns.NewRR(`a.test. 60 IN A 192.0.2.1`)
	c.kept[question{"a.test.", dns.TypeA}] = &answer{records: []dns.RR{rr}, until: now.Add(-time.Minute)}
	if got, err := c.Records(t.Context(), "a.test", dns.TypeA); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := c.Records(t.Context(), "b.test", dns.TypeA); err == nil {
		t.Error("an answer of nobody")
	}
	began := time.Now()
	for range 100 {
		_, _ = c.Records(t.Context(), "b.test", dns.TypeA)
	}
	if took := time.Since(began); took > 50*time.Millisecond {
		t.Errorf("100 questions that nobody answers took %s", took)
	}
	c.Configure(Config{Servers: []string{"127.0.0.1:1"}})
	if len(c.kept) != 0 {
		t.Error("answers of other servers are kept")
	}
}

func TestSystemFiles(t *testing.T) {
	address, _ := nameServer(t, `pbx.corp.test. 60 IN A 192.0.2.7`)
	host, port, _ := net.SplitHostPort(address)
	dir := t.TempDir()
	hosts, resolv := filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")
	for file, text := range map[string]string{
		hosts: "# x\n192.0.2.8 Near near.test. # comment\n::1 near\nbad line\n", resolv: "nameserver " + host + "\nsearch corp.test\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := NewClient(Config{})
	c.system = files{hostsPath: hosts, resolvPath: resolv}
	c.system.servers()
	c.system.resolv.Port = port
	for name, want := range map[string]string{"NEAR": "[192.0.2.8 ::1]", "near.test": "[192.0.2.8]", "pbx": "[192.0.2.7]", "pbx.corp.test": "[192.0.2.7]"} {
		got, err := c.Addresses(t.Context(), name)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v %v, want %s", name, got, err, want)
		}
	}
	if _, err := c.Addresses(t.Context(), "absent"); !errors.Is(err, ErrNoHop) {
		t.Errorf("%v", err)
	}
}
