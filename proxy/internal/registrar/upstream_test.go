package registrar

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/midregistrar"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// upstream plays the registrar behind the proxy: it notes what it gets and answers as it is told.
type upstream struct {
	t      *testing.T
	got    chan *sip.Request
	code   int
	expire int // granted at most
	header []sip.Header
	hold   bool
	held   []func()
}

// send is Upstream.Send: the rest of the chain and the other registrar.
func (u *upstream) send(ctx context.Context, r *request.Request) {
	b := &request.Branch{Msg: request.Clone(r.Msg), Target: r.Targets[0], Conn: &connection{transport: request.UDP, id: "upstream"}}
	for _, o := range r.Observers {
		require.NoError(u.t, o.Outgoing(ctx, r, b))
	}
	code, expire := u.code, u.expire
	answer := func() {
		res := request.NewResponse(b.Msg, code, "Answer")
		if code == 200 {
			contacts, _ := request.Addresses(b.Msg, "Contact")
			for _, c := range contacts {
				text, _ := c.Param("expires")
				n, _ := strconv.Atoi(text)
				if n > 0 {
					res.AppendHeader(sip.NewHeader("Contact", fmt.Sprintf("<%s>;expires=%d", c.URI.String(), min(n, expire))))
				}
			}
		}
		for _, h := range u.header {
			res.AppendHeader(h)
		}
		require.NoError(u.t, r.Responder.Send(res))
	}
	u.got <- b.Msg
	if u.hold {
		u.held = append(u.held, answer)
		return
	}
	answer()
}

// inline runs what is posted at once.
type inline struct{}

func (inline) Post(_ string, f func(context.Context)) bool { f(context.Background()); return true }

// mid is a mid-registrar with a clock that stands.
type mid struct {
	*fixture
	upstream *upstream
}

func newMid(t *testing.T, mode midregistrar.Mode, change ...func(*Config)) *mid {
	m := &mid{fixture: newFixture(t), upstream: &upstream{t: t, got: make(chan *sip.Request, 100), code: 200, expire: 3600}}
	m.config.Upstream = &Upstream{
		Mode: mode, Expires: time.Hour, Domain: "example.org",
		Targets: func(uri sip.Uri) []request.Target { return []request.Target{{URI: uri}} },
	}
	m.config.Way = Way{Send: m.upstream.send, Post: inline{}, Log: zap.NewNop(), Grace: 10 * time.Millisecond}
	for _, f := range change {
		f(&m.config)
	}
	m.step.Close()
	m.step = New(m.config)
	m.table.OnLost(m.step.Lost)
	return m
}

// hears returns the REGISTERs that the upstream has got since the last time.
func (m *mid) hears() []*sip.Request {
	var all []*sip.Request
	for {
		select {
		case r := <-m.upstream.got:
			all = append(all, r)
		default:
			return all
		}
	}
}

// told waits for one.
func (m *mid) told() *sip.Request {
	m.t.Helper()
	select {
	case r := <-m.upstream.got:
		return r
	case <-time.After(5 * time.Second):
		m.t.Fatal("the upstream hears nothing")
		return nil
	}
}

// by registers as user over a connection and returns the response, nil if there is none yet.
func (m *mid) by(conn *connection, user, callID string, headers ...string) *sip.Response {
	m.t.Helper()
	m.cseq++
	text := fmt.Sprintf("REGISTER sip:example.org SIP/2.0\nVia: SIP/2.0/WSS x.invalid;branch=z9hG4bK%d\nFrom: <sip:alice@example.org>;tag=1\nTo: <sip:alice@example.org>\nCall-ID: %s\nCSeq: %d REGISTER\nMax-Forwards: 70\n", m.cseq, callID, m.cseq)
	for _, h := range headers {
		text += h + "\n"
	}
	msg, err := sip.ParseMessage([]byte(strings.ReplaceAll(text+"Content-Length: 0\n\n", "\n", "\r\n")))
	require.NoError(m.t, err)
	out := &recorder{}
	original := msg.(*sip.Request)
	r := &request.Request{
		Msg: original.Clone(), Original: original, Conn: conn, Source: conn.Remote(), User: user,
		Profile: "webrtc", Log: zap.NewNop(), Responder: out,
	}
	if _, err := m.step.Handle(m.t.Context(), r); err != nil {
		m.step.refuse(r, err)
	}
	return out.response
}

