package edge

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// lines makes a message of header lines and a body.
func lines(body string, header ...string) string {
	return strings.Join(header, "\r\n") + "\r\n\r\n" + body
}

// fixed are the headers every message needs and that no case is about.
const fixed = "Max-Forwards: 70\r\nCall-ID: c@h\r\nCSeq: 7 INVITE\r\nContent-Length: 0"

// A message leaves as it came, byte for byte; of the cases not marked, sipgo's own parser loses something on the way.
func TestParsedMessageIsWrittenUnchanged(t *testing.T) {
	for name, c := range map[string]struct {
		line     string // instead of the usual request line
		header   string
		sipgoToo bool // sipgo v1.7.2 keeps it as well
	}{
		"plain":                       {header: "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>", sipgoToo: true},
		"unknown headers and order":   {header: "X-Second:  2\r\nFrom: <sip:a@b>;tag=1\r\nx-FIRST: \"a;b\", <c>\r\nTo: <sip:c@d>", sipgoToo: true},
		"display names":               {header: "From: Anna  B <sip:a@b>;tag=1\r\nTo: \"a \\\"b\\\" <x>\" <sip:c@d>"},
		"quoted header parameter":     {header: "From: <sip:a@b>;tag=1;x=\"a;b,c\"\r\nTo: <sip:c@d>", sipgoToo: true},
		"duplicate parameters":        {header: "From: <sip:a@b>;tag=1;x=1;x=2\r\nTo: <sip:c@d>"},
		"route display and params":    {header: "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nRoute: \"Edge\" <sip:r@h;lr>;own=1\r\nRecord-Route: <sip:q@h;lr;x=\"1\">;p=2"},
		"contact, not split by quote": {header: "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nContact: \"a, b\" <sip:c@d;ob>;+sip.instance=\"<urn:uuid:1>\";reg-id=1", sipgoToo: true},
		"tag in capitals":             {header: "From: <sip:a@b>;TAG=1\r\nTo: <sip:c@d>", sipgoToo: true},
		"identity":                    {header: "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nP-Asserted-Identity: \"x\" <sip:1@h>\r\nDiversion: <sip:2@h>;reason=busy\r\nPath: <sip:p@h;lr>", sipgoToo: true},
		"bytes that are not UTF-8":    {header: "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nSubject: \xff\xfe", sipgoToo: true},
		"URI headers and escapes":     {line: "INVITE sip:%61lice:p%40ss@example.com:5070;method=x?subject=a%20b SIP/2.0", header: "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>", sipgoToo: true},
		"tel URI":                     {line: "INVITE tel:+15551234;phone-context=x SIP/2.0", header: "From: <tel:1>;tag=1\r\nTo: <tel:+15551234>", sipgoToo: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.line == "" {
				c.line = "INVITE sip:c@d SIP/2.0"
			}
			in := lines("", c.line, "Via: SIP/2.0/UDP h:5060;branch=z9hG4bK1;rport", c.header, fixed)
			in = strings.Replace(in, "X-Second:  2", "X-Second: 2", 1) // blanks behind the colon are no part of the value
			msg, reason, err := parse([]byte(in))
			if err != nil || reason != "" {
				t.Fatalf("%v %q", err, reason)
			}
			if out := string(encode(msg)); out != in {
				t.Errorf("changed:\n%s\nfrom:\n%s", out, in)
			}
			plain, err := sip.ParseMessage([]byte(in))
			if kept := err == nil && plain.String() == in; kept != c.sipgoToo {
				t.Errorf("sipgo's own parser keeps it: %t", kept)
			}
		})
	}
}

