package route

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Rule is one static route. Its zero matches nobody; see refuses.
type Rule struct {
	Name    string
	Users   bool     // for requests of authenticated users
	Trunks  []string // for requests of these trunks
	Domain  string   // it is this one; "*" = any
	Prefix  string   // the user part begins with
	Pattern *regexp.Regexp
	When    *Condition // nil = always
	Strip   int        // characters taken off the user part
	Add     string     // put in front of it

	Action  Action
	NextHop sip.Uri       // of ActionSend; its user part is taken from the request
	To      []string      // trunks of ActionTrunks, in this order
	Profile string        // leg profile towards the next hop; "" = the trunk's
	Timeout time.Duration // of ringing; 0 = Timer C alone
}

// Action is what a rule does.
type Action uint8

// The actions of a rule.
const (
	ActionRegistered Action = iota // to the contacts of the registered user
	ActionSend                     // to the next hop
	ActionTrunks                   // to the targets of trunks
	ActionReject                   // 403
)

// question is a request as rules see it.
type question struct {
	r            *request.Request
	user, domain string
	own          bool
	environment  *environment // made when the first condition asks
}

// refuses tells why the rule is not for a request; "" if it is.
func (rule *Rule) refuses(q *question) string {
	r := q.r
	switch {
	case r.Trunk != "" && !slices.Contains(rule.Trunks, r.Trunk):
		return "not for trunk " + r.Trunk
	case r.Trunk == "" && !(rule.Users && r.User != ""):
		return "not for this sender"
	}
	switch rule.Domain {
	case "*":
	case "":
		if !q.own {
			return "not an own domain"
		}
	default:
		if !strings.EqualFold(rule.Domain, r.Msg.Recipient.Host) && !(q.own && strings.EqualFold(rule.Domain, q.domain)) {
			return "another domain than " + rule.Domain
		}
	}
	if !strings.HasPrefix(q.user, rule.Prefix) {
		return "another prefix than " + rule.Prefix
	}
	if rule.Pattern != nil && !rule.Pattern.MatchString(q.user) {
		return "another pattern"
	}
	if rule.When != nil {
		ok, err := rule.When.holds(q)
		if err != nil {
			r.Log.Warn("condition of route failed: " + err.Error())
			return "its condition failed: " + err.Error()
		}
		if !ok {
			return fmt.Sprintf("not true: %s", rule.When)
		}
	}
	return ""
}

func (rule *Rule) rewrite(user string) string {
	return rule.Add + user[min(rule.Strip, len(user)):]
}

func (rule *Rule) target(user string) request.Target {
	uri := *rule.NextHop.Clone()
	uri.User = user
	return request.Target{URI: uri, Profile: rule.Profile, Q: 1000, Timeout: rule.Timeout, Trusted: true}
}

// trunkTargets are the targets of the rule's trunks, one after the other.
func (rule *Rule) trunkTargets(trunks Trunks, user string) []request.Target {
	var out []request.Target
	if trunks == nil {
		return nil
	}
	for _, name := range rule.To {
		for _, t := range trunks.Targets(name, user) {
			if rule.Profile != "" {
				t.Profile = rule.Profile
			}
			t.Timeout = rule.Timeout
			t.Q = max(1000-len(out), 0)
			out = append(out, t)
		}
	}
	return out
}
