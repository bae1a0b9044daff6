package dialog

import (
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// replaced gives an INVITE with Replaces (RFC 3891) that is addressed to a party's Contact that party's own connection: who
// was told by REFER to take over a browser's call knows nothing but its made-up host. Addresses of record go by the dial
// plan. The request is authenticated all the same.
func (k *Keeper) replaced(r *request.Request) {
	value := request.Header(r.Msg, "Replaces")
	if value == "" {
		return
	}
	callID, rest, _ := strings.Cut(value, ";")
	params := request.ParseParams(rest)
	to, _ := request.Param(params, "to-tag")
	from, _ := request.Param(params, "from-tag")
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range k.byCall[strings.TrimSpace(callID)] {
		leg, other := &d.A, &d.B
		if leg.Tag != to {
			leg, other = other, leg
		}
		if leg.Tag == to && other.Tag == from && sameContact(leg.Contact, r.Msg.Recipient) {
			r.Targets = []request.Target{target(leg, r.Msg.Recipient)}
			return
		}
	}
}

// sameContact compares what RFC 3261 §19.1.4 compares at least: user, host and port.
func sameContact(contact string, uri sip.Uri) bool {
	var c sip.Uri
	return request.ParseURI(contact, &c) == nil && c.User == uri.User && strings.EqualFold(c.Host, uri.Host) && c.Port == uri.Port
}
