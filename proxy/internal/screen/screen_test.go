package screen

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// from is a connection of which only the remote address matters.
type from struct {
	request.Connection
	remote netip.AddrPort
}

func (f from) Remote() netip.AddrPort { return f.remote }

func source4(s string) from { return from{remote: netip.AddrPortFrom(netip.MustParseAddr(s), 5060)} }

// sent collects responses.
type sent struct{ responses []*sip.Response }

func (s *sent) Send(r *sip.Response) error { s.responses = append(s.responses, r); return nil }

func read(t *testing.T, text string) *sip.Request {
	t.Helper()
	m, err := sip.ParseMessage([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return m.(*sip.Request)
}

const options = `OPTIONS sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP a;branch=z9hG4bK1
Max-Forwards: 70
From: <sip:a@x>;tag=1
To: <sip:bob@example.com>
Call-ID: c
CSeq: 1 OPTIONS
Content-Length: 0

`

func TestChecksOfRFC3261(t *testing.T) {
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(options) }
	step := NewStep(Config{Owns: func(host string, port int) bool { return host == "192.0.2.1" && (port == 0 || port == 5060) }})
	for name, c := range map[string]struct {
		text string
		code int // 0: goes on
	}{
		"good":                         {options, 0},
		"no Max-Forwards":              {replace("Max-Forwards: 70\n", ""), 0},
		"Max-Forwards 1 may go out":    {replace("Max-Forwards: 70", "Max-Forwards: 1"), 0},
		"zeromf":                       {replace("Max-Forwards: 70", "Max-Forwards: 0"), 483},
		"to the proxy itself":          {replace("sip:bob@example.com SIP", "sip:192.0.2.1 SIP", "Max-Forwards: 70", "Max-Forwards: 0"), 200},
		"a user of the proxy, no hops": {replace("sip:bob@example.com SIP", "sip:bob@192.0.2.1 SIP", "Max-Forwards: 70", "Max-Forwards: 0"), 483},
		"badvers":                      {replace("SIP/2.0\nVia", "SIP/7.0\nVia"), 505},
		"mismatch01":                   {replace("1 OPTIONS", "1 INVITE"), 400},
		"unkscm":                       {replace("sip:bob@example.com SIP", "nobodyKnowsThisScheme:totallyopaquecontent SIP"), 416},
		"tel":                          {replace("sip:bob@example.com SIP", "tel:+4930123 SIP"), 0},
		"bext01":                       {replace("Call-ID", "Proxy-Require: nothingSupportsThis, norThis\nRequire: thisIsNotForProxies\nCall-ID"), 420},
		"Require alone":                {replace("Call-ID", "Require: thisIsNotForProxies\nCall-ID"), 0},
		"REGISTER is not forwarded":    {replace("OPTIONS", "REGISTER", "Max-Forwards: 70", "Max-Forwards: 0"), 0},
		"many hops":                    {replace("Max-Forwards", strings.Repeat("Via: SIP/2.0/UDP b;branch=z9hG4bKx\n", maxVias)+"Max-Forwards"), 483},
	} {
		msg := read(t, c.text)
		up := &sent{}
		r := &request.Request{Msg: msg, Original: msg, Responder: up, Log: zap.NewNop()}
		verdict, err := step.Handle(context.Background(), r)
		code := 0
		var coded *request.Error
		switch {
		case errors.As(err, &coded):
			code = coded.Code
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case len(up.responses) > 0:
			code = up.responses[0].StatusCode
		}
		if code != c.code || (verdict == request.Continue) != (c.code == 0) {
			t.Errorf("%s: %d, verdict %d; want %d", name, code, verdict, c.code)
		}
		if name == "bext01" && coded != nil && (len(coded.Headers) != 1 || coded.Headers[0].Value() != "nothingSupportsThis, norThis") {
			t.Errorf("Unsupported is %v", coded.Headers)
		}
	}
}

func TestLoopAndSpiral(t *testing.T) {
	step := NewStep(Config{})
	handle := func(text string) error {
		msg := read(t, text)
		_, err := step.Handle(context.Background(), &request.Request{Msg: msg, Original: msg, Responder: &sent{}, Log: zap.NewNop()})
		return err
	}
	// Our Via on the copy that comes back.
	via := "Via: SIP/2.0/UDP us;branch=z9hG4bKr" + request.BranchMark + request.LoopHash(read(t, options)) + "\nVia"
	back := strings.Replace(strings.Replace(options, "Via", via, 1), "Max-Forwards: 70", "Max-Forwards: 69", 1)
	var coded *request.Error
	if err := handle(back); !errors.As(err, &coded) || coded.Code != sip.StatusLoopDetected {
		t.Errorf("a loop: %v", err)
	}
	if err := handle(strings.Replace(back, "sip:bob@example.com SIP", "sip:carol@example.com SIP", 1)); err != nil {
		t.Errorf("a spiral: %v", err)
	}
}

func TestACKIsNeverAnswered(t *testing.T) {
	msg := read(t, strings.NewReplacer("OPTIONS", "ACK", "Max-Forwards: 70", "Max-Forwards: 0").Replace(options))
	up := &sent{}
	verdict, err := NewStep(Config{}).Handle(context.Background(), &request.Request{Msg: msg, Original: msg, Responder: up, Log: zap.NewNop()})
	if verdict != request.Done || err != nil || len(up.responses) != 0 {
		t.Errorf("%v %v %v", verdict, err, up.responses)
	}
}

func TestGate(t *testing.T) {
	now := time.Now()
	is := func(s string) func(netip.Addr) bool {
		return func(a netip.Addr) bool { return a == netip.MustParseAddr(s) }
	}
	g := NewGate(Config{
		Rate: 10, Burst: 20, Sources: 100, Agents: []string{"friendly-scanner"}, Denied: is("192.0.2.66"), Trusted: func(c request.Connection) bool { return is("192.0.2.1")(c.Remote().Addr()) },
	}, zaptest.NewLogger(t))
	g.now = func() time.Time { return now }
	msg := read(t, options)
	count := func(c from, n int) (admitted int) {
		for range n {
			if g.Admit(c, msg) {
				admitted++
			}
		}
		return admitted
	}
	if n := count(source4("192.0.2.66"), 5); n != 0 {
		t.Errorf("%d of a denied source", n)
	}
	if n := count(source4("192.0.2.1"), 100); n != 100 {
		t.Errorf("%d of 100 of a trusted source", n)
	}
	if n := count(source4("192.0.2.2"), 100); n != 20 {
		t.Errorf("%d at once, the burst is 20", n)
	}
	now = now.Add(time.Second)
	if n := count(source4("192.0.2.2"), 100); n != 10 {
		t.Errorf("%d after a second, the rate is 10", n)
	}
	if n := count(source4("2001:db8::1"), 15) + count(source4("2001:db8::2"), 15); n != 20 {
		t.Errorf("%d of an IPv6 /64, which is one source", n)
	}
	if !g.Admit(source4("192.0.2.2"), sip.NewResponse(200, "OK")) {
		t.Error("responses count as requests")
	}
	scanner := read(t, strings.Replace(options, "Call-ID", "User-Agent: Friendly-Scanner 1\nCall-ID", 1))
	if g.Admit(source4("192.0.2.9"), scanner) {
		t.Error("a scanner was let in")
	}
	for i := range 10000 { // forged sources
		g.Admit(from{remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)}, msg)
	}
	if len(g.sources) > 100 {
		t.Errorf("%d sources remembered, the bound is 100", len(g.sources))
	}
}
