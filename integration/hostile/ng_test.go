//go:build integration

package hostile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

const (
	// ngMemory is how far mediad may grow under any of these attacks, in KiB. Its
	// cache of replies alone may hold 64 MiB, and Go's heap doubles before it is
	// collected.
	ngMemory = 256 << 10
	// messageLimit is how long a message on a connection may take to arrive.
	messageLimit = 10 * time.Second
)

// attempts is how many cookies and call-ids an attack uses. HOSTILE_COUNT is for
// long runs: make soak takes ten million.
func attempts(t *testing.T) int {
	t.Helper()
	text := os.Getenv("HOSTILE_COUNT")
	if text == "" {
		return 50_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("HOSTILE_COUNT: %v", err)
	}
	return n
}

// TestHostileNGClient attacks mediad's control listeners by a client that is let
// in: its memory stays bounded and the call beside goes on.
func TestHostileNGClient(t *testing.T) {
	s := start(t)
	before := resident(t, s.media)
	for _, attack := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"flood of cookies", s.cookies},
		{"replays", s.replays},
		{"1 GiB announced", s.announced},
		{"half-open and slow connections", s.slowControl},
		{"call-ids with ports", func(t *testing.T) { s.callIDs(t, 2000, "2000") }},
		{"call-ids without ports", func(t *testing.T) { s.callIDs(t, attempts(t), "0") }},
		{"tags of one call", func(t *testing.T) { s.tags(t, 5000) }},
	} {
		t.Run(attack.name, func(t *testing.T) {
			attack.run(t)
			s.undisturbed(t)
			grown := resident(t, s.media) - before
			t.Logf("mediad has grown by %d MiB", grown>>10)
			if grown > ngMemory {
				t.Errorf("mediad has grown by %d KiB, more than %d", grown, ngMemory)
			}
		})
	}
}

// cookies sends pings with ever new cookies as fast as it can, and large ones.
func (s *site) cookies(t *testing.T) {
	var senders sync.WaitGroup
	for sender := range 4 {
		senders.Go(func() {
			conn, err := net.Dial("udp", s.address(ngPort))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for i := range attempts(t) / 4 {
				cookie := fmt.Sprintf("flood-%d-%d", sender, i)
				body := "d7:command4:pinge"
				if i%2 == 0 { // the largest cookie, and a reply with an error
					cookie += strings.Repeat("x", 256-len(cookie))
					body = "d7:command5:queryed"
				}
				_, _ = conn.Write([]byte(cookie + " " + body))
			}
		})
	}
	senders.Wait()
}

