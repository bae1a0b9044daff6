//go:build integration

package behaviours

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What a message may lead to besides a status.
const (
	dropped   = 0
	forwarded = 1
	anything  = 2 // the end of the stream may overtake the answer
)

// tortured says what the RFC wants of a proxy for each message that comes from a trunk whose calls all go to one next hop.
// The right column is the RFC's words for it, in ours. What the RFC leaves open has the answer that this proxy has chosen.
var tortured = map[string]struct {
	udp, tcp int
	why      string
}{
	// RFC 4475 §3.1.1: valid.
	"wsinv":      {481, 481, "blanks, folding, compact forms, unknown fields; its To tag names no dialog of here"},
	"wsinv-new":  {forwarded, forwarded, "the same without To tag"},
	"intmeth":    {forwarded, forwarded, "a method of all token characters"},
	"esc01":      {forwarded, forwarded, "%-escapes are not touched"},
	"escnull":    {403, 403, "REGISTER with %00, for a domain that is not ours"},
	"esc02":      {forwarded, forwarded, "RE%47IST%45R is not REGISTER"},
	"lwsdisp":    {forwarded, forwarded, "no blank between display name and <"},
	"longreq":    {forwarded, forwarded, "long values"},
	"dblreq":     {403, anything, "what follows a request in its datagram is dropped"},
	"semiuri":    {forwarded, forwarded, "semicolon in the user part"},
	"transports": {forwarded, forwarded, "unknown transports in lower Vias"},
	"mpart01":    {forwarded, forwarded, "binary multipart"},
	"unreason":   {dropped, dropped, "response to nothing, reason in UTF-8"},
	"noreason":   {dropped, dropped, "response to nothing, no reason"},
	// §3.1.2: invalid.
	"badinv01":   {400, 400, "separators without values"},
	"clerr":      {400, dropped, "body shorter than said; a stream waits for more"},
	"ncl":        {400, 400, "negative length"},
	"scalar02":   {400, 400, "numbers out of range"},
	"scalarlg":   {dropped, dropped, "the same in a response"},
	"quotbal":    {400, 400, "unbalanced quotes in To"},
	"ltgtruri":   {400, 400, "<> around the request URI"},
	"lwsruri":    {400, 400, "blank in the request URI"},
	"lwsstart":   {400, 400, "two blanks in the request line"},
	"trws":       {400, 400, "blank behind the request line"},
	"escruri":    {forwarded, forwarded, "header in the request URI, which must not become one"},
	"baddate":    {forwarded, forwarded, "Date not in GMT, which no proxy needs"},
	"regbadct":   {400, 400, "REGISTER, Contact with ? outside of <>"},
	"badaspec":   {400, 400, "blank within an address of To"},
	"baddn":      {400, dropped, "display name that is no token, which must not be passed on; it has no end on a stream"},
	"badvers":    {505, 505, "SIP/7.0"},
	"mismatch01": {400, 400, "CSeq names another method"},
	"mismatch02": {400, 400, "the same with an unknown one"},
	"bigcode":    {dropped, dropped, "response with status 4294967301"},
	// §3.2 and §3.3.
	"badbranch": {forwarded, forwarded, "branch with nothing behind the cookie, so RFC 2543's rules"},
	"insuf":     {400, 400, "no Call-ID, From, To"},
	"unkscm":    {416, 416, "unknown scheme"},
	"novelsc":   {416, 416, "known scheme that is not routed"},
	"unksm2":    {403, 403, "REGISTER for an isbn, of which nobody here is in charge"},
	"bext01":    {420, 420, "Proxy-Require, not Require"},
	"invut":     {forwarded, forwarded, "unknown Content-Type is for the callee"},
	"regaut01":  {403, 403, "REGISTER with an unknown scheme of credentials"},
	"multi01":   {400, 400, "fields twice that may stand once"},
	"mcl01":     {400, 400, "two lengths"},
	"bcast":     {dropped, dropped, "response with a broadcast address in its second Via"},
	"zeromf":    {483, 483, "Max-Forwards 0"},
	"cparam01":  {403, 403, "REGISTER, parameters of a Contact"},
	"cparam02":  {403, 403, "REGISTER, parameters of a Contact's URI"},
	"regescrt":  {403, 403, "REGISTER, Contact with a Route"},
	"sdp01":     {forwarded, forwarded, "Accept without SDP is for the callee"},
	// §3.4.
	"inv2543": {forwarded, 400, "INVITE of RFC 2543, which has no length"},
	// No message of the RFC's text, but of its archive: no version.
	"test": {dropped, dropped, "no SIP"},

	// RFC 5118.
	"ipv6-good":                     {403, 403, "REGISTER to an IPv6 reference"},
	"ipv6-bad":                      {400, 400, "no brackets"},
	"port-ambiguous":                {403, 403, "the port is within the brackets, so part of the address"},
	"port-unambiguous":              {403, 403, "a port behind them"},
	"via-received-param-with-delim": {481, 481, "BYE of no call, received in brackets"},
	"via-received-param-no-delim":   {481, 481, "BYE of no call, received without them"},
	"ipv6-in-sdp":                   {forwarded, forwarded, "IPv6 in SDP"},
	"mult-ip-in-header":             {481, 481, "BYE of no call, both families in Via"},
	"mult-ip-in-sdp":                {forwarded, forwarded, "both families in SDP"},
	"ipv4-mapped-ipv6":              {forwarded, forwarded, "mapped addresses"},
	"ipv6-bug-abnf-3-colons":        {forwarded, forwarded, "three colons, to be tolerated"},
	"ipv6-correct-abnf-2-colons":    {forwarded, forwarded, "two colons"},
}

