package topology

import (
	"context"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// revealer is the first observer: it gives responses back what their request was deprived of.
type revealer struct{ *Hiding }

// Outgoing implements request.Observer.
func (revealer) Outgoing(context.Context, *request.Request, *request.Branch) error { return nil }

// Incoming implements request.Observer.
func (v revealer) Incoming(_ context.Context, r *request.Request, b *request.Branch, res *sip.Response) error {
	if !v.hides(b.Target.Profile) {
		return nil
	}
	entries := values(res, "Record-Route")
	if len(entries) > 0 {
		// Below ours there was nothing left.
		entries = append(entries[:len(entries)-1], b.Recorded...)
		setValues(res, "Record-Route", append(entries, values(r.Original, "Record-Route")...))
	}
	for res.RemoveHeader("Via") {
	}
	var vias []sip.Header
	for _, h := range r.Original.GetHeaders("Via") {
		vias = append(vias, sip.HeaderClone(h))
	}
	if len(vias) > 0 {
		res.PrependHeader(vias...)
	}
	return nil
}

// Finished implements request.Observer.
func (revealer) Finished(context.Context, *request.Request, *request.Branch, request.Outcome) {}

// hider is the last observer.
type hider struct{ *Hiding }

// Outgoing implements request.Observer: the target sees nothing of where the request comes from.
func (h hider) Outgoing(_ context.Context, r *request.Request, b *request.Branch) error {
	c := h.current.Load()
	if !c.profiles[b.Target.Profile] || b.Msg.Method == sip.REGISTER {
		return nil
	}
	routes := values(b.Msg, "Record-Route")
	for _, name := range []string{"Via", "Record-Route"} {
		for b.Msg.RemoveHeader(name) {
		}
	}
	callID, to := r.CallID(), r.FromTag()
	b.Record = func(own []string) []string {
		return []string{c.entry(own[0], path{to: to, seal: sealOf(own), routes: routes}, callID)}
	}
	if b.Conn == nil { // an ACK, whose Contact says nothing new
		for b.Msg.RemoveHeader("Contact") {
		}
		return nil
	}
	return c.setContacts(b.Msg, b.Conn)
}

// Incoming implements request.Observer: the sender of the request sees nothing of who answers.
func (h hider) Incoming(_ context.Context, r *request.Request, b *request.Branch, res *sip.Response) error {
	c := h.current.Load()
	if !c.profiles[r.Profile] || r.Conn == nil || r.Msg.Method == sip.REGISTER {
		return nil
	}
	c.hideRoutes(r, b, res)
	return c.setContacts(res, r.Conn)
}

// hideRoutes leaves one entry of ours for all that is nearer to the callee.
func (c *compiled) hideRoutes(r *request.Request, b *request.Branch, res *sip.Response) {
	entries := values(res, "Record-Route")
	if len(entries) == 0 {
		return
	}
	own := -1
	if n := len(b.Recorded); n > 0 {
		own = slices.Index(entries, b.Recorded[n-1])
	}
	if own < 0 { // echoed damaged: nothing of it may show
		setValues(res, "Record-Route", values(r.Original, "Record-Route"))
		return
	}
	beyond := slices.Clone(entries[:max(own-len(b.Recorded)+1, 0)])
	slices.Reverse(beyond)
	entry := c.entry(entries[own], path{to: request.ToTag(res), seal: sealOf(b.Recorded), routes: beyond}, r.CallID())
	setValues(res, "Record-Route", append([]string{entry}, entries[own+1:]...))
}

// Finished implements request.Observer.
func (hider) Finished(context.Context, *request.Request, *request.Branch, request.Outcome) {}

// entry is a Record-Route entry of ours with what it hides in place of its seal.
func (c *compiled) entry(own string, p path, callID string) string {
	a, err := request.ParseAddress(own)
	if err != nil {
		return own
	}
	return recordRoute(a.URI, routeParam, sealPath(c.seal, p, callID))
}

// sealOf is the dialog's seal in entries of ours.
func sealOf(own []string) string {
	for _, v := range own {
		if a, err := request.ParseAddress(v); err == nil {
			if s, ok := request.Param(a.URI.UriParams, request.SealParam); ok {
				return s
			}
		}
	}
	return ""
}

// values are all values of a list header, as received.
func values(m sip.Message, name string) []string {
	var out []string
	for _, h := range m.GetHeaders(name) {
		out = append(out, request.SplitList(h.Value())...)
	}
	return out
}

func setValues(m message, name string, list []string) {
	for m.RemoveHeader(name) {
	}
	for _, v := range list {
		m.AppendHeader(sip.NewHeader(name, strings.TrimSpace(v)))
	}
}
