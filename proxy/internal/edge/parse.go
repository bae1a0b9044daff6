package edge

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// maxHeaders bounds the header lines of a message.
const maxHeaders = 512

// errNotSIP: nothing that could be answered.
var errNotSIP = errors.New("not a SIP message")

// parser reads one whole message into sipgo's types.
//
// sipgo's own parser is made for end points: it re-serialises From, To, Contact, Route and Via and loses display names,
// header parameters, quotes and duplicates on the way; it misses parameters whose names are not in lower case, merges or
// refuses Via values, and drops a datagram that starts with CRLF. A proxy must pass on what it does not act on, so only
// Via (the topmost), Call-ID, CSeq, Max-Forwards, Content-Length and Content-Type become typed headers here (and Contact
// in REGISTER, which ends at the proxy); all others stay as received, under their canonical name, and are read by the
// functions of package request when somebody needs them.
type parser struct {
	msg    sip.Message
	req    *sip.Request
	reason string // first fault that is worth a 400
	seen   map[string]int
	length int // Content-Length, -1 when absent
}

// parse reads a message whose header ends at the first empty line. The second value is the reason for a 400 when the
// message is a request that is malformed but can be answered; an error says that it can not.
func parse(data []byte) (sip.Message, string, error) {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	p := parser{seen: make(map[string]int, 16), length: -1}
	var head, body []byte
	if end < 0 {
		head = bytes.TrimSuffix(data, []byte("\r\n"))
		p.fault("no empty line behind the header")
	} else {
		head, body = data[:end], data[end+4:]
	}
	if strayNUL(head) {
		p.fault("NUL in the header")
	}
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if err := p.startLine(string(line)); err != nil {
		return nil, "", err
	}
	if err := p.headers(rest); err != nil {
		return nil, "", err
	}
	p.mandatory()
	p.body(body)
	if p.msg.Via() == nil {
		return nil, "", fmt.Errorf("%w: no usable Via", errNotSIP)
	}
	if p.reason == "" {
		return p.msg, "", nil
	}
	if p.req == nil || p.req.GetHeader("CSeq") == nil { // the sender finds its transaction by Via and CSeq
		return nil, "", fmt.Errorf("%w: %s", errNotSIP, p.reason)
	}
	return p.msg, p.reason, nil
}

func (p *parser) fault(reason string) {
	if p.reason == "" {
		p.reason = reason
	}
}

// startLine reads a request or status line (RFC 3261 §7.1, §7.2): exactly one blank between the parts.
func (p *parser) startLine(line string) error {
	if len(line) >= 4 && strings.EqualFold(line[:4], "SIP/") {
		parts := strings.SplitN(line, " ", 3)
		if len(parts) < 2 || len(parts[1]) != 3 {
			return fmt.Errorf("%w: status line", errNotSIP)
		}
		code, err := strconv.ParseUint(parts[1], 10, 16)
		if err != nil || code < 100 || code > 699 || !strings.EqualFold(parts[0], "SIP/2.0") {
			return fmt.Errorf("%w: status line", errNotSIP)
		}
		reason := ""
		if len(parts) == 3 {
			reason = parts[2]
		}
		if strings.ContainsAny(reason, "\r\n") {
			return fmt.Errorf("%w: status line", errNotSIP)
		}
		p.msg = sip.NewResponse(int(code), reason)
		return nil
	}
	first, last := strings.IndexByte(line, ' '), strings.LastIndexByte(line, ' ')
	trimmed := strings.TrimRight(line, " \t")
	if first <= 0 || !strings.Contains(strings.ToUpper(trimmed), " SIP/") || !isToken(line[:first]) {
		return fmt.Errorf("%w: start line", errNotSIP)
	}
	var uri sip.Uri
	version := "SIP/2.0"
	switch {
	case trimmed != line || last <= first:
		p.fault("malformed request line")
	default:
		version = line[last+1:]
		if err := request.ParseURI(line[first+1:last], &uri); err != nil {
			uri = sip.Uri{Scheme: "sip", Host: "invalid"}
			p.fault("malformed request URI")
		}
	}
	if uri.Host == "" && uri.Raw() == "" {
		uri = sip.Uri{Scheme: "sip", Host: "invalid"}
	}
	p.req = sip.NewRequest(sip.RequestMethod(line[:first]), uri)
	p.req.SipVersion = version
	p.msg = p.req
	return nil
}

