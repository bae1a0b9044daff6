package forward_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/emiago/sipgo/sip"
	"github.com/miekg/dns"
	"github.com/tandem-sbc/tandem/proxy/internal/chain"
	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
	"github.com/tandem-sbc/tandem/proxy/internal/edge"
	"github.com/tandem-sbc/tandem/proxy/internal/forward"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/resolve"
	"github.com/tandem-sbc/tandem/proxy/internal/screen"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a proxy on loopback sockets: everything of the proxy but authentication, a store and the media engine.
type rig struct {
	t      *testing.T
	edge   *edge.Edge
	layer  *transaction.Layer
	keeper *dialog.Keeper
	at     map[string]netip.AddrPort // listeners by name

	mu       sync.Mutex
	routes   map[string][]request.Target   // by user of the request URI
	bindings map[string]request.Connection // by user, from REGISTER
	seen     []request.Observer
}

// noDNS is a resolver that knows numeric hosts only.
type noDNS struct{}

func (noDNS) Records(context.Context, string, uint16) ([]dns.RR, error) { return nil, nil }
func (noDNS) Addresses(context.Context, string) ([]netip.Addr, error)   { return nil, resolve.ErrNoHop }

// options of a rig.
type options struct {
	timers   transaction.Timers
	forward  forward.Config
	dialog   dialog.Config
	limits   transaction.Limits
	observer request.Observer
	log      *zap.Logger
}

var (
	fast = transaction.Timers{T1: 25 * time.Millisecond, T2: 200 * time.Millisecond, T4: 200 * time.Millisecond}
	key  = []byte("0123456789abcdef0123456789abcdef")
)

func newRig(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{t: t, at: map[string]netip.AddrPort{}, routes: map[string][]request.Target{}, bindings: map[string]request.Connection{}}
	if o.observer != nil {
		r.seen = append(r.seen, o.observer)
	}
	log := o.log
	if log == nil {
		log = zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
	}
	local := netip.MustParseAddrPort("127.0.0.1:0")
	e, err := edge.New([]edge.Listener{
		{Name: "udp", Transport: request.UDP, Address: local, Profile: "sip"},
		{Name: "tcp", Transport: request.TCP, Address: local, Profile: "sip"},
		{Name: "ws", Transport: request.WS, Address: local, Profile: "webrtc"},
	}, edge.Limits{}, log)
	if err != nil {
		t.Fatal(err)
	}
	r.edge = e
	for _, l := range e.Listeners() {
		r.at[l.Name] = l.Addr
	}
	screening := screen.Config{Owns: e.Owns}
	r.layer = transaction.New(o.timers, o.limits, e, screen.NewGate(screening, log), log)
	if o.dialog.Key == nil {
		o.dialog.Key = key
	}
	if o.dialog.Grace == 0 {
		o.dialog.Grace = -1
	}
	var c *chain.Chain
	r.keeper = dialog.New(o.dialog, e, e, r.layer, func(ctx context.Context, req *request.Request) { c.Resume(ctx, req) }, log)
	c = chain.New(chain.Steps{
		Screen: screen.NewStep(screening), Dialog: r.keeper,
		Registrar: request.StepFunc(r.register), Route: request.StepFunc(r.route),
		Bridge:  request.StepFunc(r.bridge),
		Forward: forward.New(o.forward, r.layer, e, resolve.New(noDNS{}, 0)),
	})
	r.layer.Start(c, r.keeper.Lost)
	e.Serve(r.layer)
	t.Cleanup(func() {
		r.keeper.Close()
		e.Close()
		r.layer.Close()
	})
	return r
}

func (r *rig) register(_ context.Context, req *request.Request) (request.Verdict, error) {
	r.mu.Lock()
	user := req.Msg.To().Address.User
	old := r.bindings[user]
	r.bindings[user] = req.Conn
	r.mu.Unlock()
	if old != nil { // the registrar knows by +sip.instance that it is the same page
		r.keeper.Move(old.ID(), req.Conn)
	}
	return request.Done, req.Respond(200, "OK")
}

func (r *rig) route(_ context.Context, req *request.Request) (request.Verdict, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	req.Redirects = r
	user := req.Msg.Recipient.User
	req.Targets = append(req.Targets, r.routes[user]...)
	if c := r.bindings[user]; c != nil {
		uri := sip.Uri{Scheme: "sip", User: user, Host: "x.invalid", UriParams: sip.HeaderParams{{K: "transport", V: "ws"}}}
		req.Targets = append(req.Targets, request.Target{URI: uri, Conn: c, Profile: "webrtc"})
	}
	return request.Continue, nil
}

// Redirected follows contacts whose user has a route.
func (r *rig) Redirected(_ *request.Request, _ request.Target, contacts []request.Address) []request.Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []request.Target
	for _, c := range contacts {
		out = append(out, r.routes[c.URI.User]...)
	}
	return out
}

func (r *rig) bridge(_ context.Context, req *request.Request) (request.Verdict, error) {
	req.Observers = append(req.Observers, r.seen...)
	return request.Continue, nil
}