func line(id string, transport request.Transport) *connection {
	return &connection{id: request.ConnectionID(id), transport: transport, closed: make(chan struct{})}
}

func (m *mid) close(c *connection) {
	close(c.closed)
	m.table.ConnectionClosed(string(c.ID()))
	m.step.ConnectionClosed(c.ID())
}

func value(msg sip.Message, name string) string { return request.Header(msg, name) }

const page = `Contact: <sip:abc@x1.invalid;transport=ws>;expires=600;+sip.instance="<urn:uuid:1>";reg-id=1`

func TestAoRModeAbsorbsOnTheSameConnectionOnly(t *testing.T) {
	m := newMid(t, midregistrar.AoR)
	w1 := line("w1", request.WSS)
	m.upstream.code, m.upstream.header = 401, []sip.Header{sip.NewHeader("WWW-Authenticate", `Digest realm="example.org",nonce="n"`)}
	res := m.by(w1, "", "c1", page, "Path: <sip:edge.example;lr>", "User-Agent: page")
	require.Equal(t, 401, res.StatusCode)
	require.Contains(t, value(res, "WWW-Authenticate"), `nonce="n"`, "the challenge is relayed")
	require.Empty(t, m.table.Lookup(alice), "and nothing is bound")
	sent := m.told()
	require.Equal(t, "<sip:alice@192.0.2.9:5060>;expires=3600", value(sent, "Contact"), "one contact for the whole address of record")
	require.Empty(t, sent.GetHeaders("Path"))
	require.Empty(t, sent.GetHeaders("Via"), "that of the browser stays here")
	require.Equal(t, "page", value(sent, "User-Agent"))
	require.Equal(t, "c1", request.CallID(sent))

	m.upstream.code, m.upstream.header = 200, nil
	res = m.by(w1, "", "c1", page, `Authorization: Digest username="alice",realm="example.org",nonce="n",uri="sip:example.org",response="r"`)
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, []string{`<sip:abc@x1.invalid;transport=ws>;expires=600;+sip.instance="<urn:uuid:1>";reg-id=1`}, m.contacts(res), "the client's own words")
	require.Contains(t, value(m.told(), "Authorization"), `response="r"`, "unchanged")

	m.now = m.now.Add(9 * time.Minute)
	require.Equal(t, 200, m.by(w1, "", "c1", page).StatusCode)
	require.Empty(t, m.hears(), "a refresh is absorbed")
	require.Equal(t, m.now.Add(10*time.Minute), m.table.Lookup(alice)[0].Expires)

	// Whoever else claims to be alice has to convince the upstream.
	for name, try := range map[string]func() *sip.Response{
		"another connection":   func() *sip.Response { return m.by(line("w2", request.WSS), "", "c1", page) },
		"another Call-ID":      func() *sip.Response { return m.by(w1, "", "c2", page) },
		"behind another proxy": func() *sip.Response { return m.by(w1, "", "c1", page, "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx") },
		"its farewell": func() *sip.Response {
			return m.by(line("w3", request.WSS), "", "c3", strings.Replace(page, "expires=600", "expires=0", 1))
		},
		"all's farewell": func() *sip.Response { return m.by(line("w4", request.WSS), "", "c4", "Contact: *", "Expires: 0") },
		"a look":         func() *sip.Response { return m.by(line("w5", request.WSS), "", "c5") },
	} {
		m.upstream.code = 401
		require.Equal(t, 401, try().StatusCode, name)
		require.Len(t, m.hears(), 1, name)
		require.Equal(t, "w1", m.table.Lookup(alice)[0].Connection, name)
	}
	m.upstream.code = 200

	m.now = m.now.Add(42 * time.Minute) // 51 minutes since the upstream heard
	m.by(w1, "", "c1", page)
	require.Len(t, m.hears(), 1, "the upstream's own time comes near")
}

func TestUDPIsNeverAbsorbedUnlessProved(t *testing.T) {
	m := newMid(t, midregistrar.AoR)
	phone := line("udp:1", request.UDP)
	for range 3 {
		require.Equal(t, 200, m.by(phone, "", "c1", "Contact: <sip:alice@198.51.100.1>;expires=600").StatusCode)
		require.Len(t, m.hears(), 1)
	}
	// With an account here the proxy itself has asked for the password.
	for i := range 3 {
		require.Equal(t, 200, m.by(phone, "alice@example.org", "c2", "Contact: <sip:alice@198.51.100.1:5062>;expires=600").StatusCode)
		require.Len(t, m.hears(), 0, i)
	}
}

