package phone

import (
	"strings"

	"github.com/emiago/sipgo/sip"
)

// dialog is the state of RFC 3261 §12; the call's lock guards what changes.
type dialog struct {
	callID    string
	localTag  string
	remoteTag string  // empty until the peer's first tag
	local     sip.Uri // From of our requests, without tag
	remote    sip.Uri
	target    sip.Uri  // the peer's Contact
	routes    []string // Route values, nearest first
	localSeq  uint32
	remoteSeq uint32
}

// uasDialog is the dialog that an INVITE opens at its receiver (§12.1.1).
func uasDialog(req *sip.Request, localTag string) dialog {
	d := dialog{
		callID: req.CallID().Value(), localTag: localTag,
		local: req.To().Address, remote: req.From().Address,
		remoteSeq: req.CSeq().SeqNo, routes: recordRoutes(req),
	}
	d.remoteTag, _ = req.From().Params.Get("tag")
	if c := req.Contact(); c != nil {
		d.target = c.Address
	}
	return d
}

// established completes the caller's dialog from a 2xx (§12.1.2): the route set is the Record-Route set backwards.
func (d *dialog) established(res *sip.Response) {
	d.remoteTag, _ = res.To().Params.Get("tag")
	d.refresh(res.Contact())
	routes := recordRoutes(res)
	for i, j := 0, len(routes)-1; i < j; i, j = i+1, j-1 {
		routes[i], routes[j] = routes[j], routes[i]
	}
	d.routes = routes
}

// refresh takes a new remote target (§12.2).
func (d *dialog) refresh(contact *sip.ContactHeader) {
	if contact != nil {
		d.target = contact.Address
	}
}

func recordRoutes(message sip.Message) []string {
	var routes []string
	for _, h := range message.GetHeaders("Record-Route") {
		routes = append(routes, values(h.Value())...)
	}
	return routes
}

// values splits a header line at the commas that are neither in <> nor in quotes (RFC 3261 §7.3.1).
func values(line string) []string {
	var out []string
	start, quoted, angled := 0, false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"' && !angled:
			quoted = !quoted
		case quoted:
		case c == '<' || c == '>':
			angled = c == '<'
		case c == ',' && !angled:
			out = append(out, strings.TrimSpace(line[start:i]))
			start = i + 1
		}
	}
	return append(out, strings.TrimSpace(line[start:]))
}

// request builds an in-dialog request with the next CSeq (§12.2.1.1). For ACK, seq is the INVITE's.
func (d *dialog) request(method sip.RequestMethod, seq uint32) *sip.Request {
	recipient, routes := d.target, d.routes
	next := &recipient
	if len(routes) > 0 {
		var first sip.Uri
		params := sip.NewParams()
		if _, err := sip.ParseAddressValue(routes[0], &first, &params); err == nil {
			next = &first
			if !first.UriParams.Has("lr") { // strict router: it wants itself as the request URI
				routes = append(append([]string(nil), routes[1:]...), "<"+d.target.String()+">")
				recipient = first
			}
		}
	}
	req := sip.NewRequest(method, recipient)
	for _, r := range routes {
		req.AppendHeader(sip.NewHeader("Route", r))
	}
	d.identify(req, seq)
	req.SetDestination(next.HostPort())
	if next.Port == 0 {
		req.SetDestination(next.Host + ":5060")
	}
	return req
}

// identify sets the header fields that name the dialog.
func (d *dialog) identify(req *sip.Request, seq uint32) {
	from := &sip.FromHeader{Address: d.local}
	from.Params.Add("tag", d.localTag)
	to := &sip.ToHeader{Address: d.remote}
	if d.remoteTag != "" {
		to.Params.Add("tag", d.remoteTag)
	}
	callID := sip.CallIDHeader(d.callID)
	req.AppendHeader(from)
	req.AppendHeader(to)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: req.Method})
	req.SetTransport("UDP") // whatever transport the target names: this phone has one
}

// matches tells whether an in-dialog request belongs here.
func (d *dialog) matches(req *sip.Request) bool {
	tag, _ := req.From().Params.Get("tag")
	return req.CallID().Value() == d.callID && (d.remoteTag == "" || strings.EqualFold(tag, d.remoteTag))
}

func toTag(message sip.Message) string {
	if to := message.To(); to != nil {
		tag, _ := to.Params.Get("tag")
		return tag
	}
	return ""
}
