//go:build integration

package mission

import (
	"bufio"
	"crypto/md5"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// client is a SIP user agent by hand, for what phones and pages do not do: to come without a password, or to vanish.
type client struct {
	t         *testing.T
	conn      net.Conn
	in        *bufio.Reader // TCP only
	user      string
	callID    string
	transport string
	cseq      int
	proof     string // Authorization that was accepted
}

var clients atomic.Int64

func newClient(t *testing.T, network, local, remote, user string) *client {
	t.Helper()
	dialer := net.Dialer{Timeout: 2 * time.Second}
	var err error
	if network == "udp" {
		dialer.LocalAddr, err = net.ResolveUDPAddr("udp", local+":0")
	} else {
		dialer.LocalAddr, err = net.ResolveTCPAddr("tcp", local+":0")
	}
	must(t, err)
	conn, err := dialer.Dial(network, remote)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	n := clients.Add(1)
	c := &client{t: t, conn: conn, user: user, transport: strings.ToUpper(network), callID: fmt.Sprintf("call%d@exam", n)}
	if network == "tcp" {
		c.in = bufio.NewReader(conn)
	}
	return c
}

// host is one that nobody can call, as a browser's: the client is reached by its connection alone.
func (c *client) host() string { return strings.Replace(c.callID, "@exam", ".invalid", 1) }

func (c *client) contact() string {
	return fmt.Sprintf("<sip:%s@%s;transport=%s>", c.user, c.host(), strings.ToLower(c.transport))
}

// send sends a request of its own; headers are lines.
func (c *client) send(method, uri string, headers ...string) {
	c.t.Helper()
	c.cseq++
	to := "sip:" + c.user + "@" + harness.Domain
	if method != "REGISTER" {
		to = uri
	}
	text := fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s;rport;branch=z9hG4bK%s%d\r\nMax-Forwards: 70\r\nFrom: <sip:%s@%s>;tag=%s\r\n"+
		"To: <%s>\r\nCall-ID: %s\r\nCSeq: %d %s\r\n", method, uri, c.transport, c.conn.LocalAddr(), c.callID[:len(c.callID)-5], c.cseq,
		c.user, harness.Domain, c.callID[:len(c.callID)-5], to, c.callID, c.cseq, method)
	for _, h := range headers {
		text += h + "\r\n"
	}
	c.write(text + "Content-Length: 0\r\n\r\n")
}

func (c *client) write(text string) {
	c.t.Helper()
	_, err := io.WriteString(c.conn, text)
	must(c.t, err)
}

// receive reads the next message that is no 100; none of the exam's has a body.
func (c *client) receive() string {
	c.t.Helper()
	for {
		_ = c.conn.SetReadDeadline(time.Now().Add(step))
		var text strings.Builder
		if c.in == nil {
			buffer := make([]byte, 65535)
			n, err := c.conn.Read(buffer)
			must(c.t, err)
			text.Write(buffer[:n])
		}
		for c.in != nil {
			line, err := c.in.ReadString('\n')
			must(c.t, err)
			text.WriteString(line)
			if line == "\r\n" && text.Len() > 2 {
				break
			}
		}
		if m := text.String(); !strings.HasPrefix(m, "SIP/2.0 100") {
			return m
		}
	}
}

var (
	statusLine = regexp.MustCompile(`^SIP/2\.0 (\d+)`)
	challenge  = regexp.MustCompile(`(?im)^((?:WWW|Proxy)-Authenticate): Digest ([^\r]*)`)
	quoted     = func(name string) *regexp.Regexp { return regexp.MustCompile(name + `="?([^",]+)"?`) }
)

func code(message string) int {
	m := statusLine.FindStringSubmatch(message)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// prove answers the first challenge by MD5.
func (c *client) prove(message, method, uri string) string {
	c.t.Helper()
	for _, m := range challenge.FindAllStringSubmatch(message, -1) {
		value := func(name string) string {
			if v := quoted(name).FindStringSubmatch(m[2]); v != nil {
				return v[1]
			}
			return ""
		}
		if a := value("algorithm"); a != "" && !strings.EqualFold(a, "MD5") {
			continue
		}
		hash := func(s string) string { return fmt.Sprintf("%x", md5.Sum([]byte(s))) }
		a1, a2 := hash(c.user+":"+value("realm")+":"+harness.Password), hash(method+":"+uri)
		name := "Authorization"
		if strings.HasPrefix(strings.ToLower(m[1]), "proxy") {
			name = "Proxy-Authorization"
		}
		answer := fmt.Sprintf(`%s: Digest username="%s", realm="%s", nonce="%s", uri="%s", algorithm=MD5`, name, c.user, value("realm"), value("nonce"), uri)
		if strings.Contains(m[2], "qop") {
			return answer + fmt.Sprintf(`, qop=auth, nc=00000001, cnonce="exam", response="%s"`, hash(a1+":"+value("nonce")+":00000001:exam:auth:"+a2))
		}
		return answer + fmt.Sprintf(`, response="%s"`, hash(a1+":"+value("nonce")+":"+a2))
	}
	c.t.Fatalf("no challenge by MD5 in\n%s", message)
	return ""
}

// register registers for expires seconds, with the password where it is asked for, and returns the final response.
func (c *client) register(expires int) string {
	c.t.Helper()
	uri := "sip:" + harness.Domain
	headers := []string{fmt.Sprintf("Contact: %s;expires=%d", c.contact(), expires)}
	with := headers
	if c.proof != "" {
		with = append(with, c.proof)
	}
	c.send("REGISTER", uri, with...)
	res := c.receive()
	if code(res) == 401 {
		c.proof = c.prove(res, "REGISTER", uri)
		c.send("REGISTER", uri, append(headers, c.proof)...)
		res = c.receive()
	}
	return res
}

// answer is a 200 to a request.
func (c *client) answer(request string) {
	c.t.Helper()
	var lines []string
	for _, line := range strings.Split(request, "\r\n")[1:] {
		name, _, _ := strings.Cut(line, ":")
		switch strings.ToLower(name) {
		case "via", "from", "call-id", "cseq":
			lines = append(lines, line)
		case "to":
			lines = append(lines, line+";tag="+c.user)
		}
	}
	c.write("SIP/2.0 200 OK\r\n" + strings.Join(lines, "\r\n") + "\r\nContent-Length: 0\r\n\r\n")
}
