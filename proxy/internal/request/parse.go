package request

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// ErrSyntax is wrapped by all errors of the parsers below.
var ErrSyntax = errors.New("syntax error")

// Address is one value of From, To, Contact, Route, Record-Route, Path and the like (RFC 3261 §20.10), read leniently.
type Address struct {
	// Display is the display name without quotes.
	Display string
	URI     sip.Uri
	// Params are the header parameters (not those of the URI); names as received.
	Params sip.HeaderParams
	// Raw is the value as received.
	Raw string
}

// Wildcard reports Contact's "*".
func (a Address) Wildcard() bool { return a.Raw == "*" }

// Param reads a header parameter without regard to case.
func (a Address) Param(name string) (string, bool) { return Param(a.Params, name) }

// Addresses returns all values of a header of a message, comma-separated or not, in order. name is the canonical long
// name; values that cannot be read end the list with an error.
func Addresses(m sip.Message, name string) ([]Address, error) {
	var out []Address
	for _, h := range m.GetHeaders(name) {
		for _, v := range SplitList(h.Value()) {
			a, err := ParseAddress(v)
			if err != nil {
				return out, fmt.Errorf("%s: %w", name, err)
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// SplitList splits a header value at the commas outside of quotes and angle brackets.
func SplitList(s string) []string {
	var out []string
	for {
		i := indexOutside(s, ',')
		if i < 0 {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
			return out
		}
		if v := strings.TrimSpace(s[:i]); v != "" {
			out = append(out, v)
		}
		s = s[i+1:]
	}
}

// indexOutside finds c outside of quoted strings and angle brackets; -1 when absent.
func indexOutside(s string, c byte) int {
	quoted, bracket := false, false
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case quoted && b == '\\':
			i++
		case b == '"' && !bracket:
			quoted = !quoted
		case quoted:
		case b == c && !bracket:
			return i
		case b == '<':
			bracket = true
		case b == '>':
			bracket = false
		}
	}
	return -1
}

// ParseAddress reads one name-addr or addr-spec with its header parameters.
func ParseAddress(s string) (Address, error) {
	s = strings.TrimSpace(s)
	a := Address{Raw: s}
	if s == "*" {
		a.URI = sip.Uri{Host: "*", Wildcard: true}
		return a, nil
	}
	spec, rest := s, ""
	if open := indexOutside(s, '<'); open >= 0 {
		end := strings.IndexByte(s[open:], '>')
		if end < 0 {
			return a, fmt.Errorf("%w: address without '>'", ErrSyntax)
		}
		a.Display = unquote(strings.TrimSpace(s[:open]))
		spec, rest = s[open+1:open+end], s[open+end+1:]
	} else if semi := strings.IndexByte(s, ';'); semi >= 0 {
		spec, rest = s[:semi], s[semi:]
	}
	spec = strings.TrimSpace(spec)
	if err := ParseURI(spec, &a.URI); err != nil {
		return a, err
	}
	rest = strings.TrimSpace(rest)
	if rest != "" && rest[0] != ';' {
		return a, fmt.Errorf("%w: text behind the address", ErrSyntax)
	}
	a.Params = ParseParams(rest)
	return a, nil
}

// ParseURI reads a URI; unlike sipgo's it refuses a missing scheme, blanks, control characters, angle brackets and ports out of range.
func ParseURI(s string, uri *sip.Uri) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '<' || r == '>' || r == '"' || r == 0x7f }) {
		return fmt.Errorf("%w: character not allowed in a URI", ErrSyntax)
	}
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || !isScheme(scheme) {
		return fmt.Errorf("%w: URI without scheme", ErrSyntax)
	}
	if strings.ContainsAny(scheme, "+-.0123456789") { // sipgo knows schemes of letters only
		if err := sip.ParseUri("x:"+rest, uri); err != nil {
			return fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		uri.Scheme = strings.ToLower(scheme)
		return nil
	}
	if err := sip.ParseUri(s, uri); err != nil {
		return fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	if uri.Scheme != "sip" && uri.Scheme != "sips" {
		return nil
	}
	if uri.Host == "" || uri.Wildcard {
		return fmt.Errorf("%w: URI without host", ErrSyntax)
	}
	if strings.Contains(uri.Host, "@") { // "sip:@h@" would be written as another URI
		return fmt.Errorf("%w: URI with two @", ErrSyntax)
	}
	if uri.Port < 0 || uri.Port > 65535 {
		return fmt.Errorf("%w: port %d", ErrSyntax, uri.Port)
	}
	return nil
}

// isScheme reports a scheme (RFC 3986 §3.1). sipgo takes an empty one and writes "sip" in its place: another URI.
func isScheme(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || strings.IndexByte("+-.", c) >= 0)) {
			return false
		}
	}
	return s != ""
}

