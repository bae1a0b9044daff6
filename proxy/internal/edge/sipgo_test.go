package edge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// The tests here name the faults of sipgo v1.7.2 that this package stands in for. Where it is cheap they first show the
// fault: a release of sipgo without it fails the test, and the guard may then be weighed anew.

// plain is sipgo's own transport layer with one listener of a stream transport.
func plain(t *testing.T, websocket bool) (layer *sip.TransportLayer, addr netip.AddrPort, in chan sip.Message) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	layer = sip.NewTransportLayer(net.DefaultResolver, sip.NewParser(), nil)
	in = make(chan sip.Message, 100)
	layer.OnMessage(func(m sip.Message) { in <- m })
	var group sync.WaitGroup
	group.Go(func() {
		if websocket {
			_ = layer.ServeWS(ln)
		} else {
			_ = layer.ServeTCP(ln)
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		_ = layer.Close()
		group.Wait()
	})
	return layer, netip.MustParseAddrPort(ln.Addr().String()), in
}

func invite(t *testing.T, size int) *sip.Request {
	t.Helper()
	in := strings.Replace(strings.ReplaceAll(message("large", strings.Repeat("s", size)), "MESSAGE", "INVITE"), "Content-Length", "Max-Forwards: 70\r\nContent-Length", 1)
	msg, reason, err := parse([]byte(in))
	if err != nil || reason != "" {
		t.Fatal(err, reason)
	}
	return msg.(*sip.Request)
}

// An INVITE with a browser's SDP is larger than 1300 bytes; sipgo refuses to send it by UDP.
func TestLargeInviteLeavesByUDP(t *testing.T) {
	e, _, at := newEdge(t, Limits{})
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	to := netip.MustParseAddrPort(peer.LocalAddr().String())
	msg := invite(t, 1600)
	msg.SetDestination(to.String())
	if err := (&sip.UDPConnection{PacketConn: peer}).WriteMsg(msg); !errors.Is(err, sip.ErrUDPMTUCongestion) {
		t.Errorf("sipgo: %v", err)
	}
	conn, err := e.Reach(context.Background(), request.Hop{Transport: request.UDP, Addr: to})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(msg); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	_ = peer.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, from, err := peer.ReadFromUDPAddrPort(buf)
	if err != nil || n < 1700 || string(buf[:n]) != string(encode(msg)) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if from != at[request.UDP] {
		t.Errorf("sent from %v and not from the listener", from)
	}
}

// sipgo drops binary frames without a word, and answers any WebSocket client as if it had offered sip.
func TestPlainSipgoLosesBinaryFrames(t *testing.T) {
	_, addr, in := plain(t, true)
	c, _, status := websocketTo(t, addr, false, "")
	if !strings.HasPrefix(status, "HTTP/1.1 101") {
		t.Errorf("sipgo checks the subprotocol: %s", status)
	}
	frame(t, c, final|opBinary, message("binary", ""))
	frame(t, c, final|opText, message("text", ""))
	select {
	case m := <-in:
		if got := request.CallID(m); got != "text" {
			t.Errorf("sipgo delivers the %s frame", got)
		}
	case <-time.After(5 * time.Second):
		t.Error("not even the text frame came")
	}
	c.Close()
}

// One connection that says nothing keeps sipgo from all later WebSocket handshakes; ours is TestIdleConnectionsBlockNoAccept.
func TestPlainSipgoBlocksBehindIdleConnection(t *testing.T) {
	_, addr, _ := plain(t, true)
	idle := dial(t, addr, false)
	time.Sleep(50 * time.Millisecond) // it has to be accepted first
	c := dial(t, addr, false)
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", sipProtocol)
	_ = c.SetReadDeadline(time.Now().Add(400 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("sipgo answered %d bytes", n)
	}
	idle.Close()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("still blocked when the idle connection has gone: %v", err)
	}
	c.Close()
}

