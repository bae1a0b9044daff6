package screen

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// by is a connection of one transport.
type by struct {
	request.Connection
	transport request.Transport
	remote    netip.AddrPort
}

func (b by) Transport() request.Transport { return b.transport }
func (b by) Remote() netip.AddrPort       { return b.remote }

func TestOptionsReflectNothing(t *testing.T) {
	owns := func(host string, _ int) bool { return host == "192.0.2.1" }
	trusted := func(c request.Connection) bool { return c.Remote().Addr() == netip.MustParseAddr("192.0.2.7") }
	step := NewStep(Config{Owns: owns, Trusted: trusted})
	short := strings.Replace(options, "sip:bob@example.com SIP", "sip:192.0.2.1 SIP", 1)
	long := strings.Replace(short, "Call-ID", "User-Agent: "+strings.Repeat("x", 300)+"\nCall-ID", 1)
	for name, c := range map[string]struct {
		text      string
		transport request.Transport
		source    string
		full      bool
	}{
		"a short question over UDP":  {short, request.UDP, "192.0.2.66", false},
		"a long one":                 {long, request.UDP, "192.0.2.66", true},
		"TCP, whose source is known": {short, request.TCP, "192.0.2.66", true},
		"a trusted source":           {short, request.UDP, "192.0.2.7", true},
	} {
		msg, up := read(t, c.text), &sent{}
		source := netip.AddrPortFrom(netip.MustParseAddr(c.source), 5060)
		r := &request.Request{
			Msg: msg, Original: msg, Conn: by{transport: c.transport, remote: source}, Responder: up, Log: zap.NewNop(), Source: source,
		}
		if verdict, err := step.Handle(context.Background(), r); verdict != request.Done || err != nil || len(up.responses) != 1 {
			t.Fatalf("%s: %v %v %v", name, verdict, err, up.responses)
		}
		res := up.responses[0]
		if res.StatusCode != 200 || (request.Header(res, "Allow") != "") != c.full {
			t.Errorf("%s:\n%s", name, res)
		}
		if !c.full && len(res.String()) > len(msg.String())+len(";tag=0123456789abcdef") {
			t.Errorf("%s: %d bytes for %d", name, len(res.String()), len(msg.String()))
		}
	}
}