// to routes a user to UAs; equal q rings in parallel.
func (r *rig) to(user string, q int, uas ...*ua) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range uas {
		var uri sip.Uri
		if err := sip.ParseUri(u.contact(), &uri); err != nil {
			r.t.Fatal(err)
		}
		r.routes[user] = append(r.routes[user], request.Target{URI: uri, Q: q, Profile: "sip"})
	}
}

// idle waits until no transaction is left, which also shows that none leaks.
func (r *rig) idle() {
	r.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		s, c := r.layer.Count()
		if s == 0 && c == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("%d server and %d client transactions are left", s, c)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// dialogs waits until so many are kept: observers are told after the response has gone.
func (r *rig) dialogs(confirmed, early int) {
	r.t.Helper()
	deadline := time.Now().Add(3 * time.Second)
	for {
		c, e := r.keeper.Count()
		if c == confirmed && e == early {
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("%d confirmed and %d early dialogs, want %d and %d", c, e, confirmed, early)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ua is a user agent that does only what the test says.
type ua struct {
	t     *testing.T
	r     *rig
	name  string
	via   string // transport
	host  string // sent-by and Contact host
	write func(data []byte) error
	in    chan string
	held  []string
	close func()
}

func (r *rig) udp(name string) *ua {
	r.t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		r.t.Fatal(err)
	}
	proxy := r.at["udp"]
	u := &ua{t: r.t, r: r, name: name, via: "UDP", host: conn.LocalAddr().String(), in: make(chan string, 256)}
	u.write = func(data []byte) error { _, err := conn.WriteToUDPAddrPort(data, proxy); return err }
	u.run(func() { conn.Close() }, func() ([]byte, error) {
		buf := make([]byte, 65535)
		n, err := conn.Read(buf)
		return buf[:n], err
	})
	return u
}

func (r *rig) ws(name string) *ua {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+r.at["ws"].String()+"/ws", &websocket.DialOptions{Subprotocols: []string{"sip"}})
	if err != nil {
		r.t.Fatal(err)
	}
	c.SetReadLimit(1 << 20)
	u := &ua{t: r.t, r: r, name: name, via: "WS", host: name + ".invalid", in: make(chan string, 256)}
	u.write = func(data []byte) error { return c.Write(context.Background(), websocket.MessageText, data) }
	u.run(func() { c.CloseNow() }, func() ([]byte, error) {
		_, data, err := c.Read(context.Background())
		return data, err
	})
	return u
}

func (r *rig) tcp(name string) *ua {
	r.t.Helper()
	c, err := net.Dial("tcp4", r.at["tcp"].String())
	if err != nil {
		r.t.Fatal(err)
	}
	u := &ua{t: r.t, r: r, name: name, via: "TCP", host: c.LocalAddr().String(), in: make(chan string, 256)}
	u.write = func(data []byte) error { _, err := c.Write(data); return err }
	in := textproto.NewReader(bufio.NewReader(c))
	u.run(func() { c.Close() }, func() ([]byte, error) {
		var head strings.Builder
		size := 0
		for {
			line, err := in.ReadLine()
			if err != nil {
				return nil, err
			}
			head.WriteString(line + "\r\n")
			if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				size, _ = strconv.Atoi(n)
			}
			if line == "" {
				break
			}
		}
		body := make([]byte, size)
		_, err := io.ReadFull(in.R, body)
		return append([]byte(head.String()), body...), err
	})
	return u
}

// run starts the reader and stops it at the end of the test.
func (u *ua) run(stop func(), read func() ([]byte, error)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			data, err := read()
			if err != nil {
				return
			}
			u.in <- string(data)
		}
	}()
	var once sync.Once
	u.close = func() { once.Do(func() { stop(); <-done }) }
	u.t.Cleanup(u.close)
}

func (u *ua) contact() string {
	if u.via == "WS" {
		return "sip:" + u.name + "@" + u.host + ";transport=ws"
	}
	return "sip:" + u.name + "@" + u.host
}

// send sends a message given with LF line ends.
func (u *ua) send(msg string) {
	u.t.Helper()
	if err := u.write([]byte(msg)); err != nil {
		u.t.Fatalf("%s: %v", u.name, err)
	}
}

// msg is a received message with just enough reading for tests.
type msg struct {
	text string
}

func (m msg) start() string { line, _, _ := strings.Cut(m.text, "\r\n"); return line }

