//go:build integration

package behaviours

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// transports are the behaviours about routes, transports and NAT.
func transports() []behaviour {
	return []behaviour{
		{28, "double Record-Route where transport or family change", doubleRecordRoute},
		{29, "each side is told the advertised address of its listener", advertised},
		{30, "strict routers before and behind", strictRouters},
		{31, "invalid hosts are never resolved and lower Vias stay", invalidHosts},
		{32, "browser is reached by its connection and never dialled", neverDialled},
		{33, "transport of a Contact is not believed", contactTransport},
		{35, "response goes to the source port though rport was not asked for", forcedRport},
		{36, "response whose stream has gone goes to sent-by", streamGone},
		{37, "keep-alives and lengths on streams", framing},
		{38, "large request goes by TCP and by UDP where TCP is refused", largeRequests},
		{39, "transport is chosen by the request URI", uriTransport},
	}
}

// records are the Record-Route entries of a message, as ours and their parameters.
func records(m msg) (out []string) {
	for _, r := range m.all("Record-Route") {
		uri := between(r)
		if i := strings.Index(uri, ";seal="); i >= 0 {
			uri = uri[:i]
		}
		out = append(out, uri)
	}
	return out
}

func doubleRecordRoute(t *testing.T, s *site) {
	carrier, phone, page := s.carrier(t), s.phone(t), s.page(t)
	one := "sip:" + s.listener(1) + ";lr"
	c := carrier.call(phone.aor())
	c.invite(plain())
	if got := records(phone.expect("INVITE ")); fmt.Sprint(got) != fmt.Sprint([]string{one}) {
		t.Errorf("one transport: %q", got)
	}
	c = carrier.call(page.aor())
	c.invite(plain())
	inv := page.expect("INVITE ")
	web := fmt.Sprintf("sip:%s.1:%d;transport=ws;lr;r2=on", s.net, wsPort)
	if got := records(inv); fmt.Sprint(got) != fmt.Sprint([]string{web, one + ";r2=on"}) {
		t.Errorf("two transports: %q", got)
	}
	d := page.accept(inv, webAnswer())
	c.confirm(carrier.expect("SIP/2.0 200"), body{})
	if ack := page.expect("ACK "); len(ack.all("Route")) != 0 || ack.uri() != page.contact() {
		t.Errorf("the pair has not gone:\n%s", ack.text)
	}
	// Also when only one of the pair is left.
	d.routes = d.routes[len(d.routes)-1:]
	d.hangUp(carrier)

	six := s.udp(t, s.user(), "[::1]:0", s.sixListener())
	six.register()
	e := carrier.connect(six, plain(), plain())
	if got, want := records(e.invite), []string{fmt.Sprintf("sip:[::1]:%d;lr;r2=on", s.six), one + ";r2=on"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("two families: %q, want %q", got, want)
	}
	e.callee.hangUp(carrier)
	e = six.connect(phone, plain(), plain())
	e.caller.hangUp(phone)
}

func advertised(t *testing.T, s *site) {
	carrier := s.carrier(t)
	phone := s.udp(t, s.user(), s.net+".20:0", s.listener(2))
	phone.register()
	e := carrier.connect(phone, plain(), plain())
	if via := e.invite.all("Via")[0]; !strings.Contains(via, " sbc.example.test:15099;") {
		t.Errorf("Via %s", via)
	}
	want := []string{"sip:sbc.example.test:15099;lr;r2=on", "sip:" + s.listener(1) + ";lr;r2=on"}
	if got := records(e.invite); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Record-Route %q, want %q", got, want)
	}
	e.callee.hangUp(carrier)
}

func strictRouters(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	e := carrier.connect(phone, plain(), plain())
	// One before us has moved our entry into the request URI and the callee's to the end.
	d := *e.caller
	d.target, d.routes = between(d.routes[0]), []string{"<" + d.target + ">"}
	carrier.send(d.request("INFO", body{}))
	info := phone.expect("INFO ")
	if info.uri() != phone.contact() || len(info.all("Route")) != 0 {
		t.Errorf("behind a strict router came\n%s", info.text)
	}
	phone.reply(info, "200 OK", body{})
	carrier.expect("SIP/2.0 200")
	// One behind us has recorded itself without lr: it gets its own URI, and the target as last Route.
	c := carrier.call(phone.aor())
	c.invite(plain())
	inv := phone.expect("INVITE ")
	strict := "<sip:" + phone.host + ">"
	phone.send(strings.Replace(phone.response(inv, "200 OK", "callee", plain(), "Contact: <sip:behind@192.0.2.9>"), "Record-Route: ", "Record-Route: "+strict+"\r\nRecord-Route: ", 1))
	c.confirm(carrier.expect("SIP/2.0 200"), body{})
	if ack := phone.expect("ACK "); ack.uri() != between(strict) || ack.get("Route") != "<sip:behind@192.0.2.9>" {
		t.Errorf("a strict router got\n%s", ack.text)
	}
}

