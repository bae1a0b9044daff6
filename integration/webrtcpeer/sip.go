package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// userAgent is a one-call SIP endpoint on a WebSocket (RFC 7118).
type userAgent struct {
	cfg     config
	ws      *websocket.Conn
	host    string // our .invalid host
	in      chan sip.Message
	ended   chan struct{} // closed when the peer sent BYE or the socket died
	cancel  context.CancelFunc
	done    chan struct{}
	dialog  dialogState
	replies chan *sip.Response
}

type dialogState struct {
	callID, localTag, local, remote, target string
	routes                                  []string
	cseq                                    int
}

func token() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

func dial(ctx context.Context, cfg config) (*userAgent, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ws, _, err := websocket.Dial(ctx, cfg.url, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"sip"}})
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", cfg.url, err)
	}
	ws.SetReadLimit(1 << 17)
	ctx, cancel := context.WithCancel(context.Background())
	ua := &userAgent{cfg: cfg, ws: ws, host: token() + ".invalid", cancel: cancel,
		in: make(chan sip.Message, 16), replies: make(chan *sip.Response, 16),
		ended: make(chan struct{}), done: make(chan struct{})}
	go ua.read(ctx)
	return ua, nil
}

func (ua *userAgent) close() {
	_ = ua.ws.Close(websocket.StatusNormalClosure, "")
	ua.cancel()
	<-ua.done
}

// read delivers INVITE to in, responses to replies, and answers the rest.
func (ua *userAgent) read(ctx context.Context) {
	defer close(ua.done)
	defer func() {
		select {
		case <-ua.ended:
		default:
			close(ua.ended)
		}
	}()
	for {
		_, data, err := ua.ws.Read(ctx)
		if err != nil {
			return
		}
		msg, err := sip.ParseMessage(data)
		if err != nil {
			continue
		}
		switch m := msg.(type) {
		case *sip.Response:
			select {
			case ua.replies <- m:
			default:
			}
		case *sip.Request:
			switch m.Method {
			case sip.INVITE, sip.ACK:
				select {
				case ua.in <- m:
				default:
				}
			case sip.BYE:
				ua.send(reply(m, 200, "OK", "", "", ""))
				return
			default:
				ua.send(reply(m, 200, "OK", "", "", ""))
			}
		}
	}
}

func (ua *userAgent) send(text string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = ua.ws.Write(ctx, websocket.MessageText, []byte(text))
}

