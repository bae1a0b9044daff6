package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	domain   = "storm.test"
	password = "storm-password"
	// answerTime is how long a user waits for an answer; Timer F is 32 s.
	answerTime = 32 * time.Second
)

// agent is a user agent that registers, calls and answers whatever rings. Its calls survive its connection.
type agent struct {
	name, via, host string

	mu      sync.Mutex
	link    link
	cseq    int
	waiting map[string]chan string // branch → responses
	ended   map[string]bool        // Call-IDs that the other side or the proxy has ended
}

func newAgent(name, via, host string) *agent {
	return &agent{name: name, via: via, host: host, waiting: map[string]chan string{}, ended: map[string]bool{}}
}

// attach takes a new connection into use.
func (a *agent) attach(l link) {
	a.mu.Lock()
	a.link = l
	a.mu.Unlock()
	go func() {
		for {
			message, err := l.receive()
			if err != nil {
				return
			}
			a.take(l, message)
		}
	}()
}

// detach cuts it.
func (a *agent) detach() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.link != nil {
		a.link.close()
		a.link = nil
	}
}

// take handles what comes.
func (a *agent) take(l link, message string) {
	if strings.HasPrefix(message, "SIP/2.0 ") {
		a.mu.Lock()
		waiting := a.waiting[branchOf(message)]
		a.mu.Unlock()
		if waiting != nil {
			select {
			case waiting <- message:
			default:
			}
		}
		return
	}
	method, _, _ := strings.Cut(message, " ")
	switch method {
	case "ACK":
		return
	case "BYE":
		a.mu.Lock()
		a.ended[header(message, "Call-ID")] = true
		a.mu.Unlock()
	}
	var b strings.Builder
	b.WriteString("SIP/2.0 200 OK\r\n")
	for _, name := range []string{"Via", "Record-Route", "From", "To", "Call-ID", "CSeq"} {
		for _, v := range headers(message, name) {
			if name == "To" && !strings.Contains(v, "tag=") {
				v += ";tag=" + a.name
			}
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	b.WriteString("Contact: " + a.contact() + "\r\nContent-Length: 0\r\n\r\n")
	_ = l.send([]byte(b.String()))
}

func (a *agent) contact() string { return "<sip:" + a.name + "@" + a.host + ">" }

// request sends a request, proves who it is from when asked to, and returns the final response.
func (a *agent) request(method, uri, to, callID string, more ...string) (string, error) {
	credentials := ""
	for {
		a.mu.Lock()
		a.cseq++
		seq, l := a.cseq, a.link
		branch := fmt.Sprintf("z9hG4bK%s-%d", a.name, seq)
		responses := make(chan string, 8)
		a.waiting[branch] = responses
		a.mu.Unlock()
		if l == nil {
			return "", errors.New("not connected")
		}
		text := func(method, to string, more ...string) []byte {
			head := []string{
				method + " " + uri + " SIP/2.0", "Via: SIP/2.0/" + a.via + " " + a.host + ";branch=" + branch + ";rport", "Max-Forwards: 70",
				"From: <sip:" + a.name + "@" + domain + ">;tag=" + a.name, "To: " + to, "Call-ID: " + callID,
				fmt.Sprintf("CSeq: %d %s", seq, method),
			}
			return []byte(strings.Join(append(head, more...), "\r\n") + "\r\nContent-Length: 0\r\n\r\n")
		}
		lines := append([]string{"Contact: " + a.contact() + `;+sip.instance="<urn:uuid:` + a.name + `>";reg-id=1`}, more...)
		if credentials != "" {
			lines = append(lines, credentials)
		}
		res, err := a.exchange(l, text(method, to, lines...), responses)
		a.mu.Lock()
		delete(a.waiting, branch)
		a.mu.Unlock()
		if err != nil {
			return "", err
		}
		if method == "INVITE" && !strings.HasPrefix(res, "SIP/2.0 2") {
			if err := l.send(text("ACK", header(res, "To"))); err != nil {
				return "", err
			}
		}
		challenge, answer := header(res, "WWW-Authenticate"), "Authorization: "
		if challenge == "" {
			challenge, answer = header(res, "Proxy-Authenticate"), "Proxy-Authorization: "
		}
		if challenge == "" || credentials != "" {
			return res, nil
		}
		credentials = answer + a.prove(challenge, method, uri)
	}
}

// exchange sends, repeats over UDP, and waits for the final response.
func (a *agent) exchange(l link, message []byte, responses <-chan string) (string, error) {
	if err := l.send(message); err != nil {
		return "", err
	}
	_, reliable := l.(*webLink)
	limit, again := time.After(answerTime), time.NewTicker(500*time.Millisecond)
	defer again.Stop()
	for {
		select {
		case res := <-responses:
			if !strings.HasPrefix(res, "SIP/2.0 1") {
				return res, nil
			}
		case <-again.C:
			if !reliable {
				_ = l.send(message)
			}
		case <-limit:
			return "", errors.New("no answer in " + answerTime.String())
		}
	}
}

// prove answers a SHA-256 challenge (RFC 7616).
func (a *agent) prove(challenge, method, uri string) string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	nonce := parameter(challenge, "nonce")
	ha1, ha2 := hash(a.name+":"+domain+":"+password), hash(method+":"+uri)
	response := hash(ha1 + ":" + nonce + ":00000001:storm:auth:" + ha2)
	return fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", algorithm=SHA-256, qop=auth, nc=00000001, cnonce="storm", response="%s"`,
		a.name, domain, nonce, uri, response)
}