func invalidHosts(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	c := page.call(phone.aor())
	c.invite(web())
	inv := phone.expect("INVITE ")
	vias := inv.all("Via")
	if len(vias) != 2 || !strings.Contains(vias[1], " "+page.host+";") || !strings.Contains(vias[1], "received="+s.net[:3]) {
		t.Errorf("Via %q", vias)
	}
	phone.accept(inv, plain())
	res := page.expect("SIP/2.0 200")
	if vias := res.all("Via"); len(vias) != 1 || !strings.HasPrefix(vias[0], "SIP/2.0/WS "+page.host+";branch="+c.branch) {
		t.Errorf("the page would drop a response with Via %q", vias)
	}
	c.confirm(res, body{})
	phone.expect("ACK ")
	d := phone.callee(inv, "callee")
	if d.target != page.contact() {
		t.Errorf("the page's Contact has become %s", d.target)
	}
	d.hangUp(page)
}

func neverDialled(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	// A listener at the address that the page's Contact names would be dialled by a careless proxy.
	trap, err := net.Listen("tcp", s.net+".30:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	dialled := make(chan struct{})
	go func() {
		defer close(dialled)
		if c, err := trap.Accept(); err == nil {
			c.Close()
			t.Error("the page's Contact was dialled")
		}
	}()
	page.host = trap.Addr().String()
	page.register()
	e := phone.connect(page, plain(), webAnswer())
	page.close()
	began := time.Now()
	phone.send(e.caller.request("INFO", body{}))
	if res := phone.final(); res.code() != 480 && res.code() != 430 && res.code() != 481 {
		t.Errorf("to a page that has gone: %s", res.start())
	}
	c := phone.call(page.aor())
	c.invite(plain())
	if res := phone.final(); res.code() != 480 {
		t.Errorf("to a user whose page has gone: %s", res.start())
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the answer took %v", took)
	}
	trap.Close()
	<-dialled
}

func contactTransport(t *testing.T, s *site) {
	carrier := s.carrier(t)
	page := s.webSocket(t, s.user())
	page.params = ";transport=wss"
	page.register()
	stream := s.tcp(t, s.user(), s.net+".20:0", s.listener(1))
	stream.params = ";transport=ws"
	stream.host = unique("h") + ".invalid"
	stream.register()
	for _, p := range []*peer{page, stream} {
		c := carrier.call(p.aor())
		carrier.send(c.request("MESSAGE", body{"text/plain", "x"}))
		m := p.expect("MESSAGE ")
		if m.uri() != p.contact() || !strings.HasPrefix(m.get("Via"), "SIP/2.0/"+p.transport+" ") {
			t.Errorf("%s got\n%s", p.contact(), m.text)
		}
		p.reply(m, "200 OK", body{})
		carrier.expect("SIP/2.0 200")
	}
}

func forcedRport(t *testing.T, s *site) {
	carrier := s.carrier(t)
	real := carrier.host
	carrier.host = "192.0.2.77:5060" // behind NAT
	c := carrier.call("sip:" + s.listener(1))
	carrier.send(c.request("OPTIONS", body{}))
	res := carrier.expect("SIP/2.0 200")
	ip, port, _ := net.SplitHostPort(real)
	if via := res.get("Via"); !strings.Contains(via, "received="+ip) || !strings.Contains(via, "rport="+port) {
		t.Errorf("Via %s", via)
	}
}

func streamGone(t *testing.T, s *site) {
	host, phone := s.carrierHost(), s.phone(t)
	home, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	carrier := s.tcp(t, "", host+":0", s.listener(1))
	carrier.host = home.Addr().String()
	c := carrier.call(phone.aor())
	c.invite(plain())
	inv := phone.expect("INVITE ")
	phone.reply(inv, "180 Ringing", body{})
	carrier.expect("SIP/2.0 180")
	carrier.close()
	for range 3 { // the proxy has read the end of the stream meanwhile
		phone.flush()
	}
	phone.reply(inv, "486 Busy Here", body{})
	phone.expect("ACK ")
	_ = home.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	back, err := home.Accept()
	if err != nil {
		t.Fatalf("no connection to sent-by: %v", err)
	}
	again := s.stream(t, "", back)
	if res := again.expect("SIP/2.0 486"); res.get("Call-ID") != c.callID {
		t.Errorf("not its response:\n%s", res.text)
	}
}

func framing(t *testing.T, s *site) {
	carrier := s.tcp(t, "", s.carrierHost()+":0", s.listener(1))
	carrier.send("\r\n\r\n")
	carrier.expect("\r\n") // RFC 5626 §3.5.1
	c := carrier.call("sip:" + s.listener(1))
	text := "\r\n\r\n" + c.request("OPTIONS", body{}) + "\r\n" + c.request("OPTIONS", body{})
	for i := 0; i < len(text); i += 37 { // in pieces
		carrier.send(text[i:min(i+37, len(text))])
	}
	carrier.expect("SIP/2.0 200")
	carrier.expect("SIP/2.0 200")
	page := s.webSocket(t, "")
	o := page.call("sip:" + s.listener(1))
	page.send(strings.Replace(o.request("OPTIONS", body{}), "Content-Length: 0\r\n", "", 1))
	page.expect("SIP/2.0 200")
	conn, err := net.Dial("tcp", s.listener(1))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(strings.Replace(c.request("OPTIONS", body{}), "Content-Length: 0\r\n", "", 1)))
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	in := textproto.NewReader(bufio.NewReader(conn))
	for {
		line, err := in.ReadLine()
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Error("a stream without lengths stays open")
		}
		if err != nil {
			break
		}
		if strings.HasPrefix(line, "SIP/2.0 2") {
			t.Error("a stream without lengths was taken for good")
		}
	}
}