// What a header was on the wire, and how it is understood and sent on.
func TestParserReads(t *testing.T) {
	const from, to = "From: <sip:a@b>;tag=f", "To: <sip:c@d>;tag=t"
	const via = "Via: SIP/2.0/UDP h;branch=z9hG4bK1"
	for name, c := range map[string]struct {
		in   []string
		look func(m sip.Message) string
		want string
	}{
		"compact forms": {[]string{"v: SIP/2.0/UDP h;branch=z9hG4bK1", "f: <sip:a@b>;tag=f", "T: <sip:c@d>;tag=t", "i: c@h", "CSeq: 7 INVITE", "m: <sip:x@y>", "c: text/plain", "k: 100rel", "L: 0"},
			func(m sip.Message) string {
				return strings.Join([]string{request.ViaBranch(m), request.FromTag(m), request.ToTag(m), request.CallID(m),
					request.Header(m, "Contact"), request.Header(m, "Content-Type"), request.Header(m, "Supported")}, " ")
			}, "z9hG4bK1 f t c@h <sip:x@y> text/plain 100rel"},
		"folding": {[]string{via, "From: \"a\"\r\n <sip:a@b>\r\n\t;tag=f", to, "Subject: one\r\n  two\r\n\tthree", fixed},
			func(m sip.Message) string { return request.FromTag(m) + "|" + request.Header(m, "Subject") }, "f|one two three"},
		"several Via on one line": {[]string{"Via: SIP/2.0/UDP a;branch=1, SIP/2.0/TCP b ,SIP/2.0/TLS c;branch=3", "Via: SIP/2.0/WSS d", from, to, fixed},
			vias, "SIP/2.0/UDP a;branch=1|SIP/2.0/TCP b|SIP/2.0/TLS c;branch=3|SIP/2.0/WSS d"},
		"several Via, the first bare": {[]string{"Via: SIP/2.0/UDP a, SIP/2.0/TCP b;branch=2", from, to, fixed},
			vias, "SIP/2.0/UDP a|SIP/2.0/TCP b;branch=2"},
		"comma in a quoted Via parameter": {[]string{"Via: SIP/2.0/UDP a;x=\"1,2\";branch=1", from, to, fixed},
			vias, "SIP/2.0/UDP a;x=\"1,2\";branch=1"},
		"blanks in Via": {[]string{"Via: SIP / 2.0 / UDP  first.example.com : 4000 ; TTL = 16 ; BRANCH = z9hG4bK1", from, to, fixed},
			func(m sip.Message) string {
				v := m.Via()
				return strings.Join([]string{v.ProtocolName, v.ProtocolVersion, v.Transport, v.SentBy(), request.ViaBranch(m)}, " ")
			}, "SIP 2.0 UDP first.example.com:4000 z9hG4bK1"},
		"IPv6 in Via": {[]string{"Via: SIP/2.0/UDP [2001:db8::1]:5070;branch=1", from, to, fixed},
			func(m sip.Message) string { return m.Via().Host }, "2001:db8::1"},
		"parameter names of any case": {[]string{"Via: SIP/2.0/UDP h;Branch=z9hG4bKx", "From: <sip:a@b>; TAG = f", "To: sip:c@d;Tag=t", fixed},
			func(m sip.Message) string {
				return request.ViaBranch(m) + " " + request.FromTag(m) + " " + request.ToTag(m)
			}, "z9hG4bKx f t"},
		"CSeq with blanks": {[]string{via, from, to, "Call-ID: c", "CSeq:  7 \t  INVITE  ", "Content-Length: 0"},
			func(m sip.Message) string { n, method := request.CSeq(m); return string(method) + string(rune('0'+n)) }, "INVITE7"},
		"several Route on one line": {[]string{via, from, to, fixed, "Route: \"a, b\" <sip:r1;lr> , <sip:r2;lr;x=1,2>", "Route: <sip:r3;lr>"},
			func(m sip.Message) string {
				var out []string
				for _, h := range m.GetHeaders("Route") {
					out = append(out, h.Value())
				}
				return strings.Join(out, "|")
			}, "\"a, b\" <sip:r1;lr>|<sip:r2;lr;x=1,2>|<sip:r3;lr>"},
		"no Content-Length in a datagram or frame": {[]string{via, from, to, "Call-ID: c", "CSeq: 7 INVITE"},
			func(m sip.Message) string { return string(m.Body()) }, "body"},
		"what follows the body is dropped": {[]string{via, from, to, "Call-ID: c", "CSeq: 7 INVITE", "l: 2"},
			func(m sip.Message) string { return string(m.Body()) }, "bo"},
	} {
		t.Run(name, func(t *testing.T) {
			msg, reason, err := parse([]byte(lines("body", append([]string{"INVITE sip:c@d SIP/2.0"}, c.in...)...)))
			if err != nil || reason != "" {
				t.Fatalf("%v %q", err, reason)
			}
			if got := c.look(msg); got != c.want {
				t.Errorf("have %q\nwant %q", got, c.want)
			}
			again, reason, err := parse(encode(msg))
			if err != nil || reason != "" {
				t.Fatalf("written: %v %q\n%s", err, reason, encode(msg))
			}
			if got := c.look(again); got != c.want {
				t.Errorf("written: %q", got)
			}
		})
	}
}

func vias(m sip.Message) string {
	var out []string
	for _, h := range m.GetHeaders("Via") {
		out = append(out, h.Value())
	}
	return strings.Join(out, "|")
}

