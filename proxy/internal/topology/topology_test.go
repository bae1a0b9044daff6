package topology

import (
	"context"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

var key = []byte("0123456789abcdef0123456789abcdef")

type owner struct{}

func (owner) Owns(host string, port int) bool { return host == "192.0.2.1" && port == 5060 }

func TestSealer(t *testing.T) {
	s, err := newSealer(key)
	require.NoError(t, err)
	const text = "sip:alice@10.0.0.1:5062;transport=tcp"
	sealed := s.close(text, "contact")
	require.Equal(t, sealed, s.close(text, "contact"), "a repeated response would show another Contact")
	require.NotContains(t, sealed, "alice")
	opened, err := s.open(sealed, "contact")
	require.NoError(t, err)
	require.Equal(t, text, opened)
	for i := range sealed {
		damaged := []byte(sealed)
		damaged[i] ^= 1
		if again, err := s.open(string(damaged), "contact"); err == nil && again != text { // the last letter has spare bits
			t.Fatalf("letter %d changed: %q", i, again)
		}
	}
	_, err = s.open(sealed, "route")
	require.ErrorIs(t, err, errSealed)
	other, err := newSealer([]byte(strings.Repeat("x", 32)))
	require.NoError(t, err)
	_, err = other.open(sealed, "contact")
	require.ErrorIs(t, err, errSealed)
	_, err = newSealer([]byte("short"))
	require.Error(t, err)
}

// received is a request as the step sees it.
func received(t *testing.T, uri string, routes ...string) *request.Request {
	t.Helper()
	var target sip.Uri
	require.NoError(t, request.ParseURI(uri, &target))
	msg := sip.NewRequest(sip.BYE, target)
	callID := sip.CallIDHeader("c")
	msg.AppendHeader(&callID)
	msg.AppendHeader(sip.NewHeader("From", "<sip:a@x>;tag=a"))
	msg.AppendHeader(sip.NewHeader("To", "<sip:b@x>;tag=b"))
	request.SetRoutes(msg, routes)
	return &request.Request{Msg: msg, Original: msg, InDialog: true, Log: zap.NewNop()}
}

func TestReveal(t *testing.T) {
	h := New(owner{})
	r := received(t, "sip:th-x@192.0.2.1")
	_, err := h.Reveal().Handle(context.Background(), r)
	require.NoError(t, err, "before Configure")
	require.Error(t, h.Configure(Config{Key: []byte("short")}))
	require.NoError(t, h.Configure(Config{Key: key, Profiles: map[string]bool{"hidden": true}}))
	s := h.current.Load().seal

	contact := "sip:th-" + s.close("sip:real@10.0.0.9;x=1", "contact") + "@192.0.2.1:5060"
	entry := func(to, callID string) string {
		return "<sip:192.0.2.1:5060;lr;th=" + sealPath(s, path{to, "SEAL", []string{"<sip:p1;lr>", "<sip:p2;lr>"}}, callID) + ">"
	}
	for _, c := range []struct {
		name, uri string
		routes    []string
		wantURI   string
		want      []string
	}{
		{"all is put back", contact, []string{entry("b", "c"), "<sip:own;lr>"}, "sip:real@10.0.0.9;x=1",
			[]string{"<sip:192.0.2.1:5060;lr;seal=SEAL>", "<sip:p1;lr>", "<sip:p2;lr>", "<sip:own;lr>"}},
		{"routes to the other side are not for this one", contact, []string{entry("a", "c")}, "sip:real@10.0.0.9;x=1",
			[]string{"<sip:192.0.2.1:5060;lr;seal=SEAL>"}},
		{"an entry of another call", contact, []string{entry("b", "other")}, "sip:real@10.0.0.9;x=1", []string{entry("b", "other")}},
		{"somebody else's user part", "sip:th-abc@203.0.113.1", nil, "sip:th-abc@203.0.113.1", nil},
		{"rubbish", "sip:th-abc@192.0.2.1:5060", []string{"<sip:192.0.2.1:5060;lr;th=abc>"}, "sip:th-abc@192.0.2.1:5060",
			[]string{"<sip:192.0.2.1:5060;lr;th=abc>"}},
	} {
		r := received(t, c.uri, c.routes...)
		_, err := h.Reveal().Handle(context.Background(), r)
		require.NoError(t, err)
		require.Equal(t, c.wantURI, r.Msg.Recipient.String(), c.name)
		require.Equal(t, c.want, values(r.Msg, "Route"), c.name)
	}
}

func TestRouteSetIsBounded(t *testing.T) {
	s, err := newSealer(key)
	require.NoError(t, err)
	p, err := openPath(s, sealPath(s, path{to: "a", seal: "s", routes: make([]string, 100)}, "c"), "c")
	require.NoError(t, err)
	require.Len(t, p.routes, maxRoutes)
}