// sipgo files an accepted connection under the listener's own address too, so that a request which names that address goes
// down the connection of whoever came last; in our table the listener's address leads nowhere but to the listener.
func TestListenersAddressLeadsToNoStranger(t *testing.T) {
	layer, addr, in := plain(t, false)
	stranger := dial(t, addr, false)
	if _, err := io.WriteString(stranger, message("stranger", "")); err != nil {
		t.Fatal(err)
	}
	<-in
	if c, err := layer.GetConnection("tcp", addr.String()); err != nil || c == nil {
		t.Errorf("sipgo: %v, %v", c, err)
	} else {
		// What is sent to the listener's address arrives at the stranger.
		if err := c.WriteMsg(invite(t, 1)); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 1000)
		if n, err := stranger.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "INVITE") {
			t.Errorf("sipgo: %q %v", buf[:n], err)
		}
		_ = c.Close()
	}
	stranger.Close()

	e, box, at := newEdge(t, Limits{})
	for _, transport := range []request.Transport{request.TCP, request.TLS} {
		if _, err := io.WriteString(dial(t, at[transport], transport.Secure()), message("stranger", "")); err != nil {
			t.Fatal(err)
		}
		theirs := box.next(t).conn
		c, err := e.Reach(context.Background(), request.Hop{Transport: transport, Addr: at[transport], Host: "127.0.0.1"})
		if err == nil && (c.ID() == theirs.ID() || c.Remote() != at[transport]) {
			t.Errorf("%s: the listener's address leads to %v", transport, c.Remote())
		}
		if transport == request.TLS {
			// Who came by TLS showed no certificate: no request for their address may use the connection either.
			if c, err := e.Reach(context.Background(), request.Hop{Transport: transport, Addr: theirs.Remote(), Host: "carrier.example"}); err == nil {
				t.Errorf("an unverified connection serves carrier.example: %v", c.Remote())
			}
		}
	}
}

// Answers go down the connection the request came by, whatever its Via says.
func TestAnswersGoDownTheSameConnection(t *testing.T) {
	_, box, at := newEdge(t, Limits{})
	answer := func(a arrival) {
		t.Helper()
		if err := a.conn.Send(request.NewResponse(a.msg.(*sip.Request), 200, "OK")); err != nil {
			t.Fatal(err)
		}
	}
	for _, transport := range []request.Transport{request.TCP, request.TLS} {
		one, two := dial(t, at[transport], transport.Secure()), dial(t, at[transport], transport.Secure())
		for i, c := range []net.Conn{one, two} {
			if _, err := io.WriteString(c, message(fmt.Sprint("call-", i), "")); err != nil {
				t.Fatal(err)
			}
		}
		first, second := box.next(t), box.next(t)
		answer(second)
		answer(first)
		for i, c := range []net.Conn{one, two} {
			buf := make([]byte, 1000)
			if n, err := c.Read(buf); err != nil || !strings.Contains(string(buf[:n]), fmt.Sprint("Call-ID: call-", i)) {
				t.Errorf("%s: %v\n%s", transport, err, buf[:n])
			}
		}
	}
	c, r, _ := websocketTo(t, at[request.WSS], true, sipProtocol)
	frame(t, c, final|opText, message("ws", ""))
	answer(box.next(t))
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil || head[0] != final|opText {
		t.Errorf("%x %v", head, err)
	}
}

// A frame or message over the limit closes with 1009, Message Too Big (RFC 6455 §7.4.1).
func TestOversizedWebSocketMessage(t *testing.T) {
	_, box, at := newEdge(t, Limits{Header: 1000, Body: 1000})
	for name, send := range map[string]func(c net.Conn){
		"one frame": func(c net.Conn) { frame(t, c, final|opText, message("big", strings.Repeat("x", 3000))) },
		"fragments": func(c net.Conn) {
			frame(t, c, opText, message("big", strings.Repeat("x", 900)))
			frame(t, c, opContinue, strings.Repeat("x", 900))
			frame(t, c, final|opContinue, strings.Repeat("x", 900))
		},
	} {
		c, r, _ := websocketTo(t, at[request.WS], false, sipProtocol)
		send(c)
		head := make([]byte, 4)
		if _, err := io.ReadFull(r, head); err != nil || head[0] != final|0x8 || binary.BigEndian.Uint16(head[2:]) != 1009 {
			t.Errorf("%s: %x %v", name, head, err)
		}
		c.Close()
		<-box.closed
	}
	if len(box.in) != 0 {
		t.Error("an oversized message was handed over")
	}
}

// slowBox is a Handler that takes nothing until it is told to.
type slowBox struct {
	open  chan struct{}
	taken chan string
}

func (s *slowBox) Receive(_ request.Connection, m sip.Message, _ time.Time) {
	<-s.open
	s.taken <- request.CallID(m) + " " + string(m.Body())
}
func (s *slowBox) Malformed(request.Connection, *sip.Request, string) {}
func (s *slowBox) Closed(request.Connection)                          {}

