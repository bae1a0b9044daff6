package edge

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap/zaptest"
)

// behindBalancer serves all transports; balancer tells where PROXY headers are believed from, denied who may not come in.
func behindBalancer(t *testing.T, limits Limits, balancer string, denied func(netip.Addr) bool, faulty func(request.Connection)) (*inbox, map[request.Transport]netip.AddrPort) {
	t.Helper()
	from := netip.MustParsePrefix(balancer)
	var listeners []Listener
	secure := certificate(t)
	for _, transport := range []request.Transport{request.TCP, request.TLS, request.WS, request.WSS, request.UDP} {
		listeners = append(listeners, Listener{
			Name: string(transport), Transport: transport, Address: netip.MustParseAddrPort("127.0.0.1:0"), TLS: secure, Pages: http.NotFoundHandler(),
			ProxyFrom: from.Contains, Admit: func(a netip.Addr) bool { return !denied(a) }, Faulty: faulty,
		})
	}
	e, err := New(listeners, limits, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	box := &inbox{in: make(chan arrival, 1000), closed: make(chan request.Connection, 1000)}
	e.Serve(box)
	t.Cleanup(e.Close)
	at := map[request.Transport]netip.AddrPort{}
	for _, l := range e.Listeners() {
		at[l.Transport] = l.Addr
	}
	return box, at
}

func nobody(netip.Addr) bool { return false }

// through opens a connection as a load balancer does.
func through(t *testing.T, addr netip.AddrPort, header string, secure bool) net.Conn {
	t.Helper()
	c := dial(t, addr, false)
	if _, err := io.WriteString(c, header); err != nil {
		t.Fatal(err)
	}
	if secure {
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // self-signed for this test
	}
	return c
}

func version2(t *testing.T, source string) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::2]:443")))
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const version1 = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"

// The address in the header is the source of everything that comes behind it.
func TestProxyProtocol(t *testing.T) {
	box, at := behindBalancer(t, Limits{}, "127.0.0.1/32", nobody, nil)
	for header, want := range map[string]string{
		version1: "203.0.113.7:4711", version2(t, "[2001:db8::1]:4712"): "[2001:db8::1]:4712",
		"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00": "127.0.0.1", // LOCAL: the balancer's own check
	} {
		for _, transport := range []request.Transport{request.TCP, request.TLS} {
			if _, err := io.WriteString(through(t, at[transport], header, transport.Secure()), message("m", "")); err != nil {
				t.Fatal(err)
			}
			if got := box.next(t).conn.Remote().String(); !strings.HasPrefix(got, want) {
				t.Errorf("%s: from %s, want %s", transport, got, want)
			}
		}
		for _, transport := range []request.Transport{request.WS, request.WSS} {
			c := through(t, at[transport], header, transport.Secure())
			if _, err := io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
				"Sec-WebSocket-Version: 13\r\n"+sipProtocol+"\r\n"); err != nil {
				t.Fatal(err)
			}
			frame(t, c, final|opText, message("m", "")) // at once, without waiting for the answer
			if got := box.next(t).conn.Remote().String(); !strings.HasPrefix(got, want) {
				t.Errorf("%s: from %s, want %s", transport, got, want)
			}
		}
	}
}

// A header is needed from a balancer, and worth nothing from anybody else.
func TestProxyProtocolIsBelievedFromBalancersOnly(t *testing.T) {
	box, at := behindBalancer(t, Limits{}, "127.0.0.1/32", nobody, nil)
	none := through(t, at[request.TCP], message("without a header", ""), false)
	if _, err := none.Read(make([]byte, 1)); err == nil {
		t.Error("answered a balancer's connection without a header")
	}
	silent := dial(t, at[request.TCP], false)
	began := time.Now()
	if _, err := silent.Read(make([]byte, 1)); err == nil || time.Since(began) > 8*time.Second {
		t.Errorf("who sends no header is waited for: %v", err)
	}
	box2, at2 := behindBalancer(t, Limits{}, "127.0.0.9/32", nobody, nil)
	stranger := through(t, at2[request.TCP], version1+message("stranger", ""), false)
	_, _ = io.Copy(io.Discard, stranger)
	if _, err := io.WriteString(through(t, at2[request.TCP], "", false), message("direct", "")); err != nil {
		t.Fatal(err)
	}
	if got := box2.next(t); got.conn.Remote().Addr().String() != "127.0.0.1" || request.CallID(got.msg) != "direct" {
		t.Errorf("from %v: %s", got.conn.Remote(), request.CallID(got.msg))
	}
	if len(box.in) != 0 || len(box2.in) != 0 {
		t.Error("more arrived")
	}
}

// ACL and the limit of connections look at the client behind the balancer.
func TestAdmission(t *testing.T) {
	denied := netip.MustParseAddr("203.0.113.7")
	box, at := behindBalancer(t, Limits{ConnectionsPerSource: 2}, "127.0.0.1/32", func(a netip.Addr) bool { return a == denied || a == netip.MustParseAddr("127.0.0.8") }, nil)
	c := through(t, at[request.TCP], version1, false)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a denied client behind the balancer was let in")
	}
	for i := range 3 {
		c := through(t, at[request.TCP], version2(t, "[2001:db8::9]:1"), false)
		_, _ = io.WriteString(c, message("m", ""))
		if i == 2 {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("the third of one client was let in")
			}
			break
		}
		box.next(t)
	}
	forbidden, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 8)}, net.UDPAddrFromAddrPort(at[request.UDP]))
	if err != nil {
		t.Fatal(err)
	}
	defer forbidden.Close()
	permitted, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at[request.UDP]))
	if err != nil {
		t.Fatal(err)
	}
	defer permitted.Close()
	for _, c := range []*net.UDPConn{forbidden, permitted} {
		if _, err := io.WriteString(c, message(c.LocalAddr().(*net.UDPAddr).IP.String(), "")); err != nil {
			t.Fatal(err)
		}
	}
	if got := request.CallID(box.next(t).msg); got != "127.0.0.1" {
		t.Errorf("arrived from %s", got)
	}
}

// What cannot be parsed or framed is told, once a fault.
func TestFaultsAreTold(t *testing.T) {
	var faults atomic.Int32
	box, at := behindBalancer(t, Limits{Header: 2048}, "127.0.0.9/32", nobody, func(request.Connection) { faults.Add(1) })
	c := dial(t, at[request.TCP], false)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
	_, _ = io.WriteString(c, strings.Replace(message("x", ""), "CSeq: 1 MESSAGE", "CSeq: a b", 1))
	_, _ = io.WriteString(c, strings.Repeat("x", 5000))
	<-box.closed
	web, r, _ := websocketTo(t, at[request.WS], false, sipProtocol)
	frame(t, web, final|opText, "nonsense")
	frame(t, web, final|0x3, "x")
	closeCode(t, r)
	<-box.closed
	if n := faults.Load(); n != 5 {
		t.Errorf("%d faults told, 5 made", n)
	}
}