// What is wrong but has an address to answer to is handed over with the reason for the 400; the rest is not SIP.
func TestParserRefuses(t *testing.T) {
	good := lines("", "INVITE sip:c@d SIP/2.0", "Via: SIP/2.0/UDP h;branch=z9hG4bK1", "From: <sip:a@b>;tag=1", "To: <sip:c@d>", fixed)
	swap := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for in, want := range map[string]string{
		swap("Content-Length: 0", "Content-Length: 0\r\nl: 0"):                         "more than one Content-Length",
		swap("Content-Length: 0", "Content-Length: 9"):                                 "body shorter than Content-Length",
		swap("Content-Length: 0", "Content-Length: -1"):                                "malformed Content-Length",
		swap("Content-Length: 0", "Content-Length: 99999999999"):                       "malformed Content-Length",
		swap("CSeq: 7", "CSeq: 2147483648"):                                            "malformed CSeq",
		swap("Max-Forwards: 70", "Max-Forwards: 256"):                                  "malformed Max-Forwards",
		swap("To: <sip:c@d>", "To: <sip:c@d>\r\nt: <sip:e@f>"):                         "more than one To",
		swap("To: <sip:c@d>", "To: \"a <sip:c@d>"):                                     "malformed To",
		swap("To: <sip:c@d>", "To: <sip:c@d>, <sip:e@f>"):                              "malformed To",
		swap("Content-Length: 0", "Content-Length: 0\r\nX: y\nZ: y"):                   "line end other than CRLF in the header",
		swap("To: <sip:c@d>", "To: <sip:c@d>\r\nX: a\rb"):                              "line end other than CRLF in the header",
		swap("To: <sip:c@d>", "To: <sip:c@d>\r\nX: a\x00b"):                            "NUL in the header",
		swap("To: <sip:c@d>", "To: <sip:c@d>\r\n: nothing"):                            "malformed header line",
		swap("To: <sip:c@d>", "To: <sip:c@d>\r\nno colon"):                             "malformed header line",
		swap("sip:c@d SIP/2.0", "<sip:c@d> SIP/2.0"):                                   "malformed request URI",
		swap("sip:c@d SIP/2.0", "sip:c@d; x=y SIP/2.0"):                                "malformed request URI",
		swap("sip:c@d SIP/2.0", "sip:c@d:99999 SIP/2.0"):                               "malformed request URI",
		swap("sip:c@d SIP/2.0", "sip:c@d SIP/2.0 "):                                    "malformed request line",
		swap("SIP/2.0/UDP", "SIP/7.0/UDP"):                                             "unknown protocol in Via",
		swap("Content-Length: 0", "Content-Length: 0"+strings.Repeat("\r\nX: y", 600)): "too many header fields",
		strings.TrimSuffix(good, "\r\n"):                                               "no empty line behind the header",
		swap("To: <sip:c@d>", "To: < sip:c@d>"):                                        "malformed To",
		swap("To: <sip:c@d>", "To: A, B <sip:c@d>"):                                    "malformed To",
		swap("To: <sip:c@d>", "To: sip:c@d?x=y"):                                       "malformed To",
		swap("From: <sip:a@b>;tag=1\r\n", ""):                                          "missing From",
	} {
		msg, reason, err := parse([]byte(in))
		if err != nil || reason != want {
			t.Errorf("have %q, %v; want %q for\n%.300s", reason, err, want, in)
			continue
		}
		// The answer has all it needs.
		if res := request.NewResponse(msg.(*sip.Request), 400, reason); res.Via() == nil || request.CallID(res) != "c@h" {
			t.Errorf("no answer to\n%.300s", in)
		}
	}
	for name, in := range map[string]string{
		"empty": "", "words": "hello\r\n\r\n", "bare LF only": strings.ReplaceAll(good, "\r\n", "\n"),
		"no Via": swap("Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n", ""), "Via without host": swap("UDP h;", "UDP ;"),
		"Via with a port of six digits": swap("UDP h;", "UDP h:123456;"), "no CSeq": swap("CSeq: 7 INVITE\r\n", ""),
		"status 999":       strings.Replace(good, "INVITE sip:c@d SIP/2.0", "SIP/2.0 999 x", 1),
		"broken response":  strings.Replace(swap("CSeq: 7", "CSeq: x"), "INVITE sip:c@d SIP/2.0", "SIP/2.0 200 OK", 1),
		"HTTP":             "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"folded first":     "INVITE sip:c@d SIP/2.0\r\n Via: SIP/2.0/UDP h\r\n\r\n",
		"method no token":  strings.Replace(good, "INVITE sip", "INV\"ITE sip", 1),
		"TLS client hello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	} {
		if msg, reason, err := parse([]byte(in)); !errors.Is(err, errNotSIP) {
			t.Errorf("%s: %v %q %v", name, msg, reason, err)
		}
	}
}

// The torture messages of RFC 4475: every valid one passes and is sent on readable, with body and unknown headers as they came.
func TestTortureMessagesPassUnharmed(t *testing.T) {
	files, err := filepath.Glob("../../../integration/hostile/testdata/rfc4475/valid/*.dat")
	if err != nil || len(files) < 13 {
		t.Fatalf("%d messages, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		msg, reason, err := parse(data)
		if err != nil || reason != "" {
			t.Errorf("%s: %v %q", filepath.Base(file), err, reason)
			continue
		}
		once := encode(msg)
		again, reason, err := parse(once)
		if err != nil || reason != "" {
			t.Errorf("%s: written: %v %q", filepath.Base(file), err, reason)
			continue
		}
		if twice := encode(again); string(once) != string(twice) {
			t.Errorf("%s: a second passage changes\n%s\nto\n%s", filepath.Base(file), once, twice)
		}
		if string(msg.Body()) != string(again.Body()) {
			t.Errorf("%s: another body", filepath.Base(file))
		}
	}
}
