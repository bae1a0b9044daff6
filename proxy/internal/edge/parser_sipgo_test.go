package edge

import (
	"net"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// legal is a request of RFC 3261's grammar with some of its header lines replaced.
func legal(headers ...string) []byte {
	head := map[string]string{
		"Via": "Via: SIP/2.0/UDP a;branch=z9hG4bK1", "From": "From: <sip:a@x>;tag=1", "To": "To: <sip:b@x>", "CSeq": "CSeq: 1 OPTIONS",
	}
	text := "OPTIONS sip:b@x SIP/2.0\r\n"
	for _, h := range headers {
		name, _, _ := strings.Cut(h, ":")
		head[name] = h
	}
	for _, h := range head {
		text += h + "\r\n"
	}
	return []byte(text + "Call-ID: c\r\nContent-Length: 0\r\n\r\n")
}

// Each case is harmed by sipgo's own parser, which the test checks, and right here.
func TestWhatSipgoHarms(t *testing.T) {
	host := func(m sip.Message) string { return m.Via().Host }
	header := func(name string) func(sip.Message) string {
		return func(m sip.Message) string { return request.Header(m, name) }
	}
	for name, c := range map[string]struct {
		data  []byte
		ours  func(sip.Message) string
		plain func(sip.Message) string // the same by sipgo's means; nil: as ours
		want  string
	}{
		"tag parameter in capitals": {
			legal("From: <sip:a@x> ; TAG = t1"), request.FromTag,
			func(m sip.Message) string { return m.From().Params.GetOr("tag", "") }, "t1",
		},
		"branch parameter in capitals": {
			legal("Via: SIP/2.0/UDP a;Branch=z9hG4bKcap"), request.ViaBranch,
			func(m sip.Message) string { return m.Via().Params.GetOr("branch", "") }, "z9hG4bKcap",
		},
		"blanks around the slashes of Via": {
			legal("Via: SIP / 2.0 / UDP   host.example.com:5070 ;branch=z9hG4bK1"), host, nil, "host.example.com",
		},
		"two Via values, the first without parameters": {
			legal("Via: SIP/2.0/UDP first, SIP/2.0/UDP second;branch=z9hG4bK2"), host, nil, "first",
		},
		"comma in a quoted Via parameter": {
			legal(`Via: SIP/2.0/UDP a;branch=z9hG4bK1;x="one,two"`), func(m sip.Message) string { return m.Via().Value() }, nil,
			`SIP/2.0/UDP a;branch=z9hG4bK1;x="one,two"`,
		},
		"display name and parameters of Route": {
			legal(`Route: "The Proxy" <sip:p1;lr>;token=1`), header("Route"), nil, `"The Proxy" <sip:p1;lr>;token=1`,
		},
		"From without quotes": {
			legal(`From: Bob Smith <sip:a@x>;tag=1;foo="a;b=c"`), header("From"), nil, `Bob Smith <sip:a@x>;tag=1;foo="a;b=c"`,
		},
		"several blanks in CSeq": {
			legal("CSeq: 0009   OPTIONS"), func(m sip.Message) string { return m.CSeq().Value() }, nil, "9 OPTIONS",
		},
	} {
		m, reason, err := parse(c.data)
		if err != nil || reason != "" {
			t.Errorf("%s: refused: %v %q", name, err, reason)
			continue
		}
		if got := c.ours(m); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if c.plain == nil {
			c.plain = c.ours
		}
		if theirs, err := sip.ParseMessage(c.data); err == nil && c.plain(theirs) == c.want {
			t.Errorf("%s: sipgo reads this now as well, the guard may go", name)
		}
		if again, reason, err := parse(encode(m)); err != nil || reason != "" || c.ours(again) != c.want {
			t.Errorf("%s: sent on as\n%s", name, encode(m))
		}
	}
}

func TestDatagramThatBeginsWithLineEnds(t *testing.T) {
	data := append([]byte("\r\n\r\n"), legal()...)
	if _, err := sip.ParseMessage(data); err == nil {
		t.Error("sipgo reads this now as well, the guard may go")
	}
	_, box, at := newEdge(t, Limits{})
	conn, err := net.Dial("udp", at[request.UDP].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	if a := box.next(t); a.malformed != "" || request.CallID(a.msg) != "c" {
		t.Errorf("%q %v", a.malformed, a.msg)
	}
}
