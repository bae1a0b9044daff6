//go:build integration

package behaviours

import (
	"fmt"
	"slices"
	"strings"
)

// A dialog is one side of a call, as its peer knows it.
type dialog struct {
	p             *peer
	callID        string
	local, remote string // From and To of its requests
	target        string // request URI
	routes        []string
	seq           int
	branch        string // of the last INVITE
	invited       int    // its CSeq
	device        string // parameters of the Contact
}

// call makes a dialog towards a URI; nothing is sent.
func (p *peer) call(uri string) *dialog {
	return &dialog{p: p, callID: unique("call") + "@" + p.host, local: "<" + p.aor() + ">;tag=" + unique("f"), remote: "<" + uri + ">", target: uri}
}

// request builds a request. ACK and CANCEL take the number of the last INVITE, CANCEL its branch as well.
func (d *dialog) request(method string, b body, headers ...string) string {
	branch, seq := unique("z9hG4bK"), d.invited
	switch method {
	case "CANCEL":
		branch = d.branch
	case "ACK":
	default:
		d.seq++
		seq = d.seq
	}
	if method == "INVITE" {
		d.branch, d.invited = branch, seq
	}
	return d.build(method, branch, seq, b, headers...)
}

// ackFailure is the ACK of a failed INVITE, which has its branch.
func (d *dialog) ackFailure(res msg) {
	d.p.t.Helper()
	remote := d.remote
	d.remote = res.get("To")
	d.p.send(d.build("ACK", d.branch, d.invited, body{}))
	d.remote = remote
}

func (d *dialog) build(method, branch string, seq int, b body, headers ...string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=%s\r\n", method, d.target, d.p.transport, d.p.host, branch)
	for _, r := range d.routes {
		fmt.Fprintf(&s, "Route: %s\r\n", r)
	}
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Max-Forwards") }) {
		s.WriteString("Max-Forwards: 70\r\n")
	}
	fmt.Fprintf(&s, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n", d.local, d.remote, d.callID, seq, method)
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Contact:") }) {
		fmt.Fprintf(&s, "Contact: <%s>%s\r\n", d.p.contact(), d.device)
	}
	for _, h := range headers {
		if h != "Max-Forwards: none" {
			s.WriteString(h + "\r\n")
		}
	}
	return s.String() + b.lines()
}

// invite sends an INVITE outside of a dialog, with the user's password if the proxy asks for it.
func (d *dialog) invite(b body, headers ...string) {
	d.p.t.Helper()
	d.begin("INVITE", b, headers...)
}

// begin sends a request outside of a dialog, with the user's password if the proxy asks for it.
func (d *dialog) begin(method string, b body, headers ...string) {
	d.p.t.Helper()
	d.p.send(d.request(method, b, headers...))
	if d.p.user == "" {
		return
	}
	res := d.p.expect("SIP/2.0 407")
	if method == "INVITE" {
		d.ackFailure(res)
	}
	d.p.send(d.request(method, b, append(headers, d.p.credentials(res, method, d.target))...))
}

// confirm takes the callee's side from a 2xx and acknowledges it.
func (d *dialog) confirm(res msg, b body) {
	d.p.t.Helper()
	d.learn(res)
	d.p.send(d.request("ACK", b))
}

// learn takes the callee's side from a response.
func (d *dialog) learn(res msg) {
	d.remote, d.target = res.get("To"), between(res.get("Contact"))
	d.routes = slices.Clone(res.all("Record-Route"))
	slices.Reverse(d.routes)
}

// response builds a response to a request; tag is put into To when it has none.
func (p *peer) response(req msg, status, tag string, b body, headers ...string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "SIP/2.0 %s\r\n", status)
	for _, name := range []string{"Via", "Record-Route"} {
		for _, v := range req.all(name) {
			fmt.Fprintf(&s, "%s: %s\r\n", name, v)
		}
	}
	to := req.get("To")
	if tag != "" && !strings.Contains(to, ";tag=") {
		to += ";tag=" + tag
	}
	fmt.Fprintf(&s, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n", req.get("From"), to, req.get("Call-ID"), req.get("CSeq"))
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Contact:") }) {
		fmt.Fprintf(&s, "Contact: <%s>\r\n", p.contact())
	}
	for _, h := range headers {
		s.WriteString(h + "\r\n")
	}
	return s.String() + b.lines()
}

// reply sends a response with the tag "callee".
func (p *peer) reply(req msg, status string, b body, headers ...string) {
	p.t.Helper()
	p.send(p.response(req, status, "callee", b, headers...))
}

// accept answers an INVITE and returns the callee's side.
func (p *peer) accept(inv msg, b body, headers ...string) *dialog {
	p.t.Helper()
	p.reply(inv, "200 OK", b, headers...)
	return p.callee(inv, "callee")
}

// callee is the callee's side of an INVITE that was answered with tag.
func (p *peer) callee(inv msg, tag string) *dialog {
	d := &dialog{p: p, callID: inv.get("Call-ID"), local: inv.get("To"), remote: inv.get("From"), target: between(inv.get("Contact")), routes: inv.all("Record-Route"), seq: 100}
	if !strings.Contains(d.local, ";tag=") {
		d.local += ";tag=" + tag
	}
	return d
}

// established is a call that both sides know.
type established struct {
	caller, callee *dialog
	invite, ok     msg // as the other side has got them
}

// connect makes a call from one peer to a user.
func (p *peer) connect(to *peer, offer, answer body) established {
	p.t.Helper()
	c := p.call(to.aor())
	c.invite(offer)
	e := established{caller: c, invite: to.expect("INVITE ")}
	e.callee = to.accept(e.invite, answer)
	e.ok = p.expect("SIP/2.0 200")
	c.confirm(e.ok, body{})
	to.expect("ACK ")
	return e
}

// hangUp ends a call from this side.
func (d *dialog) hangUp(other *peer) {
	d.p.t.Helper()
	d.p.send(d.request("BYE", body{}))
	other.reply(other.expect("BYE "), "200 OK", body{})
	d.p.expect("SIP/2.0 200")
}