// sipgo starts a goroutine for each message; here 5,000 datagrams to a handler that hangs start none, what the queues cannot
// hold is dropped, and what they hold comes out in order for each call.
func TestFloodStartsNoGoroutines(t *testing.T) {
	e, err := New([]Listener{{Name: "udp", Transport: request.UDP, Address: netip.MustParseAddrPort("127.0.0.1:0")}}, Limits{Workers: 4, Queue: 64}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	box := &slowBox{open: make(chan struct{}), taken: make(chan string, 5000)}
	e.Serve(box)
	defer e.Close()
	conn, err := net.Dial("udp4", e.Listeners()[0].Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := runtime.NumGoroutine()
	for i := range 5000 {
		if _, err := io.WriteString(conn, message(fmt.Sprint("call", i%10), fmt.Sprintf("%05d", i))); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 {
			time.Sleep(5 * time.Millisecond) // the reader may keep up
		}
	}
	if after := runtime.NumGoroutine(); after > before+2 {
		t.Errorf("%d goroutines became %d", before, after)
	}
	close(box.open)
	last, count := map[string]string{}, 0
	for quiet := false; !quiet; {
		select {
		case s := <-box.taken:
			count++
			callID, number, _ := strings.Cut(s, " ")
			if number <= last[callID] {
				t.Errorf("%s: %s after %s", callID, number, last[callID])
			}
			last[callID] = number
		case <-time.After(300 * time.Millisecond):
			quiet = true
		}
	}
	// Each worker holds one message beside its queue; while the reader drains the socket a few more may fit in.
	if count == 0 || count > 2000 {
		t.Errorf("%d messages were held", count)
	}
}

// 180 does not come after 200, nor BYE before ACK, however many calls there are.
func TestMessagesOfACallKeepTheirOrder(t *testing.T) {
	_, box, at := newEdge(t, Limits{})
	conn, err := net.Dial("udp4", at[request.UDP].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	response := func(callID string, code int) string {
		return strings.Replace(message(callID, ""), "MESSAGE sip:a@b SIP/2.0", fmt.Sprintf("SIP/2.0 %d x", code), 1)
	}
	next := map[string]int{}
	for round := range 20 {
		for call := range 10 {
			callID := fmt.Sprintf("order-%d-%d", round, call)
			for _, m := range []string{response(callID, 180), response(callID, 200),
				strings.ReplaceAll(message(callID, ""), "MESSAGE", "ACK"), strings.ReplaceAll(message(callID, ""), "MESSAGE", "BYE")} {
				if _, err := io.WriteString(conn, m); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 40 {
			m := box.next(t).msg
			what := ""
			switch v := m.(type) {
			case *sip.Request:
				what = string(v.Method)
			case *sip.Response:
				what = fmt.Sprint(v.StatusCode)
			}
			callID := request.CallID(m)
			if want := []string{"180", "200", "ACK", "BYE"}[next[callID]]; what != want {
				t.Fatalf("%s: %s in place of %s", callID, what, want)
			}
			next[callID]++
		}
	}
}

// Who does not finish what was begun is shown the door: handshakes, half messages, silence. A keep-alive is no silence.
func TestDeadlines(t *testing.T) {
	_, box, at := newEdge(t, Limits{Handshake: 200 * time.Millisecond, Idle: 700 * time.Millisecond})
	ended := func(name string, c net.Conn, most time.Duration) {
		t.Helper()
		began := time.Now()
		_ = c.SetReadDeadline(began.Add(most))
		var timeout net.Error
		if _, err := io.Copy(io.Discard, c); errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%s: still open after %v", name, most)
		}
	}
	for _, transport := range []request.Transport{request.TLS, request.WS, request.WSS} {
		ended("no handshake by "+string(transport), dial(t, at[transport], false), 3*time.Second)
	}
	half := dial(t, at[request.TCP], false)
	if _, err := io.WriteString(half, message("half", "")[:40]); err != nil {
		t.Fatal(err)
	}
	ended("half a message", half, 600*time.Millisecond)
	<-box.closed
	alive := dial(t, at[request.TCP], false)
	for range 6 { // 1.2 s, longer than Idle
		time.Sleep(200 * time.Millisecond)
		if _, err := io.WriteString(alive, "\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if n, err := io.ReadFull(alive, make([]byte, 2)); err != nil {
			t.Fatalf("keep-alive: %d bytes, %v", n, err)
		}
	}
	ended("silence", alive, 3*time.Second)
}