// testerHost and the address that all its calls go to.
func (s *site) testerHost() string { return s.net + ".100" }
func (s *site) tortureHop() string { return s.net + ".101:15060" }

// all are the messages by name.
func all(t *testing.T) map[string][]byte {
	t.Helper()
	list := map[string][]byte{}
	for _, pattern := range []string{"../hostile/testdata/rfc4475/*/*.dat", "testdata/rfc5118/*.dat"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			list[strings.TrimSuffix(filepath.Base(file), ".dat")] = text
		}
	}
	if len(list) < 62 {
		t.Fatalf("%d messages", len(list))
	}
	list["wsinv-new"] = regexp.MustCompile(` ;\s+tag\s+= 1918181833n`).ReplaceAll(list["wsinv"], nil)
	return list
}

func TestTorture(t *testing.T) {
	s := start(t)
	hop := s.udp(t, "", s.tortureHop(), s.listener(1))
	list := all(t)
	for name, text := range list {
		want, ok := tortured[name]
		if !ok {
			t.Errorf("nothing is said about %s", name)
			continue
		}
		for _, transport := range []string{"UDP", "TCP"} {
			t.Run(name+"/"+transport, func(t *testing.T) {
				// Several share Call-ID, branch and sent-by, and would be repetitions of each other.
				message := apart(text, name+transport)
				p, code := s.udp(t, "", s.testerHost()+":0", s.listener(1)), want.udp
				if transport == "TCP" {
					p.close()
					p, code = s.tcp(t, "", s.testerHost()+":0", s.listener(1)), want.tcp
				}
				hop.t = t
				hop.held = nil
				p.send(string(message))
				s.verdict(t, p, hop, string(message), code, want.why)
			})
		}
	}
	for name := range tortured {
		if list[name] == nil {
			t.Errorf("there is no message %s", name)
		}
	}
	t.Run("nothing is amplified", func(t *testing.T) { nothingIsAmplified(t, s) })
}

var (
	callIDOf = regexp.MustCompile(`(?im)^(Call-ID|i)(\s*:\s*)`)
	branchOf = regexp.MustCompile(`(?i)(branch\s*=\s*(?:z9hG4bK)?)([^\s;,])`)
)

// apart makes a message unlike all others, without changing what is special about it.
func apart(text []byte, by string) []byte {
	text = callIDOf.ReplaceAll(text, []byte("${1}${2}"+by+"."))
	at := branchOf.FindSubmatchIndex(text)
	if at == nil {
		return text
	}
	return slices.Concat(text[:at[4]], []byte(by), text[at[4]:])
}