// headers reads the header lines, unfolding continuation lines (RFC 3261 §7.3.1).
func (p *parser) headers(rest []byte) error {
	for n := 0; len(rest) > 0; n++ {
		if n >= maxHeaders {
			p.fault("too many header fields")
			return nil
		}
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
			var more []byte
			more, rest, _ = bytes.Cut(rest, []byte("\r\n"))
			line = append(append(bytes.TrimRight(line[:len(line):len(line)], " \t"), ' '), bytes.TrimLeft(more, " \t")...)
		}
		// A lone CR or LF would become a header of its own at a more lenient peer.
		if bytes.IndexByte(line, '\n') >= 0 || bytes.IndexByte(line, '\r') >= 0 {
			p.fault("line end other than CRLF in the header")
			continue
		}
		name, value, ok := strings.Cut(string(line), ":")
		name = strings.TrimRight(name, " \t")
		if !ok || !isToken(name) {
			p.fault("malformed header line")
			continue
		}
		p.header(canonicalName(name), strings.TrimSpace(value))
	}
	return nil
}

func (p *parser) header(name, value string) {
	p.seen[name]++
	switch name {
	case "Via":
		p.via(value)
	case "Route", "Record-Route", "Path", "Service-Route":
		for _, v := range request.SplitList(value) {
			p.msg.AppendHeader(sip.NewHeader(name, v))
		}
	case "Contact":
		p.contact(value)
	case "CSeq":
		p.cseq(value)
	case "Call-ID":
		h := sip.CallIDHeader(value)
		if value == "" {
			p.fault("empty Call-ID")
			return
		}
		p.msg.AppendHeader(&h)
	case "Max-Forwards":
		n, err := strconv.ParseUint(value, 10, 8)
		if err != nil {
			p.fault("malformed Max-Forwards")
			return
		}
		h := sip.MaxForwardsHeader(n)
		p.msg.AppendHeader(&h)
	case "Content-Length":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			p.fault("malformed Content-Length")
			return
		}
		p.length = int(n)
		h := sip.ContentLengthHeader(n)
		if p.seen[name] == 1 {
			p.msg.AppendHeader(&h)
		}
	case "Content-Type":
		h := sip.ContentTypeHeader(value)
		p.msg.AppendHeader(&h)
	default:
		p.msg.AppendHeader(sip.NewHeader(name, value))
	}
}

// version of the message; a request of another one is answered 505 whatever its Via says.
func (p *parser) version() string {
	if p.req != nil {
		return strings.ToUpper(p.req.SipVersion)
	}
	return "SIP/2.0"
}

// strayNUL reports a NUL that is not escaped as a quoted-pair (RFC 3261 §25.1).
func strayNUL(head []byte) bool {
	for i, c := range head {
		if c == 0 && (i == 0 || head[i-1] != '\\') {
			return true
		}
	}
	return false
}

// via makes the topmost value a typed header and keeps the others as received.
func (p *parser) via(value string) {
	values := request.SplitList(value)
	if len(values) == 0 {
		p.fault("empty Via")
	}
	for i, v := range values {
		if !isToken(v[:1]) {
			p.fault("malformed Via")
		}
		if i > 0 || p.seen["Via"] > 1 {
			p.msg.AppendHeader(sip.NewHeader("Via", v))
			continue
		}
		h, err := request.ParseVia(v)
		if err != nil {
			p.fault("malformed Via")
			continue
		}
		if p.version() == "SIP/2.0" && (!strings.EqualFold(h.ProtocolName, "SIP") || h.ProtocolVersion != "2.0") {
			p.fault("unknown protocol in Via")
		}
		p.msg.AppendHeader(h)
	}
}

func (p *parser) contact(value string) {
	if p.req == nil || p.req.Method != sip.REGISTER {
		for _, v := range request.SplitList(value) {
			p.msg.AppendHeader(sip.NewHeader("Contact", v))
		}
		return
	}
	for _, v := range request.SplitList(value) {
		a, err := request.ParseAddress(v)
		if err != nil || loose(a) {
			p.fault("malformed Contact")
			continue
		}
		for i := range a.Params {
			a.Params[i].K = strings.ToLower(a.Params[i].K)
		}
		p.msg.AppendHeader(&sip.ContactHeader{DisplayName: a.Display, Address: a.URI, Params: a.Params})
	}
}