func largeRequests(t *testing.T, s *site) {
	carrier := s.carrier(t)
	big := "X-Big: " + strings.Repeat("x", 1500)
	// The phone listens on TCP as well, at the port that it has registered by UDP.
	phone := s.udp(t, s.user(), s.net+".21:0", s.listener(1))
	phone.register()
	home, err := net.Listen("tcp", phone.host)
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	hop := s.udp(t, "", s.hop(1), s.listener(1))
	both, err := net.Listen("tcp", s.hop(1))
	if err != nil {
		t.Fatal(err)
	}
	defer both.Close()
	c := carrier.call("sip:hop1-x@example.test")
	carrier.send(c.request("MESSAGE", body{"text/plain", "x"}, big))
	_ = both.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	conn, err := both.Accept()
	if err != nil {
		t.Fatalf("no connection for a large request: %v", err)
	}
	stream := s.stream(t, "", conn)
	m := stream.expect("MESSAGE ")
	if !strings.HasPrefix(m.get("Via"), "SIP/2.0/TCP ") || m.get("X-Big") != big[len("X-Big: "):] {
		t.Errorf("by TCP came\n%s", m.text)
	}
	stream.reply(m, "200 OK", body{})
	carrier.expect("SIP/2.0 200")
	// A small one stays with UDP.
	c = carrier.call("sip:hop1-x@example.test")
	carrier.send(c.request("MESSAGE", body{"text/plain", "x"}))
	hop.reply(hop.expect("MESSAGE "), "200 OK", body{})
	carrier.expect("SIP/2.0 200")
	// Where TCP is refused it goes in fragments.
	only := s.udp(t, "", s.hop(2), s.listener(1))
	c = carrier.call("sip:hop2-x@example.test")
	carrier.send(c.request("MESSAGE", body{"text/plain", "x"}, big))
	m = only.expect("MESSAGE ")
	if !strings.HasPrefix(m.get("Via"), "SIP/2.0/UDP ") || m.get("X-Big") != big[len("X-Big: "):] {
		t.Errorf("by UDP came\n%s", m.text)
	}
	only.reply(m, "200 OK", body{})
	carrier.expect("SIP/2.0 200")
}

func uriTransport(t *testing.T, s *site) {
	carrier := s.carrier(t)
	// A next hop of the configuration that wants TCP.
	home, err := net.Listen("tcp", s.hop(nextHops))
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	accepted := func() *peer {
		t.Helper()
		_ = home.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
		conn, err := home.Accept()
		if err != nil {
			t.Fatalf("no connection: %v", err)
		}
		return s.stream(t, "", conn)
	}
	c := carrier.call("sip:stream-1@example.test")
	carrier.send(c.request("MESSAGE", body{"text/plain", "x"}))
	stream := accepted()
	m := stream.expect("MESSAGE ")
	if m.uri() != "sip:stream-1@"+s.hop(nextHops)+";transport=TCP" {
		t.Errorf("request URI %s", m.uri())
	}
	stream.reply(m, "200 OK", body{})
	carrier.expect("SIP/2.0 200")
	stream.close()
	// A callee by UDP whose Contact wants TCP gets what follows by TCP.
	hop := s.udp(t, "", s.hop(7), s.listener(1))
	c = carrier.call("sip:hop7-1@example.test")
	c.invite(plain())
	inv := hop.expect("INVITE ")
	hop.reply(inv, "200 OK", plain(), "Contact: <sip:x@"+home.Addr().String()+";transport=tcp>")
	c.confirm(carrier.expect("SIP/2.0 200"), body{})
	stream = accepted()
	stream.expect("ACK ")
	// What wants TLS is not sent in clear.
	c = carrier.call("sips:hop7-2@example.test")
	carrier.send(c.request("MESSAGE", body{"text/plain", "x"}))
	if res := carrier.final(); res.code() < 300 {
		t.Errorf("sips: %s", res.start())
	}
	hop.none("MESSAGE ")
}
