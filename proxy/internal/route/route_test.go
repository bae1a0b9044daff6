package route

import (
	"context"
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

type domains struct{}

func (domains) Canonical(host string) (string, bool) {
	return "example.org", strings.EqualFold(host, "example.org") || host == "127.0.0.1"
}

type users struct{}

func (users) Exists(_ context.Context, user, domain string) (bool, error) {
	if user == "broken" {
		return false, errors.New("disk")
	}
	return user == "alice" || user == "bob", nil
}

// connection is one that is open until closed.
type connection struct {
	request.Connection
	closed chan struct{}
}

func (c *connection) Closed() <-chan struct{} { return c.closed }

type connections map[request.ConnectionID]*connection

func (c connections) Get(id request.ConnectionID) (request.Connection, bool) {
	conn, ok := c[id]
	return conn, ok
}

func (connections) Reach(context.Context, request.Hop) (request.Connection, error) {
	return nil, request.ErrNoListener
}

type recorder struct{ response *sip.Response }

func (r *recorder) Send(res *sip.Response) error {
	r.response = res
	return nil
}

func nextHop(t *testing.T, s string) sip.Uri {
	var uri sip.Uri
	require.NoError(t, request.ParseURI(s, &uri))
	return uri
}

func newStep(t *testing.T) (*Step, connections) {
	table := location.NewTable(nil, zap.NewNop())
	later := time.Now().Add(time.Hour)
	require.NoError(t, table.Update("sip:alice@example.org", func([]location.Binding) ([]location.Binding, error) {
		return []location.Binding{
			{AoR: "sip:alice@example.org", Contact: "sip:a@x.invalid;transport=ws", Connection: "w1", Profile: "webrtc", Q: 1000, Expires: later},
			{AoR: "sip:alice@example.org", Contact: "sip:a@192.0.2.4;transport=tcp", Direct: true, Profile: "sip", Q: 500, Expires: later, Path: []string{"sip:edge;lr"}},
		}, nil
	}))
	require.NoError(t, table.Update("sip:gone@example.org", func([]location.Binding) ([]location.Binding, error) {
		return []location.Binding{{AoR: "sip:gone@example.org", Contact: "sip:g@y.invalid", Connection: "w2", Expires: later}}, nil
	}))
	conns := connections{"w1": {closed: make(chan struct{})}, "w2": {closed: make(chan struct{})}}
	close(conns["w2"].closed)
	return New(Config{
		Table: table, Domains: domains{}, Users: users{}, Connections: conns,
		Rules: []Rule{
			{Name: "premium", Users: true, Prefix: "0900", Action: ActionReject},
			{Name: "out", Users: true, Pattern: regexp.MustCompile(`^0[0-9]+$`), Strip: 1, Add: "+49", Action: ActionSend,
				NextHop: nextHop(t, "sip:carrier.example;transport=tcp"), Profile: "srtp", Timeout: time.Minute},
			{Name: "in", Trunks: []string{"carrier"}, Prefix: "+4955", Strip: 5, Action: ActionRegistered},
			{Name: "partner", Users: true, Domain: "partner.example", Action: ActionSend, NextHop: nextHop(t, "sip:10.0.0.1")},
		},
	}), conns
}

func handle(t *testing.T, s *Step, method, uri, user, trunk string) (*request.Request, *sip.Response, error) {
	t.Helper()
	msg := sip.NewRequest(sip.RequestMethod(method), nextHop(t, uri))
	out := &recorder{}
	r := &request.Request{Msg: msg, Original: msg, User: user, Trunk: trunk, Log: zap.NewNop(), Responder: out, Source: netip.MustParseAddrPort("198.51.100.1:1")}
	v, err := s.Handle(t.Context(), r)
	require.Equal(t, err != nil || out.response != nil, v == request.Done)
	return r, out.response, err
}

func TestRegisteredUser(t *testing.T) {
	s, conns := newStep(t)
	r, _, err := handle(t, s, "INVITE", "sip:alice@127.0.0.1", "bob@example.org", "")
	require.NoError(t, err)
	require.Len(t, r.Targets, 2)
	require.Equal(t, request.Connection(conns["w1"]), r.Targets[0].Conn)
	require.Equal(t, "webrtc", r.Targets[0].Profile)
	require.Equal(t, "sip:a@x.invalid;transport=ws", r.Targets[0].URI.String())
	require.Nil(t, r.Targets[1].Conn)
	require.Equal(t, "sip:edge;lr", r.Targets[1].Route[0].String())
	require.Equal(t, 500, r.Targets[1].Q)
}

func TestRules(t *testing.T) {
	s, _ := newStep(t)
	r, _, err := handle(t, s, "INVITE", "sip:01234@example.org", "bob@example.org", "")
	require.NoError(t, err)
	require.Equal(t, "sip:+491234@carrier.example;transport=tcp", r.Targets[0].URI.String())
	require.Equal(t, "srtp", r.Targets[0].Profile)
	require.Equal(t, time.Minute, r.Targets[0].Timeout)

	r, _, err = handle(t, s, "INVITE", "sip:+4955alice@example.org", "", "carrier")
	require.NoError(t, err)
	require.Len(t, r.Targets, 2)

	r, _, err = handle(t, s, "INVITE", "sip:x@partner.example", "bob@example.org", "")
	require.NoError(t, err)
	require.Equal(t, "sip:x@10.0.0.1", r.Targets[0].URI.String())
}

func TestRefusals(t *testing.T) {
	s, _ := newStep(t)
	for _, c := range []struct {
		uri, user, trunk string
		code             int
	}{
		{"sip:nobody@example.org", "bob@example.org", "", 404},
		{"sip:bob@example.org", "bob@example.org", "", 480},
		{"sip:gone@example.org", "bob@example.org", "", 480},
		{"sip:broken@example.org", "bob@example.org", "", 500},
		{"sip:example.org", "bob@example.org", "", 484},
		{"sip:x@elsewhere.net", "bob@example.org", "", 404},
		{"sip:0900123@example.org", "bob@example.org", "", 403},
		{"sip:01234@example.org", "", "carrier", 404}, // a trunk may not call out by the users' route
		{"sip:x@partner.example", "", "carrier", 404},
		{"sip:01234@example.org", "", "", 404},
	} {
		_, _, err := handle(t, s, "INVITE", c.uri, c.user, c.trunk)
		var e *request.Error
		require.ErrorAs(t, err, &e, c.uri)
		require.Equal(t, c.code, e.Code, c.uri)
	}
	_, res, err := handle(t, s, "OPTIONS", "sip:example.org", "bob@example.org", "")
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
}

// A phone may redirect to other users, only a configured next hop to anywhere.
func TestRedirected(t *testing.T) {
	s, _ := newStep(t)
	r, _, err := handle(t, s, "INVITE", "sip:01234@example.org", "bob@example.org", "")
	require.NoError(t, err)
	var contacts []request.Address
	for _, v := range []string{"<sip:alice@example.org>;q=0.3", "<sip:+1900@carrier.example?Route=x>;q=0.7", "<tel:+1>", "<sip:gone@example.org>"} {
		a, err := request.ParseAddress(v)
		require.NoError(t, err)
		contacts = append(contacts, a)
	}
	out := r.Redirects.Redirected(r, r.Targets[0], contacts)
	require.Len(t, out, 3)
	require.Equal(t, []int{300, 300, 700}, []int{out[0].Q, out[1].Q, out[2].Q})
	require.Equal(t, "sip:+1900@carrier.example", out[2].URI.String())
	require.Equal(t, "srtp", out[2].Profile)
	require.True(t, out[2].Trusted)
	out = r.Redirects.Redirected(r, request.Target{Profile: "sip"}, contacts)
	require.Len(t, out, 2, "a phone sends nobody abroad")
}
