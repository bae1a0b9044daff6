package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// arrival is what the edge handed over.
type arrival struct {
	conn      request.Connection
	msg       sip.Message
	malformed string
}

// inbox is a Handler that keeps what comes.
type inbox struct {
	in     chan arrival
	closed chan request.Connection
}

func (i *inbox) Receive(c request.Connection, m sip.Message, _ time.Time) {
	i.in <- arrival{conn: c, msg: m}
}

func (i *inbox) Malformed(c request.Connection, m *sip.Request, reason string) {
	i.in <- arrival{conn: c, msg: m, malformed: reason}
}
func (i *inbox) Closed(c request.Connection) { i.closed <- c }

func (i *inbox) next(t *testing.T) arrival {
	t.Helper()
	select {
	case a := <-i.in:
		return a
	case <-time.After(5 * time.Second):
		t.Fatal("nothing came")
		return arrival{}
	}
}

// certificate is a self-signed one.
func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// newEdge serves all transports on loopback.
func newEdge(t *testing.T, limits Limits) (*Edge, *inbox, map[request.Transport]netip.AddrPort) {
	t.Helper()
	secure := certificate(t)
	var listeners []Listener
	for _, transport := range []request.Transport{request.UDP, request.TCP, request.TLS, request.WS, request.WSS} {
		listeners = append(listeners, Listener{
			Name: string(transport), Transport: transport, Address: netip.MustParseAddrPort("127.0.0.1:0"), TLS: secure,
			Pages: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") }),
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
	return e, box, at
}

func message(callID, body string) string {
	return fmt.Sprintf("MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:a@b>\r\n"+
		"Call-ID: %s\r\nCSeq: 1 MESSAGE\r\nContent-Length: %d\r\n\r\n%s", callID, len(body), body)
}

func dial(t *testing.T, addr netip.AddrPort, secure bool) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // self-signed for this test
	}
	return c
}

// websocketTo makes the handshake by hand, so that frames can be made by hand as well.
func websocketTo(t *testing.T, addr netip.AddrPort, secure bool, headers string) (net.Conn, *bufio.Reader, string) {
	t.Helper()
	c := dial(t, addr, secure)
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", addr, headers)
	r := bufio.NewReader(c)
	status, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	return c, r, strings.TrimSpace(status)
}

const sipProtocol = "Sec-WebSocket-Protocol: chat, sip\r\n"

// frame writes one masked frame (RFC 6455 §5.2).
func frame(t *testing.T, w io.Writer, first byte, payload string) {
	t.Helper()
	b := []byte{first, 0x80 | 126, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(len(payload)))
	if len(payload) < 126 {
		b = []byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}
	}
	if _, err := w.Write(append(b, payload...)); err != nil {
		t.Fatal(err)
	}
}

const (
	opContinue, opText, opBinary, opPing, opPong = 0x0, 0x1, 0x2, 0x9, 0xa
	final                                        = 0x80
)