func TestContactMode(t *testing.T) {
	m := newMid(t, midregistrar.Contact)
	w1 := line("w1", request.WSS)
	m.by(w1, "", "c1", page)
	id := m.table.Lookup(alice)[0].ID()
	require.Equal(t, "<sip:alice@192.0.2.9:5060;ctid="+id+`>;expires=3600;+sip.instance="<urn:uuid:1>"`, value(m.told(), "Contact"))
	m.by(w1, "", "c1", page)
	require.Empty(t, m.hears())
	m.now = m.now.Add(50 * time.Minute)
	m.by(w1, "", "c1", page)
	m.told()
	// A reloaded page takes the place of the old one upstream as well.
	w2 := line("w2", request.WSS)
	require.Equal(t, 200, m.by(w2, "", "c2", strings.ReplaceAll(page, "x1.invalid", "x2.invalid")).StatusCode)
	require.Contains(t, value(m.told(), "Contact"), id)
	require.Len(t, m.table.Lookup(alice), 1)
	// A second device has a contact of its own.
	m.by(w1, "", "c3", `Contact: <sip:def@x3.invalid>;expires=600`)
	require.NotContains(t, value(m.told(), "Contact"), id)
	// A farewell goes upstream at once.
	require.Equal(t, 200, m.by(w2, "", "c2", strings.NewReplacer("x1.invalid", "x2.invalid", "expires=600", "expires=0").Replace(page)).StatusCode)
	require.Contains(t, value(m.told(), "Contact"), id+">;expires=0")
	require.Len(t, m.table.Lookup(alice), 1)
}

func TestMirrorModeTakesTheUpstreamsTime(t *testing.T) {
	m := newMid(t, midregistrar.Mirror)
	m.upstream.expire = 300
	for range 3 {
		res := m.by(line("w1", request.WSS), "", "c1", page)
		require.Contains(t, m.contacts(res)[0], "expires=300")
		require.Contains(t, value(m.told(), "Contact"), ">;expires=600")
	}
}

// A shorter expiry in the 2xx lowers what the client is told, and when the upstream hears again.
func TestShorterGrantIsPassedOn(t *testing.T) {
	m := newMid(t, midregistrar.AoR)
	w1 := line("w1", request.WSS)
	m.upstream.expire = 900
	require.Contains(t, m.contacts(m.by(w1, "", "c1", page))[0], "expires=600")
	m.told()
	m.now = m.now.Add(299 * time.Second)
	m.by(w1, "", "c1", page)
	require.Empty(t, m.hears())
	m.now = m.now.Add(time.Second)
	m.by(w1, "", "c1", page)
	m.told()
	m.upstream.expire = 120
	require.Contains(t, m.contacts(m.by(w1, "", "c2", page))[0], "expires=120")
}

func TestAoRModeTellsOfTheLastContactOnly(t *testing.T) {
	m := newMid(t, midregistrar.AoR)
	w1, w2 := line("w1", request.WSS), line("w2", request.WSS)
	m.by(w1, "", "c1", "Contact: <sip:a@1.invalid>;expires=600")
	m.by(w2, "", "c2", "Contact: <sip:b@2.invalid>;expires=600")
	require.Len(t, m.hears(), 2, "each connection convinces the upstream once")
	require.Equal(t, 200, m.by(w1, "", "c1", "Contact: <sip:a@1.invalid>;expires=0").StatusCode)
	require.Empty(t, m.hears(), "another one is left")
	require.Len(t, m.table.Lookup(alice), 1)
	// A farewell whose sender has to be proved must not take the others with it.
	require.Equal(t, 200, m.by(line("w3", request.WSS), "", "c3", "Contact: <sip:z@3.invalid>;expires=0").StatusCode)
	require.Equal(t, "<sip:alice@192.0.2.9:5060>;expires=3600", value(m.told(), "Contact"))
	require.Equal(t, 200, m.by(w2, "", "c2", "Contact: <sip:b@2.invalid>;expires=0").StatusCode)
	require.Equal(t, "<sip:alice@192.0.2.9:5060>;expires=0", value(m.told(), "Contact"))
	require.Empty(t, m.table.Lookup(alice))
	require.Zero(t, m.step.book.Len())
	// Several at once, so that none is left.
	m.by(w1, "", "c4", "Contact: <sip:a@1.invalid>;expires=600", "Contact: <sip:b@1.invalid>;expires=600")
	m.told()
	m.by(w1, "", "c4", "Contact: <sip:a@1.invalid>;expires=0, <sip:b@1.invalid>;expires=0")
	require.Contains(t, value(m.told(), "Contact"), "expires=0")
}