func (p *parser) cseq(value string) {
	number, method, _ := strings.Cut(strings.ReplaceAll(value, "\t", " "), " ")
	n, err := strconv.ParseUint(number, 10, 31)
	method = strings.TrimSpace(method)
	if err != nil || !isToken(method) {
		p.fault("malformed CSeq")
		p.msg.AppendHeader(sip.NewHeader("CSeq", value))
		return
	}
	p.msg.AppendHeader(&sip.CSeqHeader{SeqNo: uint32(n), MethodName: sip.RequestMethod(method)})
}

// mandatory checks what every message must have, once (RFC 3261 §8.1.1).
func (p *parser) mandatory() {
	for _, name := range []string{"From", "To", "Call-ID", "CSeq"} {
		switch {
		case p.seen[name] == 0:
			p.fault("missing " + name)
		case p.seen[name] > 1:
			p.fault("more than one " + name)
		}
	}
	for _, name := range []string{"Max-Forwards", "Content-Length", "Content-Type", "Expires"} {
		if p.seen[name] > 1 {
			p.fault("more than one " + name)
		}
	}
	for _, name := range []string{"From", "To"} {
		if v := request.Header(p.msg, name); p.seen[name] > 0 {
			if a, err := request.ParseAddress(v); err != nil || len(request.SplitList(v)) != 1 || loose(a) {
				p.fault("malformed " + name)
			}
		}
	}
}

// loose reports an address with blanks in its brackets, or a question mark without brackets (RFC 3261 §20.10). What is passed
// on as it came must be right, or the next element stumbles over it (RFC 4475 §3.1.2.13 to §3.1.2.15).
func loose(a request.Address) bool {
	if a.Wildcard() {
		return false
	}
	raw := a.Raw
	if i := strings.LastIndexByte(raw, '"'); i >= 0 {
		raw = raw[i+1:]
	}
	open := strings.IndexByte(raw, '<')
	if open < 0 {
		spec, _, _ := strings.Cut(a.Raw, ";")
		return strings.IndexByte(spec, '?') >= 0
	}
	spec, _, _ := strings.Cut(raw[open+1:], ">")
	return spec != strings.TrimSpace(spec)
}

// body cuts the body by Content-Length (RFC 3261 §18.3); what follows it is dropped.
func (p *parser) body(body []byte) {
	if p.length >= 0 {
		if p.length > len(body) {
			p.fault("body shorter than Content-Length")
		} else {
			body = body[:p.length]
		}
	}
	if len(body) == 0 {
		p.msg.SetBody(nil)
		return
	}
	p.msg.SetBody(bytes.Clone(body))
}

// isToken reports a non-empty token (RFC 3261 §25.1).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-.!%*_+`'~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// canonicalName gives the long form with the usual case for the headers anything acts on; others stay as received.
func canonicalName(name string) string {
	if len(name) == 1 {
		if long := compactName(name[0] | 0x20); long != "" {
			return long
		}
		return name
	}
	for _, known := range [...]string{
		"Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards", "Contact", "Content-Type", "Content-Length", "Route",
		"Record-Route", "Path", "Service-Route", "Expires", "Min-Expires", "Supported", "Require", "Proxy-Require",
		"Unsupported", "Allow", "Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate",
		"Authentication-Info", "Retry-After", "Session-Expires", "Min-SE", "User-Agent", "Server", "Subject", "Timestamp",
		"Content-Encoding", "Content-Disposition", "Refer-To", "Referred-By", "Event", "Subscription-State", "RAck", "RSeq",
		"Date", "Accept", "P-Asserted-Identity", "Privacy", "Reason", "Warning",
	} {
		if strings.EqualFold(name, known) {
			return known
		}
	}
	return name
}

// compactName expands compact forms (RFC 3261 §7.3.3 and the IANA registry).
func compactName(c byte) string {
	switch c {
	case 'a':
		return "Accept-Contact"
	case 'b':
		return "Referred-By"
	case 'c':
		return "Content-Type"
	case 'd':
		return "Request-Disposition"
	case 'e':
		return "Content-Encoding"
	case 'f':
		return "From"
	case 'i':
		return "Call-ID"
	case 'j':
		return "Reject-Contact"
	case 'k':
		return "Supported"
	case 'l':
		return "Content-Length"
	case 'm':
		return "Contact"
	case 'n':
		return "Identity-Info"
	case 'o':
		return "Event"
	case 'r':
		return "Refer-To"
	case 's':
		return "Subject"
	case 't':
		return "To"
	case 'u':
		return "Allow-Events"
	case 'v':
		return "Via"
	case 'x':
		return "Session-Expires"
	case 'y':
		return "Identity"
	default:
		return ""
	}
}
