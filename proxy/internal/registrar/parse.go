package registrar

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Bounds of what is stored of a client's words.
const (
	maxContacts  = 32   // of one request
	maxURI       = 1024 // bytes of a contact
	maxParams    = 1024 // bytes of its parameters
	maxPath      = 8
	maxUserAgent = 128 // bytes
)

// parse reads what the REGISTER asks for.
func (s *Step) parse(r *request.Request, aor location.AoR) (*change, error) {
	msg := r.Msg
	c := &change{callID: r.CallID()}
	c.cseq, _ = request.CSeq(msg)
	if c.callID == "" {
		return nil, request.Fail(400, "Bad Request", nil)
	}
	contacts, err := request.Addresses(msg, "Contact")
	if err != nil {
		return nil, request.Fail(400, "Bad Contact", err)
	}
	if len(contacts) > maxContacts {
		return nil, request.Fail(400, "Too Many Contacts", nil)
	}
	path, err := paths(msg)
	if err != nil {
		return nil, err
	}
	for i := range contacts {
		if contacts[i].Wildcard() {
			// RFC 3261 §10.3 step 6
			if len(contacts) != 1 || request.Header(msg, "Expires") != "0" {
				return nil, request.Fail(400, "Contact * needs Expires 0", nil)
			}
			c.all = true
			return c, nil
		}
		b, lifetime, err := s.binding(r, &contacts[i])
		if err != nil {
			return nil, err
		}
		b.AoR, b.CallID, b.CSeq, b.Path = aor, c.callID, c.cseq, path
		if lifetime == 0 {
			c.drop = append(c.drop, b)
		} else {
			c.put = append(c.put, b)
		}
	}
	return c, nil
}

// binding makes a binding of one Contact; its lifetime is 0 if it is to be
// removed.
func (s *Step) binding(r *request.Request, contact *request.Address) (location.Binding, time.Duration, error) {
	uri := contact.URI
	if uri.Scheme != "sip" && uri.Scheme != "sips" || uri.Host == "" {
		return location.Binding{}, 0, request.Fail(400, "Bad Contact", nil)
	}
	lifetime, err := s.lifetime(r.Msg, contact)
	if err != nil {
		return location.Binding{}, 0, err
	}
	uri.Headers = nil // not allowed in a Contact that is to be called (RFC 3261 §19.1.1)
	now := s.now()
	b := location.Binding{
		Contact:    uri.String(),
		Key:        key(&uri),
		Params:     echoed(contact.Params),
		Q:          quality(contact.Params),
		Source:     r.Source,
		Profile:    r.Profile,
		UserAgent:  userAgent(r.Msg),
		Registered: now,
		Expires:    now.Add(lifetime),
	}
	if len(b.Contact) > maxURI || len(b.Params) > maxParams {
		return location.Binding{}, 0, request.Fail(400, "Contact Too Long", nil)
	}
	b.Instance, _ = request.Param(contact.Params, "+sip.instance")
	b.RegID, _ = request.Param(contact.Params, "reg-id")
	if r.Conn != nil {
		b.Connection = string(r.Conn.ID())
		b.Transport = string(r.Conn.Transport())
		b.Direct = direct(&uri, r)
	}
	return b, lifetime, nil
}

// lifetime is how long a contact asks to be bound (RFC 3261 §10.3 step 7).
func (s *Step) lifetime(msg *sip.Request, contact *request.Address) (time.Duration, error) {
	text, given := contact.Param("expires")
	if !given {
		text = request.Header(msg, "Expires")
	}
	// A value that is no number counts as absent (RFC 3261 §10.2.1.1).
	seconds, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil {
		return s.policy().DefaultExpires, nil
	}
	lifetime := time.Duration(seconds) * time.Second
	if lifetime > 0 && lifetime < s.policy().MinExpires {
		return 0, &request.Error{Code: 423, Reason: "Interval Too Brief", Headers: []sip.Header{
			sip.NewHeader("Min-Expires", strconv.Itoa(int(s.policy().MinExpires/time.Second)))}}
	}
	return min(lifetime, s.policy().MaxExpires), nil
}

// direct reports whether the contact may be dialled when the connection it was
// registered over is gone: only a stream whose contact is the address that the
// REGISTER came from, so nothing was translated on the way and nobody else is
// named.
func direct(uri *sip.Uri, r *request.Request) bool {
	if t := r.Conn.Transport(); t != request.TCP && t != request.TLS {
		return false
	}
	addr, err := netip.ParseAddr(strings.Trim(uri.Host, "[]"))
	return err == nil && addr.Unmap() == r.Source.Addr().Unmap()
}

// key is the form in which contacts are compared (RFC 3261 §19.1.4).
func key(uri *sip.Uri) string {
	var b strings.Builder
	b.WriteString(uri.Scheme)
	b.WriteByte(':')
	b.WriteString(uri.User)
	if uri.Password != "" {
		b.WriteString(":" + uri.Password)
	}
	b.WriteString("@" + strings.ToLower(uri.Host) + ":" + strconv.Itoa(uri.Port))
	for _, name := range []string{"transport", "user", "method", "maddr", "ttl"} {
		if value, ok := request.Param(uri.UriParams, name); ok {
			b.WriteString(";" + name + "=" + strings.ToLower(value))
		}
	}
	return b.String()
}

// echoed are the parameters that the client finds again in the 200.
func echoed(params sip.HeaderParams) string {
	var b strings.Builder
	for _, p := range params {
		if strings.EqualFold(p.K, "expires") || strings.EqualFold(p.K, "q") {
			continue
		}
		b.WriteString(";" + p.K)
		if p.V != "" {
			b.WriteString("=" + p.V)
		}
	}
	return b.String()
}

// quality is q in thousandths; 1000 if it is absent or wrong.
func quality(params sip.HeaderParams) int {
	text, ok := request.Param(params, "q")
	if !ok {
		return 1000
	}
	q, err := strconv.ParseFloat(text, 64)
	if err != nil || q < 0 || q > 1 { // NaN fails the round trip below
		return 1000
	}
	if n := int(q*1000 + 0.5); n >= 0 && n <= 1000 {
		return n
	}
	return 1000
}

func userAgent(msg *sip.Request) string {
	value := request.Header(msg, "User-Agent")
	return value[:min(len(value), maxUserAgent)]
}

// paths returns the URIs of all Path headers, topmost first.
func paths(msg *sip.Request) ([]string, error) {
	list, err := request.Addresses(msg, "Path")
	if err != nil {
		return nil, request.Fail(400, "Bad Path", err)
	}
	if len(list) > maxPath {
		return nil, request.Fail(400, "Path Too Long", nil)
	}
	out := make([]string, 0, len(list))
	for i := range list {
		if s := list[i].URI.Scheme; s != "sip" && s != "sips" {
			return nil, request.Fail(400, "Bad Path", nil)
		}
		out = append(out, list[i].URI.String())
	}
	return out, nil
}
