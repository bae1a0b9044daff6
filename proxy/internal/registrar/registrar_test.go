package registrar

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

const alice = location.AoR("sip:alice@example.org")

type domains struct{}

func (domains) Canonical(host string) (string, bool) {
	return "example.org", strings.EqualFold(host, "example.org") || host == "127.0.0.1"
}

// connection is one that sends nothing.
type connection struct {
	id        request.ConnectionID // c1 if empty
	transport request.Transport
	closed    chan struct{}
}

func (c *connection) ID() request.ConnectionID     { return cmp.Or(c.id, "c1") }
func (c *connection) Transport() request.Transport { return c.transport }
func (c *connection) Local() netip.AddrPort        { return netip.MustParseAddrPort("127.0.0.1:1") }
func (c *connection) Remote() netip.AddrPort       { return netip.MustParseAddrPort("198.51.100.1:5060") }
func (c *connection) Listener() string             { return "l" }
func (c *connection) SentBy() string               { return "192.0.2.9:5060" }
func (c *connection) Profile() string              { return "webrtc" }
func (c *connection) Dialled() bool                { return false }
func (c *connection) Send(sip.Message) error       { return nil }
func (c *connection) Closed() <-chan struct{}      { return c.closed }

type recorder struct{ response *sip.Response }

func (r *recorder) Send(res *sip.Response) error {
	r.response = res
	return nil
}

// fixture is a registrar with a clock that stands.
type fixture struct {
	t      *testing.T
	table  *location.Table
	step   *Step
	config Config
	now    time.Time
	conn   *connection
	cseq   int
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, table: location.NewTable(nil, zap.NewNop()), now: time.Now().Truncate(time.Second)}
	f.conn = &connection{transport: request.WSS, closed: make(chan struct{})}
	f.config = Config{Table: f.table, Now: func() time.Time { return f.now }, Policy: Policy{
		Domains: domains{}, MinExpires: time.Minute, MaxExpires: time.Hour, DefaultExpires: 10 * time.Minute, MaxContacts: 3,
	}}
	f.step = New(f.config)
	t.Cleanup(func() { f.step.Close() })
	return f
}

// register sends a REGISTER with these headers and returns the response, or
// the error.
func (f *fixture) register(headers ...string) (*sip.Response, error) {
	f.t.Helper()
	f.cseq++
	return f.registerAs(f.cseq, "alice@example.org", headers...)
}

func (f *fixture) registerAs(cseq int, user string, headers ...string) (*sip.Response, error) {
	f.t.Helper()
	text := fmt.Sprintf("REGISTER sip:example.org SIP/2.0\nVia: SIP/2.0/WSS x.invalid;branch=z9hG4bK%d\nFrom: <sip:alice@example.org>;tag=1\nTo: <sip:alice@Example.org>\nCall-ID: c\nCSeq: %d REGISTER\n", cseq, cseq)
	for _, h := range headers {
		text += h + "\n"
	}
	msg, err := sip.ParseMessage([]byte(strings.ReplaceAll(text+"Content-Length: 0\n\n", "\n", "\r\n")))
	require.NoError(f.t, err)
	out := &recorder{}
	original := msg.(*sip.Request)
	v, err := f.step.Handle(f.t.Context(), &request.Request{
		Msg: original.Clone(), Original: original, Conn: f.conn, Source: f.conn.Remote(), User: user,
		Profile: "webrtc", Log: zap.NewNop(), Responder: out,
	})
	require.Equal(f.t, request.Done, v)
	return out.response, err
}

func (f *fixture) contacts(res *sip.Response) []string {
	var out []string
	for _, h := range res.GetHeaders("Contact") {
		out = append(out, h.Value())
	}
	return out
}