// verdict checks what has come of a message.
func (s *site) verdict(t *testing.T, p, hop *peer, message string, code int, why string) {
	t.Helper()
	switch code {
	case dropped:
		if p.transport == "UDP" {
			p.none("SIP/2.0 ")
		} else { // such a stream takes nothing more
			s.carrier(t).flush()
		}
		hop.nothing()
		if len(p.held) > 0 {
			t.Errorf("%s: answered\n%s", why, p.held[0])
		}
	case anything:
		s.carrier(t).flush()
	case forwarded:
		method, _, _ := strings.Cut(message, " ")
		got := hop.expect(method + " ")
		intact(t, message, got)
		hop.reply(got, "486 Busy Here", body{})
		if p.final().code() != 486 {
			t.Errorf("%s: the response does not come back", why)
		}
	default:
		res := p.final()
		if res.code() != code {
			t.Errorf("%s: %s, want %d", why, res.start(), code)
		}
		if code == 420 && res.get("Unsupported") != "noProxiesSupportThis, norDoAnyProxiesSupportThis" {
			t.Errorf("Unsupported: %s", res.get("Unsupported"))
		}
		hop.nothing()
	}
}

// nothing fails when anything but an ACK or its own questions has come.
func (p *peer) nothing() {
	p.t.Helper()
	p.flush()
	for _, h := range p.held {
		if !strings.HasPrefix(h, "ACK ") {
			p.t.Errorf("unexpected\n%s", h)
		}
	}
}

// intact compares a forwarded message, of which the proxy changes Via, Max-Forwards, Route, lengths and SDP only.
func intact(t *testing.T, sent string, got msg) {
	t.Helper()
	long := map[string]string{"v": "Via", "f": "From", "t": "To", "i": "Call-ID", "m": "Contact", "l": "Content-Length", "c": "Content-Type", "s": "Subject", "k": "Supported"}
	head, rest, _ := strings.Cut(sent, "\r\n\r\n")
	var lines []string
	for _, l := range strings.Split(head, "\r\n")[1:] {
		if l != "" && (l[0] == ' ' || l[0] == '\t') {
			lines[len(lines)-1] = strings.TrimRight(lines[len(lines)-1], " \t") + " " + strings.TrimLeft(l, " \t")
			continue
		}
		lines = append(lines, l)
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if full := long[strings.ToLower(name)]; full != "" {
			name = full
		}
		switch strings.ToLower(name) {
		case "via", "max-forwards", "route", "content-length":
			continue
		case "cseq":
			value = strings.Join(strings.Fields(value), " ")
			value = strings.TrimLeft(value, "0")
		}
		if all := got.all(name); !slices.Contains(all, value) && strings.Join(all, ", ") != value {
			t.Errorf("%s: %q has become %q", name, value, all)
		}
	}
	if got.get("Content-Type") != "application/sdp" && !strings.HasPrefix(rest, got.body()) {
		t.Errorf("body %q has become %q", rest, got.body())
	}
	if n := len(got.all("Via")); n < 2 {
		t.Errorf("%d Vias", n)
	}
}

// nothingIsAmplified sends all messages from a source that is nobody's: it may be forged, and what comes back would hit
// somebody else: at most one datagram, and no longer than the question and what RFC 3261 obliges to add: received, rport, a
// tag and a reason phrase.
func nothingIsAmplified(t *testing.T, s *site) {
	const obliged = len(";received=127.255.255.255;rport=65535;tag=0123456789abcdef") + len("Call/Transaction Does Not Exist")
	for name, text := range all(t) {
		t.Run(name, func(t *testing.T) {
			p := s.udp(t, "", s.net+".110:0", s.listener(1))
			p.send(string(apart(text, name)))
			p.flush()
			bytes := 0
			for _, m := range p.held {
				bytes += len(m)
			}
			if len(p.held) > 1 || bytes > len(text)+obliged {
				t.Errorf("%d bytes are answered by %d in %d datagrams", len(text), bytes, len(p.held))
			}
		})
	}
}