func TestWildcardGoesUpstream(t *testing.T) {
	for _, mode := range []midregistrar.Mode{midregistrar.Mirror, midregistrar.Contact, midregistrar.AoR} {
		m := newMid(t, mode)
		w1 := line("w1", request.WSS)
		m.by(w1, "", "c1", page)
		m.told()
		require.Equal(t, 200, m.by(w1, "", "c1", "Contact: *", "Expires: 0").StatusCode, mode)
		sent := m.told()
		require.Equal(t, "*", value(sent, "Contact"), mode)
		require.Equal(t, "0", value(sent, "Expires"), mode)
		require.Empty(t, m.table.Lookup(alice), mode)
		require.Zero(t, m.step.book.Len(), mode)
	}
}

// Two contacts of one user register and leave at the same time: the upstream must never be left without a contact while
// one is bound here (OpenSIPS #2368).
func TestRaceOfTwoContacts(t *testing.T) {
	m := newMid(t, midregistrar.AoR)
	w1, w2 := line("w1", request.WSS), line("w2", request.WSS)
	m.by(w1, "", "c1", "Contact: <sip:a@1.invalid>;expires=600")
	m.told()
	m.upstream.hold = true
	require.Nil(t, m.by(w2, "", "c2", "Contact: <sip:b@2.invalid>;expires=600"), "the upstream has not answered yet")
	m.told()
	require.Nil(t, m.by(w1, "", "c1", "Contact: <sip:a@1.invalid>;expires=0"))
	require.Empty(t, m.hears(), "the farewell waits for the other one")
	m.upstream.hold = false
	m.upstream.held[0]()
	require.Empty(t, m.hears(), "and then the upstream need not hear of it at all")
	left := m.table.Lookup(alice)
	require.Len(t, left, 1)
	require.Equal(t, "w2", left[0].Connection)

	// The other way round: a REGISTER waits for the farewell under way.
	m.upstream.hold, m.upstream.held = true, nil
	m.by(w2, "", "c2", "Contact: <sip:b@2.invalid>;expires=0")
	require.Contains(t, value(m.told(), "Contact"), "expires=0")
	m.by(w1, "", "c5", "Contact: <sip:a@1.invalid>;expires=600")
	require.Empty(t, m.hears())
	m.upstream.hold = false
	m.upstream.held[0]()
	require.Contains(t, value(m.told(), "Contact"), "expires=3600")
	require.Len(t, m.table.Lookup(alice), 1)
}

// The upstream is told when the last contact has gone with its connection, with the identifiers that it knows.
func TestDeadConnectionIsToldUpstream(t *testing.T) {
	m := newMid(t, midregistrar.AoR)
	w1, w2 := line("w1", request.WSS), line("w2", request.WSS)
	m.by(w1, "", "c1", "Contact: <sip:a@1.invalid>;expires=600", `Authorization: Digest response="r"`)
	m.by(w2, "", "c2", "Contact: <sip:b@2.invalid>;expires=600", `Authorization: Digest response="s"`)
	m.hears()
	m.close(w1)
	require.Len(t, m.table.Lookup(alice), 1, "the binding goes at once")
	require.False(t, m.step.Registered(w1, "alice", "example.org"))
	require.True(t, m.step.Registered(w2, "alice", "example.org"))
	m.close(w2)
	require.Empty(t, m.table.Lookup(alice))
	sent := m.told()
	require.Equal(t, "<sip:alice@192.0.2.9:5060>;expires=0", value(sent, "Contact"))
	require.Equal(t, "c2", request.CallID(sent))
	seq, _ := request.CSeq(sent)
	require.Equal(t, uint32(3), seq)
	require.Equal(t, "<sip:alice@example.org>;tag=1", value(sent, "From"))
	require.Contains(t, value(sent, "Authorization"), `response="s"`)
	require.Eventually(t, func() bool { return m.step.book.Len() == 0 }, 5*time.Second, time.Millisecond)
	require.Empty(t, m.hears())
}

