//go:build integration

package hostile

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tandem-sbc/tandem/integration/harness"
)

func TestBadInput(t *testing.T) {
	s := start(t)
	for _, attack := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"random bytes", s.randomBytes},
		{"half messages", s.halfMessages},
		{"oversized", s.oversized},
		{"ng bombs", s.bombs},
		{"RFC 4475", s.torture},
		{"slow handshakes", s.slowHandshakes},
		{"10,000 idle connections", s.idle},
	} {
		t.Run(attack.name, func(t *testing.T) {
			attack.run(t)
			s.undisturbed(t)
		})
	}
}

func random(limit int) []byte {
	n, _ := rand.Int(rand.Reader, big.NewInt(int64(limit)))
	b := make([]byte, n.Int64()+1)
	_, _ = rand.Read(b)
	return b
}

func (s *site) address(port int) string { return net.JoinHostPort(s.host, strconv.Itoa(port)) }

// attacker is a source address of its own for attack number i.
func (s *site) attacker(i int) net.IP {
	return net.ParseIP(fmt.Sprintf("%s.%d.%d", s.net, 100+i/250, 1+i%250))
}

func (s *site) randomBytes(t *testing.T) {
	ports, err := harness.NG{Address: s.address(ngPort)}.MediaPorts()
	if err != nil || len(ports) == 0 {
		t.Fatalf("no media ports of the call to attack: %v (%v)", ports, err)
	}
	for _, port := range append(ports, sipPort, ngPort) {
		conn, err := net.DialUDP("udp", &net.UDPAddr{IP: s.attacker(port % 200)}, &net.UDPAddr{IP: net.ParseIP(s.host), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			b := random(1400)
			switch i % 5 { // so that each kind of RFC 7983 gets its share
			case 0:
				b[0] = 0x80
			case 1:
				b[0] = byte(i % 2)
			case 2:
				b[0] = 20 + byte(i%44)
			}
			_, _ = conn.Write(b)
			time.Sleep(100 * time.Microsecond)
		}
		conn.Close()
	}
	for _, port := range []int{sipPort, tlsPort, wsPort, wssPort} {
		for i := range 20 {
			conn, err := net.DialTimeout("tcp", s.address(port), 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(random(4096))
			if i%2 == 0 {
				_, _ = conn.Write([]byte("\r\n\r\n"))
			}
			conn.Close()
		}
	}
	logged(t, s.proxy, s.attacker(sipPort%200).String(), "message dropped")
}

const head = "INVITE sip:bob@example.test SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKhalf\r\nMax-Forwards: 70\r\n" +
	"From: <sip:a@example.test>;tag=1\r\nTo: <sip:bob@example.test>\r\nCall-ID: half\r\nCSeq: 1 INVITE\r\n"

func (s *site) halfMessages(t *testing.T) {
	udp, err := net.Dial("udp", s.address(sipPort))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	full := head + "Content-Length: 400\r\n\r\nv=0\r\n"
	for i := 0; i < len(full); i += 7 {
		_, _ = udp.Write([]byte(full[:i]))
		conn, err := net.Dial("tcp", s.address(sipPort))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(full[:i]))
		conn.Close()
	}
	for i := range 20 {
		ws := s.webSocket(t)
		_ = ws.Write(t.Context(), websocket.MessageText, []byte(full[:len(full)*i/20]))
		_ = ws.CloseNow()
	}
}

func (s *site) webSocket(t *testing.T) *websocket.Conn {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 5 * time.Second}
	ws, _, err := websocket.Dial(t.Context(), "wss://"+s.address(wssPort)+"/ws", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"sip"}})
	if err != nil {
		t.Fatalf("websocket: %v", err)
	}
	return ws
}

func (s *site) oversized(t *testing.T) {
	for _, port := range []int{sipPort, ngPort} {
		conn, err := net.Dial("udp", s.address(port))
		if err != nil {
			t.Fatal(err)
		}
		big := bytes.Repeat([]byte("x"), 65507)
		copy(big, "cookie d7:command4:ping")
		for range 50 {
			_, _ = conn.Write(big)
		}
		copy(big, head+"Subject: ")
		for range 50 {
			_, _ = conn.Write(big)
		}
		conn.Close()
	}
	for name, text := range map[string]string{
		"endless header":         head + "Subject: " + strings.Repeat("x", 1<<20),
		"many headers":           head + strings.Repeat("Subject: x\r\n", 100_000),
		"body larger than limit": head + "Content-Length: 99999999\r\n\r\n" + strings.Repeat("x", 1<<20),
		"length of 20 digits":    head + "Content-Length: 18446744073709551617\r\n\r\n",
	} {
		if err := s.refused(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	ws := s.webSocket(t)
	_ = ws.Write(t.Context(), websocket.MessageBinary, bytes.Repeat([]byte("x"), 1<<20))
	if _, _, err := ws.Read(t.Context()); err == nil || websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("a frame of 1 MiB was answered with %v, want close status 1009", err)
	}
	_ = ws.CloseNow()
}

// refused sends text over TCP; the proxy has to close the connection.
func (s *site) refused(text string) error {
	conn, err := net.Dial("tcp", s.address(sipPort))
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	go func() { _, _ = io.WriteString(conn, text) }()
	_, err = io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the connection stays open")
	}
	return nil
}