func (m msg) all(name string) []string {
	head, _, _ := strings.Cut(m.text, "\r\n\r\n")
	var out []string
	for _, line := range strings.Split(head, "\r\n")[1:] {
		n, v, _ := strings.Cut(line, ":")
		if strings.EqualFold(strings.TrimSpace(n), name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

func (m msg) get(name string) string {
	if all := m.all(name); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (m msg) tag(name string) string {
	_, after, ok := strings.Cut(m.get(name), ";tag=")
	if !ok {
		return ""
	}
	tag, _, _ := strings.Cut(after, ";")
	return tag
}

// uri is the request URI.
func (m msg) uri() string { return strings.Fields(m.start())[1] }

// expect waits for a message whose start line begins so; others that come in between are kept for later calls.
func (u *ua) expect(start string) msg {
	u.t.Helper()
	for i, h := range u.held {
		if strings.HasPrefix(h, start) {
			u.held = append(u.held[:i:i], u.held[i+1:]...)
			return msg{h}
		}
	}
	timeout := time.After(5 * time.Second)
	for {
		select {
		case m := <-u.in:
			if strings.HasPrefix(m, start) {
				return msg{m}
			}
			u.held = append(u.held, m)
		case <-timeout:
			var had []string
			for _, h := range u.held {
				had = append(had, msg{h}.start())
			}
			u.t.Fatalf("%s: no %q; had %q", u.name, start, had)
		}
	}
}

// silent reports that nothing with this start comes for d.
func (u *ua) silent(start string, d time.Duration) {
	u.t.Helper()
	timeout := time.After(d)
	for _, h := range u.held {
		if strings.HasPrefix(h, start) {
			u.t.Fatalf("%s: unexpected %q", u.name, msg{h}.text)
		}
	}
	for {
		select {
		case m := <-u.in:
			if strings.HasPrefix(m, start) {
				u.t.Fatalf("%s: unexpected %q", u.name, m)
			}
			u.held = append(u.held, m)
		case <-timeout:
			return
		}
	}
}

// call is the caller's side of a dialog.
type call struct {
	u              *ua
	id, from, to   string
	branch, target string
	routes         []string
	seq            int
}

var callNumber struct {
	sync.Mutex
	n int
}

// call makes a call that is not sent yet.
func (u *ua) call(user string) *call {
	callNumber.Lock()
	callNumber.n++
	n := strconv.Itoa(callNumber.n)
	callNumber.Unlock()
	return &call{
		u: u, id: "call" + n + "@" + u.host, from: "<sip:" + u.name + "@test>;tag=from" + n, to: "<sip:" + user + "@test>",
		target: "sip:" + user + "@test", branch: "z9hG4bKinv" + n,
	}
}

// request builds a request of the call; ACK of a failure and CANCEL take the branch of the INVITE.
func (c *call) request(method, branch string, body string, headers ...string) string {
	if method != "ACK" && method != "CANCEL" {
		c.seq++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=%s;rport\r\n", method, c.target, c.u.via, c.u.host, branch)
	for _, r := range c.routes {
		fmt.Fprintf(&b, "Route: %s\r\n", r)
	}
	fmt.Fprintf(&b, "Max-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: <%s>\r\n",
		c.from, c.to, c.id, c.seq, method, c.u.contact())
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

func (c *call) invite(headers ...string) {
	c.u.t.Helper()
	c.u.send(c.request("INVITE", c.branch, "v=0\r\n", headers...))
}

// established takes tags, target and routes from a 2xx.
func (c *call) established(res msg) {
	c.to = res.get("To")
	c.target = between(res.get("Contact"))
	rr := res.all("Record-Route")
	c.routes = nil
	for i := len(rr) - 1; i >= 0; i-- {
		c.routes = append(c.routes, rr[i])
	}
}

// callee takes the callee's side of the dialog from an INVITE it got.
func (u *ua) callee(inv msg, tag string) *call {
	return &call{
		u: u, id: inv.get("Call-ID"), from: inv.get("To") + ";tag=" + tag, to: inv.get("From"),
		target: between(inv.get("Contact")), routes: inv.all("Record-Route"),
	}
}

func between(s string) string {
	_, after, _ := strings.Cut(s, "<")
	v, _, _ := strings.Cut(after, ">")
	return v
}

// reply answers a request.
func (u *ua) reply(req msg, status, tag, body string, headers ...string) {
	u.t.Helper()
	u.send(u.response(req, status, tag, body, headers...))
}

func (u *ua) response(req msg, status, tag, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %s\r\n", status)
	for _, name := range []string{"Via", "Record-Route"} {
		for _, v := range req.all(name) {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	to := req.get("To")
	if tag != "" && !strings.Contains(to, ";tag=") {
		to += ";tag=" + tag
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\nContact: <%s>\r\n",
		req.get("From"), to, req.get("Call-ID"), req.get("CSeq"), u.contact())
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// adopt lets a UA of another rig talk to this one; both use the same socket.
func (r *rig) adopt(u *ua) *ua {
	r.t.Helper()
	local, err := net.ResolveUDPAddr("udp4", u.host)
	if err != nil {
		r.t.Fatal(err)
	}
	u.close()
	conn, err := net.ListenUDP("udp4", local)
	if err != nil {
		r.t.Fatal(err)
	}
	proxy := r.at["udp"]
	n := &ua{t: r.t, r: r, name: u.name, via: u.via, host: u.host, in: make(chan string, 256)}
	n.write = func(data []byte) error { _, err := conn.WriteToUDPAddrPort(data, proxy); return err }
	n.run(func() { conn.Close() }, func() ([]byte, error) {
		buf := make([]byte, 65535)
		n, err := conn.Read(buf)
		return buf[:n], err
	})
	return n
}