func TestReloadWithinTheGraceIsNotToldUpstream(t *testing.T) {
	m := newMid(t, midregistrar.AoR, func(c *Config) { c.Way.Grace = 200 * time.Millisecond })
	w1 := line("w1", request.WSS)
	m.by(w1, "", "c1", page)
	m.close(w1)
	m.by(line("w2", request.WSS), "", "c2", strings.ReplaceAll(page, "x1.invalid", "x2.invalid"))
	require.Len(t, m.hears(), 2)
	require.Never(t, func() bool { return len(m.hears()) > 0 }, 500*time.Millisecond, 20*time.Millisecond)
}

func TestExpiredContactIsToldUpstream(t *testing.T) {
	m := newMid(t, midregistrar.Contact)
	m.by(line("w1", request.WSS), "", "c1", page)
	m.told()
	m.now = m.now.Add(10*time.Minute + time.Second)
	require.NoError(t, m.table.Update(alice, func([]location.Binding) ([]location.Binding, error) { return nil, nil })) // as its own clock would
	m.step.Lost(alice)
	require.Contains(t, value(m.told(), "Contact"), "expires=0")
}

// With an account of its own the proxy speaks for itself: own Call-ID and rising CSeq, challenges answered.
func TestKnownAccountAnswersTheUpstream(t *testing.T) {
	m := newMid(t, midregistrar.AoR, func(c *Config) {
		c.Way.Authorize = func(_ context.Context, aor location.AoR, challenges []string, uri string) (string, bool) {
			return fmt.Sprintf("Digest for %s, %s, %d", aor, uri, len(challenges)), true
		}
	})
	m.upstream.code, m.upstream.header = 401, []sip.Header{sip.NewHeader("WWW-Authenticate", "Digest x")}
	w1 := line("w1", request.WSS)
	res := m.by(w1, "alice@example.org", "c1", page)
	require.Equal(t, 401, res.StatusCode, "the account's password is wrong there: asked twice, answered once")
	all := m.hears()
	require.Len(t, all, 2)
	require.Empty(t, value(all[0], "Authorization"))
	require.Equal(t, "Digest for sip:alice@example.org, sip:example.org, 1", value(all[1], "Authorization"))
	require.NotEqual(t, "c1", request.CallID(all[0]))
	first, _ := request.CSeq(all[0])
	second, _ := request.CSeq(all[1])
	require.Equal(t, first+1, second)

	m.upstream.code = 200
	require.Equal(t, 200, m.by(w1, "alice@example.org", "c1", page).StatusCode)
	m.told()
	m.upstream.code = 401
	m.close(w1)
	require.Empty(t, value(m.told(), "Authorization"))
	require.NotEmpty(t, value(m.told(), "Authorization"), "its farewell as well")
}

func TestRefusedUserLosesTrust(t *testing.T) {
	m := newMid(t, midregistrar.AoR)
	w1 := line("w1", request.WSS)
	m.by(w1, "", "c1", page)
	m.hears()
	m.upstream.code = 403
	m.now = m.now.Add(51 * time.Minute)
	require.Equal(t, 403, m.by(w1, "", "c1", page).StatusCode)
	require.Equal(t, 403, m.by(w1, "", "c1", page).StatusCode)
	require.Len(t, m.hears(), 2)
}

func TestContactOfAnotherDomainAndTransport(t *testing.T) {
	u := &Upstream{Domain: "example.org"}
	conn := &connection{transport: request.TCP}
	require.Equal(t, "sip:bob%40other.example@192.0.2.9:5060;transport=tcp;ctid=1", u.contact(midregistrar.Key{AoR: "sip:bob@other.example", ID: "1"}, conn))
}

// A new configuration changes the mode; what the upstream was told before is taken back.
func TestModeChanges(t *testing.T) {
	m := newMid(t, midregistrar.AoR)
	w1 := line("w1", request.WSS)
	m.by(w1, "", "c1", page)
	m.told()
	p := m.config.Policy
	up := *p.Upstream
	up.Mode = midregistrar.Contact
	p.Upstream = &up
	m.step.Configure(p)
	require.Equal(t, 200, m.by(w1, "", "c1", page).StatusCode)
	require.Contains(t, value(m.told(), "Contact"), "ctid=")
	require.Equal(t, "<sip:alice@192.0.2.9:5060>;expires=0", value(m.told(), "Contact"))
	p.Upstream = nil
	m.step.Configure(p)
	require.Equal(t, 200, m.by(w1, "alice@example.org", "c1", page).StatusCode)
	require.Empty(t, m.hears(), "no upstream any more")
}