func TestRegister(t *testing.T) {
	f := newFixture(t)
	res, err := f.register(`Contact: <sip:abc@x1.invalid;transport=ws>;expires=300;q=0.7;+sip.instance="<urn:uuid:1>";reg-id=1`,
		"Path: <sip:edge.example;lr>, <sip:inner.example;lr>", "Supported: path, outbound")
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, []string{`<sip:abc@x1.invalid;transport=ws>;expires=300;q=0.7;+sip.instance="<urn:uuid:1>";reg-id=1`}, f.contacts(res))
	require.Len(t, res.GetHeaders("Path"), 1)
	require.NotEmpty(t, res.GetHeaders("Date"))
	b := f.table.Lookup(alice)[0]
	require.Equal(t, "c1", b.Connection)
	require.Equal(t, "webrtc", b.Profile)
	require.Equal(t, 700, b.Q)
	require.Equal(t, []string{"sip:edge.example;lr", "sip:inner.example;lr"}, b.Path)
	require.False(t, b.Direct)

	f.now = f.now.Add(100 * time.Second)
	res, err = f.register() // a query
	require.NoError(t, err)
	require.Contains(t, f.contacts(res)[0], ";expires=200")

	// A reloaded page: another contact, the same instance.
	res, err = f.register(`Contact: <sip:def@x2.invalid;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=1`, "Expires: 120")
	require.NoError(t, err)
	require.Len(t, f.contacts(res), 1)
	require.Contains(t, f.contacts(res)[0], "x2.invalid;transport=ws>;expires=120")

	res, err = f.register(`Contact: <sip:g@x3.invalid>, "Two" <sip:h@x4.invalid>;expires=9999`)
	require.NoError(t, err)
	require.Len(t, f.contacts(res), 3)
	require.Contains(t, f.contacts(res)[1], "expires=600", "the default")
	require.Contains(t, f.contacts(res)[2], "expires=3600", "the most")

	_, err = f.register("Contact: <sip:i@x5.invalid>")
	require.ErrorIs(t, err, ErrTooManyContacts)
	require.Len(t, f.table.Lookup(alice), 3)

	res, err = f.register("Contact: <sip:g@X3.invalid>;expires=0")
	require.NoError(t, err)
	require.Len(t, f.contacts(res), 2)

	res, err = f.register("Contact: *", "Expires: 0")
	require.NoError(t, err)
	require.Empty(t, f.contacts(res))
	require.Zero(t, f.table.Len())
}

func code(err error) int {
	var e *request.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	_, err := f.register("Contact: <sip:a@x.invalid>;expires=30")
	require.Equal(t, 423, code(err))
	var e *request.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "Min-Expires: 60", e.Headers[0].String())

	for _, headers := range [][]string{
		{"Contact: *"},
		{"Contact: *", "Expires: 5"},
		{"Contact: *", "Contact: <sip:a@x>", "Expires: 0"},
		{"Contact: <tel:+1555>"},
		{"Contact: <sip:" + strings.Repeat("a", 2000) + "@x>"},
		{"Contact: <sip:a@x>", "Path: <http://x>"},
	} {
		_, err := f.register(headers...)
		require.Equal(t, 400, code(err), headers)
	}
	_, err = f.registerAs(50, "bob@example.org", "Contact: <sip:a@x>")
	require.Equal(t, 403, code(err))
	_, err = f.registerAs(51, "", "Contact: <sip:a@x>")
	require.Equal(t, 403, code(err), "an authentication that was left out")
	res, err := f.register("Require: gruu, path, magic", "Contact: <sip:a@x>")
	require.NoError(t, err)
	require.Equal(t, 420, res.StatusCode)
	require.Equal(t, "gruu, magic", res.GetHeader("Unsupported").Value())
	require.Zero(t, f.table.Len())
}

func TestOrder(t *testing.T) {
	f := newFixture(t)
	_, err := f.registerAs(10, "alice@example.org", "Contact: <sip:a@x.invalid>")
	require.NoError(t, err)
	for _, late := range []int{9, 10} {
		_, err = f.registerAs(late, "alice@example.org", "Contact: <sip:a@x.invalid>;expires=0")
		require.ErrorIs(t, err, ErrOutOfOrder)
		_, err = f.registerAs(late, "alice@example.org", "Contact: *", "Expires: 0")
		require.ErrorIs(t, err, ErrOutOfOrder)
	}
	require.Len(t, f.table.Lookup(alice), 1)
}

func TestConnectionThatHasClosed(t *testing.T) {
	f := newFixture(t)
	close(f.conn.closed)
	_, err := f.register("Contact: <sip:a@x.invalid>")
	require.NoError(t, err)
	require.Zero(t, f.table.Len())
}

func TestDirectContacts(t *testing.T) {
	f := newFixture(t)
	f.conn.transport = request.TCP
	_, err := f.register("Contact: <sip:a@198.51.100.1:5070;transport=tcp>", "Contact: <sip:a@10.0.0.1;transport=tcp>")
	require.NoError(t, err)
	list := f.table.Lookup(alice)
	require.True(t, list[0].Direct)
	require.False(t, list[1].Direct, "behind a NAT, or somebody else")
}