// replays sends one command over and over: it runs once, and each gets the same
// reply.
func (s *site) replays(t *testing.T) {
	command := offerOf("replay", "a", "2000")
	before := s.counted(t, "totaloffercount")
	var first []byte
	conn, err := net.Dial("udp", s.address(ngPort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buffer := make([]byte, 65535)
	for i := range 20_000 {
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		if _, err := conn.Write([]byte("replayed " + command)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("replay %d: %v", i, err)
		}
		if first == nil {
			first = bytes.Clone(buffer[:n])
			if !bytes.Contains(first, []byte("2:ok")) {
				t.Fatalf("the offer was answered %q", first)
			}
		}
		if !bytes.Equal(first, buffer[:n]) {
			t.Fatalf("replay %d got another reply: %q, first %q", i, buffer[:n], first)
		}
	}
	if offers := s.counted(t, "totaloffercount") - before; offers != 1 {
		t.Errorf("the replayed offer ran %d times", offers)
	}
	s.hangUp(t)
}

// counted reads one of mediad's counters of commands.
func (s *site) counted(t *testing.T, key string) int {
	t.Helper()
	reply, err := s.ng().Ask(map[string]any{"command": "statistics"})
	if err != nil {
		t.Fatal(err)
	}
	statistics, _ := reply["statistics"].(map[string]any)
	control, _ := statistics["controlstatistics"].(map[string]any)
	n, err := strconv.Atoi(fmt.Sprint(control[key]))
	if err != nil {
		t.Fatalf("%s in %v: %v", key, control, err)
	}
	return n
}

// hangUp deletes all calls but that of the phones.
func (s *site) hangUp(t *testing.T) {
	t.Helper()
	for {
		reply, err := s.ng().Ask(map[string]any{"command": "list", "limit": 1000})
		if err != nil {
			t.Fatal(err)
		}
		calls, _ := reply["calls"].([]any)
		left := 0
		for _, call := range calls {
			if id := fmt.Sprint(call); strings.HasPrefix(id, "replay") || strings.HasPrefix(id, "attack") {
				left++
				if _, err := s.ng().Ask(map[string]any{"command": "delete", "call-id": id, "delete-delay": 0, "flags": []string{"fast"}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if left == 0 {
			return
		}
	}
}

// announced speaks of 1 GiB on every transport and sends some of it.
func (s *site) announced(t *testing.T) {
	const message = "huge d7:command5:offer3:sdp1073741824:"
	if err := s.ngAnswers(message + strings.Repeat("x", 60000)); err != nil {
		t.Errorf("UDP: %v", err)
	}
	plenty := strings.Repeat("x", 4<<20)
	for name, send := range map[string]struct {
		port int
		text string
	}{
		"TCP":       {streamPort, message + plenty},
		"HTTP":      {httpPort, "POST /ng HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-rtpengine-ng\r\nContent-Length: 1073741824\r\n\r\n" + message + plenty},
		"chunks":    {httpPort, "POST /ng-plain HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n" + plenty},
		"header":    {httpPort, "GET /ping HTTP/1.1\r\nHost: " + plenty},
		"CLI":       {cliPort, plenty},
		"WebSocket": {httpPort, handshake + "\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00mask" + plenty},
	} {
		if err := s.closes(send.port, send.text, messageLimit+3*time.Second); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const handshake = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Protocol: ng.rtpengine.com\r\n\r\n"

// closes sends text; mediad has to close the connection within limit.
func (s *site) closes(port int, text string, limit time.Duration) error {
	conn, err := net.DialTimeout("tcp", s.address(port), 2*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, text)
	}()
	n, err := io.Copy(io.Discard, conn)
	_ = conn.Close()
	<-sent
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the connection stays open")
	}
	if n > int64(len(text)) {
		return fmt.Errorf("%d bytes came back for %d", n, len(text))
	}
	return nil
}

// slowControl opens many connections that never finish what they began: they are
// closed, and honest clients get through.
func (s *site) slowControl(t *testing.T) {
	began := map[int]string{
		streamPort: "slow d7:command4:pi",
		httpPort:   "POST /ng HTTP/1.1\r\nHost: x\r\nContent-Le",
		cliPort:    "list nu",
	}
	var conns []net.Conn
	for port, text := range began {
		for i := range 150 {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: s.attacker(i)}, Timeout: 2 * time.Second}
			conn, err := d.Dial("tcp", s.address(port))
			if err != nil {
				t.Fatalf("port %d: %v", port, err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
		}
	}
	s.serves(t) // the CLI has few connections, and they are taken for ten seconds
	deadline := time.Now().Add(messageLimit + 4*time.Second)
	open := map[string]int{}
	for _, conn := range conns {
		_ = conn.SetReadDeadline(deadline)
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			open[conn.RemoteAddr().String()]++
		}
	}
	if len(open) > 0 {
		t.Errorf("slow connections that are still open: %v", open)
	}
	s.serves(t)
	s.servesCLI(t)
}

// serves asks mediad over TCP and HTTP.
func (s *site) serves(t *testing.T) {
	t.Helper()
	if err := harness.Eventually(3*time.Second, func() error {
		conn, err := net.DialTimeout("tcp", s.address(streamPort), time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		buffer := make([]byte, 100)
		if _, err := fmt.Fprintf(conn, "honest%d d7:command4:pinge", time.Now().UnixNano()); err != nil {
			return err
		}
		n, err := conn.Read(buffer)
		if err == nil && !bytes.Contains(buffer[:n], []byte("pong")) {
			err = fmt.Errorf("answer %q", buffer[:n])
		}
		return err
	}); err != nil {
		t.Errorf("ng over TCP: %v", err)
	}
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + s.address(httpPort) + "/ping")
	if err != nil {
		t.Errorf("HTTP: %v", err)
		return
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("HTTP: %s", response.Status)
	}
}

func (s *site) servesCLI(t *testing.T) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.address(cliPort), time.Second)
	if err != nil {
		t.Errorf("CLI: %v", err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(conn, "list numsessions\n"); err != nil {
		t.Errorf("CLI: %v", err)
	}
	if text, err := io.ReadAll(conn); err != nil || !bytes.Contains(text, []byte("sessions")) {
		t.Errorf("CLI: %q (%v)", text, err)
	}
}

// offerOf is the body of an offer with one m= line.
func offerOf(call, tag, port string) string {
	sdp := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio " + port + " RTP/AVP 8\r\na=x:" + strings.Repeat("y", 500) + "\r\n"
	return fmt.Sprintf("d7:command5:offer7:call-id%d:%s8:from-tag%d:%s3:sdp%d:%se", len(call), call, len(tag), tag, len(sdp), sdp)
}

// callIDs opens calls until mediad refuses them, and goes on.
func (s *site) callIDs(t *testing.T, count int, port string) {
	ok, refused := s.offers(t, count, func(i int) string { return offerOf(fmt.Sprintf("attack-%s-%d", port, i), "a", port) })
	t.Logf("%d offers: %d calls opened, %d refused", count, ok, refused)
	if refused == 0 {
		t.Error("no call was refused")
	}
	s.hangUp(t)
}

// tags opens parties of one call.
func (s *site) tags(t *testing.T, count int) {
	ok, refused := s.offers(t, count, func(i int) string { return offerOf("attack-tags", fmt.Sprintf("tag-%d", i), "0") })
	t.Logf("%d offers: %d parties, %d refused", count, ok, refused)
	s.hangUp(t)
}

// offers sends bodies, several at a time, and counts what they come to.
func (s *site) offers(t *testing.T, count int, body func(int) string) (ok, refused int) {
	t.Helper()
	conn, err := net.Dial("udp", s.address(ngPort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buffer := make([]byte, 65535)
	for sent, answered := 0, 0; answered < count; {
		for ; sent < count && sent < answered+64; sent++ {
			if _, err := fmt.Fprintf(conn, "offer-%d-%d %s", time.Now().UnixNano(), sent, body(sent)); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := conn.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			answered = sent // lost: nobody repeats here
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if answered++; bytes.Contains(buffer[:n], []byte("result2:ok")) {
			ok++
		} else {
			refused++
		}
	}
	return ok, refused
}