// bombs sends ng datagrams that cost a careless decoder memory or its stack.
func (s *site) bombs(t *testing.T) {
	before := resident(t, s.media)
	for i, body := range []string{
		"d1:a99999999:xe", "d1:a2147483647:", strings.Repeat("l", 60000), strings.Repeat("d1:a", 15000),
		"d7:command5:offer3:sdp-1:e", "d7:commandi99999999999999999999ee", "d7:command4:ping", "i1e", "{" + strings.Repeat(`"a":{`, 8000),
		`{"command":"offer","sdp":"` + strings.Repeat("a=x\\r\\n", 6000) + `"}`, "", "d", "de", "x",
	} {
		for n := range 20 {
			if err := s.ngAnswers(fmt.Sprintf("bomb%d-%d ", i, n) + body); err != nil {
				t.Errorf("%.40q: %v", body, err)
				break
			}
		}
	}
	if grown := resident(t, s.media) - before; grown > 60<<10 {
		t.Errorf("mediad grew by %d kB", grown)
	}
}

// ngAnswers sends one datagram with a cookie, to which there has to be an answer that is not larger than
// an error is.
func (s *site) ngAnswers(datagram string) error {
	conn, err := net.Dial("udp", s.address(ngPort))
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.WriteString(conn, datagram); err != nil {
		return err
	}
	buf := make([]byte, 65536)
	n, err := conn.Read(buf)
	if err != nil {
		return err
	}
	if answer := string(buf[:n]); n > 300 || !strings.Contains(answer, "error") {
		return fmt.Errorf("answer %.200q", answer)
	}
	return nil
}

func resident(t *testing.T, p *harness.Process) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// tortureCodes are the answers RFC 4475 asks a server for; messages that are not
// here may be answered as the proxy's policy wants, or be dropped.
var tortureCodes = map[string][]int{
	"badvers": {505}, "mismatch01": {400}, "mismatch02": {400, 501}, "insuf": {400, 0}, "multi01": {400},
	"unkscm": {416}, "bext01": {420}, "zeromf": {483, 200}, "ltgtruri": {400}, "badinv01": {400}, "quotbal": {400}, "lwsruri": {400},
}

// silent are responses, which get no answer.
var silent = []string{"scalarlg", "bigcode", "bcast", "noreason", "unreason"}

func (s *site) torture(t *testing.T) {
	files, err := filepath.Glob("testdata/rfc4475/*/*.dat")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d messages (%v)", len(files), err)
	}
	udp, err := net.Dial("udp", s.address(sipPort))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, file := range files {
		message, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".dat")
		// Some share a branch and a sent-by, and would be retransmissions of each other.
		unique := func(by string) []byte {
			return bytes.Replace(message, []byte("branch=z9hG4bKkdjuw"), []byte("branch=z9hG4bKkdjuw"+name+by), 1)
		}
		code := s.codeOf(t, unique("tcp"))
		_, _ = udp.Write(unique("udp"))
		t.Logf("%s: %d", name, code)
		valid := filepath.Base(filepath.Dir(file)) == "valid"
		switch {
		case has(silent, name):
			if code != 0 {
				t.Errorf("the response %s was answered %d", name, code)
			}
		case tortureCodes[name] != nil:
			if !has(tortureCodes[name], code) {
				t.Errorf("%s was answered %d, want %v", name, code, tortureCodes[name])
			}
		case name == "dblreq": // of UDP: on a stream its second half is bad framing
		case valid && (code == 0 || code == 400 || code >= 500):
			t.Errorf("the valid %s was answered %d", name, code)
		}
	}
}

func has[T comparable](list []T, x T) bool {
	for _, y := range list {
		if x == y {
			return true
		}
	}
	return false
}

// codeOf sends a message over a connection of its own and returns the status of
// the first final answer, 0 for none.
func (s *site) codeOf(t *testing.T, message []byte) int {
	t.Helper()
	conn, err := net.Dial("tcp", s.address(sipPort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(700 * time.Millisecond))
	_, _ = conn.Write(message)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "SIP/2.0 "); ok {
			if code, err := strconv.Atoi(rest[:min(3, len(rest))]); err == nil && code >= 200 {
				return code
			}
		}
	}
	return 0
}

func (s *site) slowHandshakes(t *testing.T) {
	var slow []net.Conn
	for i := range 200 {
		for _, port := range []int{tlsPort, wsPort, wssPort} {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: s.attacker(i)}, Timeout: 2 * time.Second}
			conn, err := d.Dial("tcp", s.address(port))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = conn.Write([]byte{0x16, 0x03, 0x01}[:1+i%3])
			slow = append(slow, conn)
		}
	}
	began := time.Now()
	ws := s.webSocket(t)
	_ = ws.CloseNow()
	if took := time.Since(began); took > handshakeLimit {
		t.Errorf("an honest handshake took %v behind slow ones", took)
	}
	deadline := time.Now().Add(handshakeLimit + 4*time.Second)
	for i, conn := range slow {
		_ = conn.SetReadDeadline(deadline)
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("slow handshake %d to %v is still open", i, conn.RemoteAddr())
		}
	}
	logged(t, s.proxy, "handshake failed")
}

// idle opens 10,000 connections that say nothing: those of TCP stay, those that
// owe a handshake are closed after its limit.
func (s *site) idle(t *testing.T) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range 10_000 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: s.attacker(i % 400)}, Timeout: 5 * time.Second}
		port := []int{sipPort, tlsPort, wsPort, wssPort}[i%4]
		conn, err := d.Dial("tcp", s.address(port))
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, conn)
		if i%2500 == 2499 {
			if err := s.asks("tcp"); err != nil {
				t.Errorf("with %d idle connections: %v", i+1, err)
			}
			_ = s.webSocket(t).CloseNow()
		}
	}
	s.undisturbed(t)
}
