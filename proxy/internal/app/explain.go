package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/edge"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
)

// errNoListener says that no listener has the name.
var errNoListener = errors.New("listener: there is none of this name")

// Explain tells in words what the proxy would do with a request that came from a source by a listener ("" = the first): who it is, which
// route it takes, where it goes and what the media daemon is told. Of somebody who is no trunk it supposes that he proves to be whom From
// names. Nothing is sent and nothing changes, but that weighted targets may come in another order the next time.
func (a *App) Explain(ctx context.Context, message []byte, from netip.AddrPort, listener string) (string, error) {
	msg, err := edge.Read(message)
	if err != nil {
		return "", fmt.Errorf("the message is malformed: %w", err)
	}
	asked, ok := msg.(*sip.Request)
	if !ok {
		return "", errors.New("the message is no request")
	}
	conn := a.edge.Supposed(from, listener)
	if conn == nil {
		return "", errNoListener
	}
	r := &request.Request{
		Msg: asked, Original: asked, Conn: conn, Source: from, InDialog: request.ToTag(asked) != "", Profile: conn.Profile(), Log: zap.NewNop(),
	}
	var b strings.Builder
	fmt.Fprintf(&b, "request   %s %s by %s (%s) from %s\n", asked.Method, asked.Recipient.String(), conn.Listener(), conn.Transport(), from)
	if r.InDialog {
		b.WriteString("decision  it belongs to a dialog and goes where the dialog's Record-Route says, or is answered 481\n")
		return b.String(), nil
	}
	if err := a.identify(r, &b); err != nil {
		fmt.Fprintf(&b, "decision  refused: %v\n", err)
		return b.String(), nil
	}
	if asked.Method == sip.REGISTER {
		b.WriteString("decision  the registrar takes it\n")
		return b.String(), nil
	}
	if _, err := a.trunks.Handle(ctx, r); err != nil {
		fmt.Fprintf(&b, "decision  refused: %v\n", err)
		return b.String(), nil
	}
	a.explainRoute(ctx, r, &b)
	return b.String(), nil
}

// identify finds the trunk or the user.
func (a *App) identify(r *request.Request, b *strings.Builder) error {
	for _, t := range trunksOf(a.settings.Load()) {
		if t.Knows(r.Conn, r.Source.Addr()) && r.Msg.Method != sip.REGISTER {
			r.Trunk = t.Name
			if t.Profile != "" {
				r.Profile = t.Profile
			}
			fmt.Fprintf(b, "caller    trunk %s, known by its source\n", t.Name)
			return nil
		}
	}
	header := "From"
	if r.Msg.Method == sip.REGISTER {
		header = "To"
	}
	identity, err := request.ParseAddress(request.Header(r.Msg, header))
	if err != nil {
		return fmt.Errorf("400 Bad %s: %w", header, err)
	}
	realm, own := settings.NewDomains(a.settings.Load().Domains, names(a.settings.Load())...).Canonical(identity.URI.Host)
	if !own {
		return fmt.Errorf("403 Forbidden: %s names a foreign domain, and the source is no trunk", header)
	}
	r.User = identity.URI.User + "@" + realm
	fmt.Fprintf(b, "caller    user %s, if he has the password\n", r.User)
	return nil
}

func (a *App) explainRoute(ctx context.Context, r *request.Request, b *strings.Builder) {
	fmt.Fprintf(b, "side      %s\n", a.side(r.Profile))
	e := a.route.Explain(ctx, r)
	for _, rule := range e.Rules {
		reason := "taken"
		if rule.Reason != "" {
			reason = "not taken: " + rule.Reason
		}
		fmt.Fprintf(b, "route     routes[%d] %s: %s\n", rule.Index, rule.Name, reason)
	}
	if len(e.Targets) == 0 {
		fmt.Fprintf(b, "decision  answered %d %s: %s\n", e.Code, e.Reason, e.Why)
		return
	}
	fmt.Fprintf(b, "decision  %s\n", e.Why)
	for _, t := range e.Targets {
		fmt.Fprintf(b, "target    %s", t.URI.String())
		if t.NextHop.Host != "" {
			fmt.Fprintf(b, " by %s", t.NextHop.String())
		}
		if t.Trunk != "" {
			fmt.Fprintf(b, ", trunk %s", t.Trunk)
		}
		if t.Conn != nil {
			fmt.Fprintf(b, ", connection from %s", t.Conn.Remote())
		}
		fmt.Fprintf(b, ", preference %d\n          %s\n", t.Q, a.side(t.Profile))
	}
}

// side tells a leg profile.
func (a *App) side(name string) string {
	p, ok := a.settings.Load().Profiles[name]
	if !ok {
		return "profile " + name
	}
	text := "profile " + name + ": SDP towards it with the flags " + p.Flags
	if p.Interface != "" {
		text += ", interface " + p.Interface
	}
	return text
}

// AskToExplain has the proxy that runs with a configuration file explain a request, which is read from in. from is ADDRESS:PORT, with
// @LISTENER behind it for another listener than the first.
func AskToExplain(ctx context.Context, file, from string, in io.Reader, out io.Writer) error {
	s, err := Load(file)
	if err != nil {
		return err
	}
	if s.Admin.Address.IsZero() {
		return errors.New(file + ": admin.address: missing; the running proxy is asked by it")
	}
	source, listener, _ := strings.Cut(from, "@")
	if _, err := netip.ParseAddrPort(source); err != nil {
		return fmt.Errorf("FROM: %w", err)
	}
	where := url.URL{
		Scheme: "http", Host: net.JoinHostPort(s.Admin.Address.Host, strconv.Itoa(int(s.Admin.Address.Port))), Path: "/explain",
		RawQuery: url.Values{"from": {source}, "listener": {listener}}.Encode(),
	}
	message, err := io.ReadAll(io.LimitReader(in, maxExplanation))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, where.String(), bytes.NewReader(crlf(message)))
	if err != nil {
		return err
	}
	if token := s.Admin.Token.Reveal(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxExplanation))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(text))
	}
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// maxExplanation bounds an answer, in bytes.
const maxExplanation = 1 << 20

// crlf gives a request that was typed with plain line ends, and perhaps without the empty line at its end, those that SIP wants.
func crlf(text []byte) []byte {
	if !bytes.Contains(text, []byte("\r\n")) {
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	if !bytes.Contains(text, []byte("\r\n\r\n")) {
		text = append(bytes.TrimRight(text, "\r\n"), "\r\n\r\n"...)
	}
	return text
}