// Connections that say nothing, in front of the handshakes of others, hold nobody up.
func TestIdleConnectionsBlockNoAccept(t *testing.T) {
	_, box, at := newEdge(t, Limits{})
	for _, transport := range []request.Transport{request.TLS, request.WS, request.WSS} {
		for range 20 {
			dial(t, at[transport], false)
		}
	}
	began := time.Now()
	for _, transport := range []request.Transport{request.WS, request.WSS} {
		c, _, status := websocketTo(t, at[transport], transport.Secure(), sipProtocol)
		if !strings.HasPrefix(status, "HTTP/1.1 101") {
			t.Fatal(status)
		}
		frame(t, c, final|opText, message(string(transport), ""))
		if got := request.CallID(box.next(t).msg); got != string(transport) {
			t.Errorf("have %s", got)
		}
	}
	if _, err := io.WriteString(dial(t, at[request.TLS], true), message("tls", "")); err != nil {
		t.Fatal(err)
	}
	box.next(t)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// Text, binary and fragmented messages all arrive, and a ping between fragments gets its payload back (RFC 7118 §4.2).
func TestWebSocketFrames(t *testing.T) {
	_, box, at := newEdge(t, Limits{})
	c, r, _ := websocketTo(t, at[request.WS], false, sipProtocol)
	frame(t, c, final|opText, message("text", "é"))
	frame(t, c, final|opBinary, message("binary", "\xff\x00"))
	whole := message("fragments", strings.Repeat("x", 3000))
	frame(t, c, opText, whole[:100])
	frame(t, c, final|opPing, "are you there")
	frame(t, c, opContinue, whole[100:200])
	frame(t, c, final|opContinue, whole[200:])
	for _, want := range []struct{ callID, body string }{{"text", "é"}, {"binary", "\xff\x00"}, {"fragments", strings.Repeat("x", 3000)}} {
		a := box.next(t)
		if request.CallID(a.msg) != want.callID || string(a.msg.Body()) != want.body {
			t.Errorf("want %s, have %s with %d bytes", want.callID, request.CallID(a.msg), len(a.msg.Body()))
		}
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil || head[0] != final|opPong {
		t.Fatalf("no pong: %x %v", head, err)
	}
	payload := make([]byte, head[1])
	if _, err := io.ReadFull(r, payload); err != nil || string(payload) != "are you there" {
		t.Errorf("pong says %q", payload)
	}
}

func TestWebSocketHandshakeIsChecked(t *testing.T) {
	_, _, at := newEdge(t, Limits{})
	own := "http://" + at[request.WS].String()
	for headers, want := range map[string]string{
		"": "400", "Sec-WebSocket-Protocol: chat\r\n": "400", sipProtocol: "101",
		sipProtocol + "Origin: https://evil.example\r\n": "403", sipProtocol + "Origin: null\r\n": "403",
		sipProtocol + "Origin: " + own + "\r\n": "101",
	} {
		if _, _, status := websocketTo(t, at[request.WS], false, headers); !strings.Contains(status, want) {
			t.Errorf("%q: %s", headers, status)
		}
	}
	res, err := http.Get(own + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); string(body) != "page" {
		t.Errorf("page: %s %s", res.Status, body)
	}
	http.DefaultClient.CloseIdleConnections()
}

// Messages of one call come out in the order in which they came in, and a large one leaves and arrives whole.
func TestDatagrams(t *testing.T) {
	e, box, at := newEdge(t, Limits{})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send := func(s string) {
		if _, err := conn.WriteToUDPAddrPort([]byte(s), at[request.UDP]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		send(message("order", fmt.Sprint(i)))
		if i%50 == 49 {
			for j := i - 49; j <= i; j++ {
				if got := string(box.next(t).msg.Body()); got != fmt.Sprint(j) {
					t.Fatalf("%s in place of %d", got, j)
				}
			}
		}
	}
	send("\r\n\r\n")
	send("\x00\x00\x00\x00")
	send("\r\n" + message("after CRLF", strings.Repeat("y", 20000)))
	a := box.next(t)
	if request.CallID(a.msg) != "after CRLF" || len(a.msg.Body()) != 20000 {
		t.Fatalf("have %s", request.CallID(a.msg))
	}
	if err := a.conn.Send(a.msg); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65535)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := conn.Read(buf)
	if err != nil || !bytes.HasSuffix(buf[:n], []byte("yyyy")) || n < 20000 {
		t.Errorf("came back: %d bytes, %v", n, err)
	}
	a.msg.SetBody(make([]byte, 65507))
	if err := a.conn.Send(a.msg); !errors.Is(err, request.ErrMessageTooLarge) {
		t.Errorf("over 65,507 bytes: %v", err)
	}
	if again, ok := e.Get(a.conn.ID()); !ok || again.Remote() != a.conn.Remote() {
		t.Error("a UDP connection is found by its id")
	}
}

func TestStreamFraming(t *testing.T) {
	_, box, at := newEdge(t, Limits{Header: 4096, Body: 4096})
	c := dial(t, at[request.TCP], false)
	two := message("one", "a\r\n\r\nb") + "\r\n\r\n" + message("two", "")
	for i := range len(two) { // byte by byte
		if _, err := io.WriteString(c, two[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if a := box.next(t); string(a.msg.Body()) != "a\r\n\r\nb" {
		t.Errorf("have %q", a.msg.Body())
	}
	if a := box.next(t); request.CallID(a.msg) != "two" {
		t.Errorf("have %s", request.CallID(a.msg))
	}
	pong := make([]byte, 2)
	if _, err := io.ReadFull(c, pong); err != nil || string(pong) != "\r\n" {
		t.Errorf("keep-alive: %q %v", pong, err)
	}
	for name, bad := range map[string]string{
		"no length":  strings.Replace(message("x", ""), "Content-Length: 0\r\n", "", 1),
		"two":        strings.Replace(message("x", ""), "Content-Length: 0\r\n", "Content-Length: 0\r\nl: 5\r\n", 1),
		"big body":   strings.Replace(message("x", ""), "Content-Length: 0", "Content-Length: 5000", 1),
		"big header": "MESSAGE sip:a@b SIP/2.0\r\n" + strings.Repeat("X-Fill: 0123456789\r\n", 500),
	} {
		c := dial(t, at[request.TCP], false)
		_, _ = io.WriteString(c, bad) // may be cut off in the middle
		if _, err := io.Copy(io.Discard, c); errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
		<-box.closed
	}
	for len(box.in) > 0 { // what has a header is told why
		if a := box.next(t); a.malformed == "" {
			t.Errorf("bad framing let through\n%s", a.msg)
		}
	}
}

// A request for one place never goes down the connection that somebody else opened.
func TestReach(t *testing.T) {
	e, box, at := newEdge(t, Limits{})
	stranger := dial(t, at[request.TCP], false)
	if _, err := io.WriteString(stranger, message("stranger", "")); err != nil {
		t.Fatal(err)
	}
	theirs := box.next(t).conn
	peer, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	hop := request.Hop{Transport: request.TCP, Addr: netip.MustParseAddrPort(peer.Addr().String())}
	var group sync.WaitGroup
	found := make([]request.Connection, 8)
	for i := range found {
		group.Go(func() {
			c, err := e.Reach(context.Background(), hop)
			if err != nil {
				t.Error(err)
			}
			found[i] = c
		})
	}
	group.Wait()
	for _, c := range found {
		if c == nil || c.ID() == theirs.ID() || c.ID() != found[0].ID() || c.Remote() != hop.Addr {
			t.Fatalf("reached %v, not one connection to %v", c, hop.Addr)
		}
	}
	back, err := e.Reach(context.Background(), request.Hop{Transport: request.TCP, Addr: theirs.Remote()})
	if err != nil || back.ID() != theirs.ID() {
		t.Errorf("the way back to whom opened a connection: %v", err)
	}
	for _, transport := range []request.Transport{request.WS, request.WSS} {
		if _, err := e.Reach(context.Background(), request.Hop{Transport: transport, Addr: hop.Addr}); !errors.Is(err, request.ErrNeverDialled) {
			t.Errorf("%s: %v", transport, err)
		}
	}
	stranger.Close()
	if gone := <-box.closed; gone.ID() != theirs.ID() {
		t.Errorf("closed: %v", gone.ID())
	}
	if _, ok := e.Get(theirs.ID()); ok {
		t.Error("a closed connection is still found")
	}
	if err := theirs.Send(box.sample(t)); !errors.Is(err, request.ErrConnectionClosed) {
		t.Errorf("send: %v", err)
	}
}

func (i *inbox) sample(t *testing.T) sip.Message {
	t.Helper()
	msg, _, err := parse([]byte(message("sample", "")))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestConnectionsAreBounded(t *testing.T) {
	_, box, at := newEdge(t, Limits{Connections: 100, ConnectionsPerSource: 3})
	for range 3 {
		if _, err := io.WriteString(dial(t, at[request.TCP], false), message("in", "")); err != nil {
			t.Fatal(err)
		}
		box.next(t)
	}
	over := dial(t, at[request.TCP], false)
	if _, err := over.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the fourth of one source: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(message("seed", "body")))
	f.Add([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/TCP [::1]:5;x=\"a,b\"\r\nf: \"a\\\"b\" <sip:x@y>;TAG=1\r\nt: sip:z\r\ni: c\r\nCSeq: 1 INVITE\r\nl: 0\r\n\r\n"))
	f.Add([]byte("INVITE sip:a@b;c=d SIP/2.0\r\nv: SIP / 2.0 / UDP h\r\n : x\r\nContact: *\r\n\r\n"))
	addTorture(f, func(data []byte) { f.Add(data) })
	f.Fuzz(func(t *testing.T, data []byte) {
		orderKey(data)
		msg, reason, err := parse(data)
		if err != nil || reason != "" {
			return
		}
		again, reason, err := parse(encode(msg))
		if err != nil || reason != "" {
			t.Fatalf("what was sent on cannot be read: %v %q\n%s", err, reason, encode(msg))
		}
		if request.CallID(again) != request.CallID(msg) || !bytes.Equal(again.Body(), msg.Body()) {
			t.Fatalf("changed on the way:\n%s", encode(msg))
		}
	})
}
