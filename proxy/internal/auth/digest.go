package auth

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Algorithms (RFC 8760 §2.1).
const (
	SHA256 = "SHA-256"
	MD5    = "MD5"
)

// maxParameters bounds an Authorization header.
const maxParameters = 32

var errMalformed = errors.New("malformed credentials")

// credentials are those of an Authorization or Proxy-Authorization header
// (RFC 7616 §3.4).
type credentials struct {
	username, realm, nonce, uri, response string
	algorithm, cnonce, qop, nc            string
}

// parseCredentials reads a header value; ok is false if its scheme is not
// Digest.
func parseCredentials(value string) (c credentials, ok bool, err error) {
	scheme, rest, _ := strings.Cut(strings.TrimLeft(value, " \t"), " ")
	if !strings.EqualFold(scheme, "Digest") {
		return c, false, nil
	}
	c.algorithm = MD5
	fields := map[string]*string{
		"username": &c.username, "realm": &c.realm, "nonce": &c.nonce, "uri": &c.uri, "response": &c.response,
		"algorithm": &c.algorithm, "cnonce": &c.cnonce, "qop": &c.qop, "nc": &c.nc,
	}
	seen := make(map[string]bool, len(fields))
	for n := 0; ; n++ {
		rest = strings.TrimLeft(rest, " \t,\r\n")
		if rest == "" {
			break
		}
		if n == maxParameters {
			return c, true, fmt.Errorf("%w: too many parameters", errMalformed)
		}
		var name, text string
		if name, text, rest, err = nextParameter(rest); err != nil {
			return c, true, err
		}
		name = strings.ToLower(name)
		if target := fields[name]; target != nil {
			if seen[name] {
				return c, true, fmt.Errorf("%w: %s given twice", errMalformed, name)
			}
			seen[name] = true
			*target = text
		}
	}
	if c.username == "" || c.realm == "" || c.nonce == "" || c.response == "" {
		return c, true, fmt.Errorf("%w: incomplete", errMalformed)
	}
	return c, true, nil
}

// nextParameter takes one name=value or name="value" from the front of s.
func nextParameter(s string) (name, value, rest string, err error) {
	name, s, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", "", fmt.Errorf("%w: parameter without value", errMalformed)
	}
	name = strings.Trim(name, " \t")
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s, ',')
		if end < 0 {
			end = len(s)
		}
		return name, strings.TrimRight(s[:end], " \t\r\n"), s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return name, b.String(), s[i+1:], nil
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", "", fmt.Errorf("%w: open quotation", errMalformed)
}

// count returns the nonce count; a client without qop (RFC 2069) counts
// nothing and may use a nonce once.
func (c *credentials) count() (uint32, error) {
	if c.qop == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(c.nc, 16, 32)
	if err != nil || len(c.nc) != 8 || n == 0 {
		return 0, fmt.Errorf("%w: bad nc", errMalformed)
	}
	return uint32(n), nil
}

// matches reports whether the response was made with the password behind a.
// The comparison takes the same time whatever differs. It is safe to call with
// an empty account: nothing matches then.
func (c *credentials) matches(a Account, method string) bool {
	hash, ha1 := hashMD5, a.MD5
	if strings.EqualFold(c.algorithm, SHA256) {
		hash, ha1 = hashSHA256, a.SHA256
	}
	ha2 := hash(method + ":" + c.uri)
	middle := c.nonce
	if c.qop != "" {
		middle += ":" + c.nc + ":" + c.cnonce + ":" + c.qop
	}
	want := hash(ha1 + ":" + middle + ":" + ha2)
	equal := subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(c.response))) == 1
	return equal && ha1 != ""
}

// supported reports whether the algorithm and quality of protection are among
// those offered.
func (c *credentials) supported(algorithms []string) bool {
	offered := slices.ContainsFunc(algorithms, func(a string) bool { return strings.EqualFold(a, c.algorithm) })
	return offered && (c.qop == "" || c.qop == "auth")
}

// challenge is the value of a WWW-Authenticate or Proxy-Authenticate header.
func challenge(realm, nonce, algorithm string, stale bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `Digest realm="%s", nonce="%s", algorithm=%s, qop="auth"`, realm, nonce, algorithm)
	if stale {
		b.WriteString(", stale=true")
	}
	return b.String()
}