// reply copies the headers RFC 3261 §8.2.6.2 asks for.
func reply(req *sip.Request, code int, reason, toTag, contact, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %d %s\r\n", code, reason)
	for _, name := range []string{"Via", "Record-Route", "From", "To", "Call-ID", "CSeq"} {
		for _, h := range req.GetHeaders(name) {
			v := h.Value()
			if name == "To" && toTag != "" && !strings.Contains(v, ";tag=") {
				v += ";tag=" + toTag
			}
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	if contact != "" {
		fmt.Fprintf(&b, "Contact: <%s>\r\n", contact)
	}
	if body != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

func (ua *userAgent) contact() string {
	return "sip:" + ua.cfg.user + "@" + ua.host + ";transport=ws"
}

// request builds a request with the headers every one of ours has.
func (ua *userAgent) request(method, uri string, cseq int, from, to, callID, extra, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\n", method, uri)
	fmt.Fprintf(&b, "Via: SIP/2.0/WSS %s;branch=z9hG4bK%s\r\n", ua.host, token())
	fmt.Fprintf(&b, "Max-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n", from, to, callID, cseq, method)
	b.WriteString(extra)
	if body != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// transact sends a request, once more with credentials when challenged, and
// returns the final response. Provisional ones go to early.
func (ua *userAgent) transact(ctx context.Context, build func(cseq int, auth string) string, method, uri string, early func(*sip.Response) error) (*sip.Response, int, error) {
	auth := ""
	for cseq := 1; cseq <= 2; cseq++ {
		text := build(cseq, auth)
		ua.send(text)
		res, err := ua.final(ctx, early)
		if err != nil {
			return nil, cseq, err
		}
		challenge, name := "WWW-Authenticate", "Authorization"
		if res.StatusCode == 407 {
			challenge, name = "Proxy-Authenticate", "Proxy-Authorization"
		}
		if (res.StatusCode != 401 && res.StatusCode != 407) || cseq == 2 {
			return res, cseq, nil
		}
		if method == "INVITE" {
			ua.send(ackFor(text, res))
		}
		h := res.GetHeader(challenge)
		if h == nil {
			return nil, cseq, fmt.Errorf("%d without %s", res.StatusCode, challenge)
		}
		chal, err := digest.ParseChallenge(h.Value())
		if err != nil {
			return nil, cseq, fmt.Errorf("challenge %q: %w", h.Value(), err)
		}
		cred, err := digest.Digest(chal, digest.Options{Method: method, URI: uri, Username: ua.cfg.user, Password: ua.cfg.password, Count: 1})
		if err != nil {
			return nil, cseq, err
		}
		auth = name + ": " + cred.String() + "\r\n"
	}
	return nil, 0, errors.New("unreachable")
}

func (ua *userAgent) final(ctx context.Context, early func(*sip.Response) error) (*sip.Response, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ua.done:
			return nil, errors.New("connection closed by the proxy")
		case res := <-ua.replies:
			if res.StatusCode >= 200 {
				return res, nil
			}
			if early != nil {
				if err := early(res); err != nil {
					return nil, err
				}
			}
		}
	}
}

// ackFor makes the hop's ACK of a failure from the INVITE's own text
// (RFC 3261 §17.1.1.3: same branch, To of the response).
func ackFor(invite string, res *sip.Response) string {
	head, _, _ := strings.Cut(invite, "\r\n\r\n")
	var b strings.Builder
	for i, line := range strings.Split(head, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		switch {
		case i == 0:
			b.WriteString("ACK" + strings.TrimPrefix(line, "INVITE") + "\r\n")
		case name == "To":
			fmt.Fprintf(&b, "To: %s\r\n", res.To().Value())
		case name == "CSeq":
			b.WriteString(strings.Replace(line, "INVITE", "ACK", 1) + "\r\n")
		case name == "Via", name == "From", name == "Call-ID", name == "Max-Forwards":
			b.WriteString(line + "\r\n")
		}
	}
	return b.String() + "Content-Length: 0\r\n\r\n"
}

func (ua *userAgent) aor(user string) string { return "sip:" + user + "@" + ua.cfg.domain }

func (ua *userAgent) register(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	uri, callID, tag := "sip:"+ua.cfg.domain, token(), token()
	self := "<" + ua.aor(ua.cfg.user) + ">"
	res, _, err := ua.transact(ctx, func(cseq int, auth string) string {
		extra := fmt.Sprintf("Contact: <%s>;expires=600\r\nSupported: path, outbound\r\n%s", ua.contact(), auth)
		return ua.request("REGISTER", uri, cseq, self+";tag="+tag, self, callID, extra, "")
	}, "REGISTER", uri, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != 200 {
		return fmt.Errorf("%d %s", res.StatusCode, res.Reason)
	}
	return nil
}

func (ua *userAgent) invite(ctx context.Context, user string, med *mediaSession) error {
	offer, err := med.offer(ctx)
	if err != nil {
		return err
	}
	d := &ua.dialog
	d.callID, d.localTag = token(), token()
	uri := ua.aor(user)
	d.local = "<" + ua.aor(ua.cfg.user) + ">;tag=" + d.localTag
	apply := func(res *sip.Response) error {
		if len(res.Body()) == 0 {
			return nil
		}
		return med.accept(string(res.Body()))
	}
	res, cseq, err := ua.transact(ctx, func(cseq int, auth string) string {
		return ua.request("INVITE", uri, cseq, d.local, "<"+uri+">", d.callID, "Contact: <"+ua.contact()+">\r\n"+auth, offer)
	}, "INVITE", uri, apply)
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	if res.StatusCode != 200 {
		return fmt.Errorf("invite: %d %s", res.StatusCode, res.Reason)
	}
	d.remote, d.cseq = res.To().Value(), cseq
	d.target = res.Contact().Address.String()
	for _, h := range res.GetHeaders("Record-Route") {
		d.routes = append([]string{h.Value()}, d.routes...)
	}
	ua.send(ua.inDialog("ACK", cseq))
	if err := apply(res); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// answer waits for an INVITE and accepts it.
func (ua *userAgent) answer(ctx context.Context, med *mediaSession, out *reporter) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for a call: %w", ctx.Err())
		case <-ua.done:
			return errors.New("connection closed by the proxy")
		case msg := <-ua.in:
			req, ok := msg.(*sip.Request)
			if !ok || req.Method != sip.INVITE {
				continue
			}
			out.emit(event{Event: "incoming", SDP: string(req.Body())})
			tag := token()
			ua.send(reply(req, 180, "Ringing", tag, ua.contact(), ""))
			body, err := med.answerTo(ctx, string(req.Body()))
			if err != nil {
				ua.send(reply(req, 488, "Not Acceptable Here", tag, "", ""))
				return fmt.Errorf("offer: %w", err)
			}
			ua.send(reply(req, 200, "OK", tag, ua.contact(), body))
			d := &ua.dialog
			d.callID, d.localTag = req.CallID().Value(), tag
			d.local, d.remote = req.To().Value()+";tag="+tag, req.From().Value()
			d.target = req.Contact().Address.String()
			for _, h := range req.GetHeaders("Record-Route") {
				d.routes = append(d.routes, h.Value())
			}
			return nil
		}
	}
}

// reinvited answers a re-INVITE with an offer. A peer with another certificate is
// another DTLS association (RFC 8842 §5.1), which pion has by another peer
// connection only; that is returned. A browser does the same inside.
func (ua *userAgent) reinvited(ctx context.Context, msg sip.Message, med *mediaSession) (*mediaSession, error) {
	req, ok := msg.(*sip.Request)
	if !ok || req.Method != sip.INVITE || !strings.Contains(req.To().Value(), ";tag=") {
		return nil, nil
	}
	offer := string(req.Body())
	if fingerprint(offer) == fingerprint(med.remoteSDP()) {
		ua.send(reply(req, 488, "Not Acceptable Here", "", "", ""))
		return nil, errors.New("re-INVITE that changes nothing about DTLS")
	}
	renewed, err := newMedia(ua.cfg.tone)
	if err != nil {
		return nil, err
	}
	body, err := renewed.answerTo(ctx, offer)
	if err != nil {
		ua.send(reply(req, 488, "Not Acceptable Here", "", "", ""))
		renewed.close()
		return nil, fmt.Errorf("re-INVITE: %w", err)
	}
	ua.send(reply(req, 200, "OK", "", ua.contact(), body))
	return renewed, nil
}

// fingerprint is the first one of a description.
func fingerprint(sdp string) string {
	_, rest, _ := strings.Cut(sdp, "a=fingerprint:")
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

func (ua *userAgent) inDialog(method string, cseq int) string {
	d := &ua.dialog
	var extra strings.Builder
	for _, r := range d.routes {
		fmt.Fprintf(&extra, "Route: %s\r\n", r)
	}
	return ua.request(method, d.target, cseq, d.local, d.remote, d.callID, extra.String(), "")
}

func (ua *userAgent) bye() error {
	ua.dialog.cseq++
	ua.send(ua.inDialog("BYE", ua.dialog.cseq))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, err := ua.final(ctx, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != 200 {
		return fmt.Errorf("%d %s", res.StatusCode, res.Reason)
	}
	return nil
}