// ParseParams reads ";name[=value]…" with quoted values and blanks anywhere. Values keep their quotes unless they have
// blanks, for which sipgo's writer adds them again.
func ParseParams(s string) sip.HeaderParams {
	var out sip.HeaderParams
	for s != "" {
		s = strings.TrimSpace(strings.TrimLeft(s, "; \t"))
		if s == "" {
			break
		}
		part := s
		if i := indexOutside(s, ';'); i >= 0 {
			part, s = s[:i], s[i+1:]
		} else {
			s = ""
		}
		name, value, _ := strings.Cut(part, "=")
		value = strings.TrimSpace(value)
		if strings.ContainsAny(value, " \t") {
			value = strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
		}
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, sip.HeaderKV{K: name, V: value})
		}
	}
	return out
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
		if strings.IndexByte(s, '\\') >= 0 {
			var b strings.Builder
			for i := 0; i < len(s); i++ {
				if s[i] == '\\' && i+1 < len(s) {
					i++
				}
				b.WriteByte(s[i])
			}
			return b.String()
		}
	}
	return s
}

// ParseVia reads one Via value (RFC 3261 §20.42) with blanks around "/" and ":" and quoted parameters, where sipgo's
// own parser loses the host or cuts the value.
func ParseVia(s string) (*sip.ViaHeader, error) {
	head, params := s, ""
	if i := indexOutside(s, ';'); i >= 0 {
		head, params = s[:i], s[i:]
	}
	parts := strings.SplitN(head, "/", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("%w: Via", ErrSyntax)
	}
	transport, sentBy, ok := cutBlank(strings.TrimSpace(parts[2]))
	if !ok || sentBy == "" {
		return nil, fmt.Errorf("%w: Via without sent-by", ErrSyntax)
	}
	via := &sip.ViaHeader{
		ProtocolName:    strings.TrimSpace(parts[0]),
		ProtocolVersion: strings.TrimSpace(parts[1]),
		Transport:       transport,
		Params:          ParseParams(params),
	}
	host, port := sentBy, ""
	if strings.HasPrefix(sentBy, "[") {
		end := strings.IndexByte(sentBy, ']')
		if end < 0 {
			return nil, fmt.Errorf("%w: Via with open bracket", ErrSyntax)
		}
		host = sentBy[1:end]
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() || a.Zone() != "" { // IPv6reference has no zone
			return nil, fmt.Errorf("%w: Via host", ErrSyntax)
		}
		port = strings.TrimSpace(sentBy[end+1:])
		if port != "" && port[0] != ':' {
			return nil, fmt.Errorf("%w: Via sent-by", ErrSyntax)
		}
		port = strings.TrimPrefix(port, ":")
	} else if i := strings.IndexByte(sentBy, ':'); i >= 0 {
		host, port = sentBy[:i], sentBy[i+1:]
	}
	via.Host = strings.TrimSpace(host)
	if port = strings.TrimSpace(port); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%w: Via port", ErrSyntax)
		}
		via.Port = int(n)
	}
	if via.Host == "" || strings.ContainsAny(via.Host, " \t,[]\"<>") {
		return nil, fmt.Errorf("%w: Via host", ErrSyntax)
	}
	return via, nil
}

// cutBlank splits at the first run of blanks.
func cutBlank(s string) (before, after string, ok bool) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, "", false
	}
	return s[:i], strings.TrimSpace(s[i:]), true
}
