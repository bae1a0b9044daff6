package trunk

import (
	"regexp"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Identity is how callers are presented to a trunk.
type Identity struct {
	Asserted, RemoteParty bool   // headers that say who calls
	Number, Domain        string // "" = the caller's
	From                  bool   // write them into From as well
	Trusted               bool   // may know who wants to stay anonymous
}

// Rewrite are the rules for numbers.
type Rewrite struct {
	InCalled, InCalling, OutCalled, OutCalling []NumberRule
}

// NumberRule changes the numbers that it matches.
type NumberRule struct {
	Match   *regexp.Regexp // nil = every number
	Strip   int
	Add     string
	Replace string // instead of Strip and Add; with $1
}

// maxNumber bounds what is looked at, in bytes. Longer ones are no telephone numbers.
const maxNumber = 128

// apply changes a number by the first rule that matches.
func apply(rules []NumberRule, number string) string {
	if number == "" || len(number) > maxNumber {
		return number
	}
	for _, r := range rules {
		switch {
		case r.Match == nil:
		case r.Replace != "":
			at := r.Match.FindStringSubmatchIndex(number)
			if at == nil {
				continue
			}
			expanded := r.Match.ExpandString(nil, r.Replace, number, at)
			return number[:at[0]] + string(expanded) + number[at[1]:]
		case !r.Match.MatchString(number):
			continue
		}
		return r.Add + number[min(r.Strip, len(number)):]
	}
	return number
}

const (
	headerPAI     = "P-Asserted-Identity"
	headerRPID    = "Remote-Party-ID"
	headerPrivacy = "Privacy"
	// headerPreferred is what a user tells the first proxy alone.
	headerPreferred = "P-Preferred-Identity"
	nowhere         = "anonymous.invalid"
	anonymous       = `"Anonymous" <sip:anonymous@anonymous.invalid>`
)

// stripIdentity takes out what only a trunk may assert (RFC 3325 §6).
func stripIdentity(msg sip.Message) {
	for _, name := range []string{headerPAI, headerRPID} {
		removeAll(msg, name)
	}
}

func removeAll(msg sip.Message, name string) {
	for _, h := range msg.GetHeaders(name) {
		switch m := msg.(type) {
		case *sip.Request:
			m.RemoveHeader(h.Name())
		case *sip.Response:
			m.RemoveHeader(h.Name())
		}
	}
}

// wantsPrivacy reports that the network must not tell who sends this (RFC 3323 §4.2, RFC 3325 §9.3).
func wantsPrivacy(msg sip.Message) bool {
	for _, h := range msg.GetHeaders(headerPrivacy) {
		for _, v := range strings.FieldsFunc(strings.ToLower(h.Value()), func(r rune) bool { return r == ';' || r == ' ' || r == ',' }) {
			if v == "id" || v == "user" || v == "header" {
				return true
			}
		}
	}
	for _, h := range msg.GetHeaders(headerRPID) {
		if v := strings.ToLower(h.Value()); strings.Contains(v, "privacy=full") || strings.Contains(v, "privacy=name") || strings.Contains(v, "privacy=uri") {
			return true
		}
	}
	return false
}

// concealFromStrangers takes identities out of what leaves the domain of trust, where privacy is asked for (RFC 3325 §7).
func concealFromStrangers(msg sip.Message) {
	if (len(msg.GetHeaders(headerPAI)) > 0 || len(msg.GetHeaders(headerRPID)) > 0) && wantsPrivacy(msg) {
		stripIdentity(msg)
	}
}

// inward writes the numbers of a request from the trunk as they are here.
func (k *trunk) inward(req *sip.Request) {
	req.Recipient.User = apply(k.Rewrite.InCalled, req.Recipient.User)
	if len(k.Rewrite.InCalling) == 0 {
		return
	}
	number := func(user string) string { return apply(k.Rewrite.InCalling, user) }
	renumber(req, "From", number)
	renumber(req, headerPAI, number)
	renumber(req, headerRPID, number)
}

// renumber changes the user part in a header's addresses.
func renumber(req *sip.Request, name string, number func(string) string) {
	all := req.GetHeaders(name)
	values := make([]string, 0, len(all))
	changed := false
	for _, h := range all {
		parts := request.SplitList(h.Value())
		for i, part := range parts {
			if a, err := request.ParseAddress(part); err == nil {
				if user := number(a.URI.User); user != a.URI.User {
					a.URI.User = user
					parts[i], changed = write(a), true
				}
			}
		}
		values = append(values, strings.Join(parts, ", "))
	}
	if !changed {
		return
	}
	if len(values) == 1 {
		req.ReplaceHeader(sip.NewHeader(all[0].Name(), values[0]))
		return
	}
	removeAll(req, name)
	for _, v := range values {
		req.AppendHeader(sip.NewHeader(name, v))
	}
}

// write is the text of an address.
func write(a request.Address) string {
	var b strings.Builder
	if a.Display != "" {
		b.WriteString(quoted(a.Display) + " ")
	}
	b.WriteString("<" + a.URI.String() + ">")
	for _, p := range a.Params {
		b.WriteString(";" + p.K)
		if p.V != "" {
			b.WriteString("=" + p.V)
		}
	}
	return b.String()
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// outward presents the caller of a request to the trunk. Whoever sends it has proved who he is, as the auth step lets
// nobody else through, so From is true unless he hides there; user is his account. It is empty for trunks, whose identities
// are believed.
func (k *trunk) outward(req *sip.Request, user string) {
	from, err := request.ParseAddress(request.Header(req, "From"))
	if err != nil {
		return
	}
	private := wantsPrivacy(req)
	caller := from
	if strings.EqualFold(from.URI.Host, nowhere) && user != "" {
		name, domain, _ := strings.Cut(user, "@")
		caller = request.Address{URI: sip.Uri{Scheme: "sip", User: name, Host: domain}}
	}
	if user == "" {
		if list, err := request.Addresses(req, headerPAI); err == nil && len(list) > 0 {
			caller = list[0]
		}
	}
	caller.URI.User = apply(k.Rewrite.OutCalling, caller.URI.User)
	if k.Identity.Number != "" {
		caller.URI.User = k.Identity.Number
	}
	if k.Identity.Domain != "" {
		caller.URI.Host, caller.URI.Port = k.Identity.Domain, 0
	}
	stripIdentity(req)
	removeAll(req, headerPreferred)
	if !private || k.Identity.Trusted {
		k.assert(req, caller, private)
	}
	k.writeFrom(req, from, caller, private)
}

// assert adds the headers that say who calls.
func (k *trunk) assert(req *sip.Request, caller request.Address, private bool) {
	uri := sip.Uri{Scheme: caller.URI.Scheme, User: caller.URI.User, Host: caller.URI.Host, Port: caller.URI.Port}
	value := "<" + uri.String() + ">"
	if caller.Display != "" {
		value = quoted(caller.Display) + " " + value
	}
	if k.Identity.Asserted {
		req.AppendHeader(sip.NewHeader(headerPAI, value))
	}
	if k.Identity.RemoteParty {
		privacy := "off"
		if private {
			privacy = "full"
		}
		req.AppendHeader(sip.NewHeader(headerRPID, value+";party=calling;screen=yes;privacy="+privacy))
	}
}

// writeFrom changes From where the trunk wants it so; its tag stays.
func (k *trunk) writeFrom(req *sip.Request, from, caller request.Address, private bool) {
	tag, _ := from.Param("tag")
	was := from.URI.String()
	hidden := strings.EqualFold(from.URI.Host, nowhere) // the caller has made himself anonymous
	switch {
	case hidden:
		return
	case private && !k.Identity.Trusted:
		value := anonymous
		if tag != "" {
			value += ";tag=" + tag
		}
		req.ReplaceHeader(sip.NewHeader("From", value))
		return
	case k.Identity.From:
		from.URI.User, from.URI.Host, from.URI.Port = caller.URI.User, caller.URI.Host, caller.URI.Port
	default:
		from.URI.User = apply(k.Rewrite.OutCalling, from.URI.User)
	}
	if from.URI.String() != was {
		req.ReplaceHeader(sip.NewHeader("From", write(from)))
	}
}