func (a *agent) register() error {
	res, err := a.request("REGISTER", "sip:"+domain, "<sip:"+a.name+"@"+domain+">", "register-"+a.name, "Expires: 600")
	if err == nil && !strings.HasPrefix(res, "SIP/2.0 200") {
		err = errors.New("REGISTER: " + firstLine(res))
	}
	return err
}

// call is one that a caller has made.
type call struct {
	caller      *agent
	id, to, uri string
	routes      []string
}

// dial calls somebody.
func (a *agent) dial(callee, id string) (*call, error) {
	uri := "sip:" + callee + "@" + domain
	res, err := a.request("INVITE", uri, "<"+uri+">", id)
	if err == nil && !strings.HasPrefix(res, "SIP/2.0 200") {
		err = errors.New("INVITE: " + firstLine(res))
	}
	if err != nil {
		return nil, err
	}
	c := &call{caller: a, id: id, to: header(res, "To"), uri: strings.Trim(header(res, "Contact"), "<>")}
	routes := headers(res, "Record-Route")
	for i := len(routes) - 1; i >= 0; i-- {
		c.routes = append(c.routes, "Route: "+routes[i])
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cseq++ // so that the branch is new; the number is that of the INVITE
	head := append([]string{
		"ACK " + c.uri + " SIP/2.0", fmt.Sprintf("Via: SIP/2.0/%s %s;branch=z9hG4bK%s-%d", a.via, a.host, a.name, a.cseq), "Max-Forwards: 70",
		"From: <sip:" + a.name + "@" + domain + ">;tag=" + a.name, "To: " + c.to, "Call-ID: " + id,
		strings.Replace("CSeq: "+header(res, "CSeq"), "INVITE", "ACK", 1),
	}, c.routes...)
	return c, a.link.send([]byte(strings.Join(head, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"))
}

// hangUp ends a call; an error says that it was lost before.
func (c *call) hangUp() error {
	c.caller.mu.Lock()
	ended := c.caller.ended[c.id]
	c.caller.mu.Unlock()
	if ended {
		return errors.New("ended by the proxy")
	}
	res, err := c.caller.request("BYE", c.uri, c.to, c.id, c.routes...)
	if err == nil && !strings.HasPrefix(res, "SIP/2.0 200") {
		err = errors.New("BYE: " + firstLine(res))
	}
	return err
}

func firstLine(message string) string {
	line, _, _ := strings.Cut(message, "\r\n")
	return line
}

func headers(message, name string) []string {
	head, _, _ := strings.Cut(message, "\r\n\r\n")
	var out []string
	for _, line := range strings.Split(head, "\r\n")[1:] {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

func header(message, name string) string {
	if all := headers(message, name); len(all) > 0 {
		return all[0]
	}
	return ""
}

func branchOf(message string) string {
	_, rest, _ := strings.Cut(header(message, "Via"), "branch=")
	branch, _, _ := strings.Cut(rest, ";")
	return branch
}

func parameter(value, name string) string {
	_, rest, _ := strings.Cut(value, name+`="`)
	text, _, _ := strings.Cut(rest, `"`)
	return text
}
