// Package topology hides one side of a call from the other (RFC 5853 §3.1): peers of a profile with topology hiding see no
// Via, no Record-Route and no Contact but the proxy's own.
//
// What is hidden is kept in no table. It travels, encrypted, in what the peer has to bring back: the target in the user part
// of the Contact it was shown, seal and route set in the proxy's Record-Route entry. So calls go on after a restart.
package topology

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

const (
	// contactPrefix begins the user part of a Contact of ours.
	contactPrefix = "th-"
	// routeParam is the parameter of a Record-Route entry of ours.
	routeParam = "th"
	// maxRoutes bounds a hidden route set.
	maxRoutes = 16
)

// Config says who sees nothing of the other side.
type Config struct {
	// Key encrypts what is hidden; it must survive restarts. 32 bytes.
	Key []byte
	// Profiles are the leg profiles whose peers are shown only the proxy.
	Profiles map[string]bool
}

// Owner tells which addresses are the proxy's own; the edge is one.
type Owner interface {
	Owns(host string, port int) bool
}

// Hiding makes the two steps between which the other steps see everything.
type Hiding struct {
	own     Owner
	current atomic.Pointer[compiled]
}

type compiled struct {
	seal     *sealer
	profiles map[string]bool
}

// New makes a hiding that hides nothing before Configure.
func New(own Owner) *Hiding {
	return &Hiding{own: own}
}

// Configure takes a configuration for all that comes from now on.
func (h *Hiding) Configure(c Config) error {
	s, err := newSealer(c.Key)
	if err != nil {
		return err
	}
	h.current.Store(&compiled{seal: s, profiles: maps.Clone(c.Profiles)})
	return nil
}

// hides reports that peers of a profile are to see nothing.
func (h *Hiding) hides(profile string) bool {
	c := h.current.Load()
	return c != nil && c.profiles[profile]
}

// Reveal is the step, right behind the screen, that puts back what was hidden from the sender of a request, and in its
// responses what was hidden from their senders.
func (h *Hiding) Reveal() request.Step {
	return request.StepFunc(func(_ context.Context, r *request.Request) (request.Verdict, error) {
		c := h.current.Load()
		if c == nil {
			return request.Continue, nil
		}
		h.target(r, c.seal)
		h.routes(r, c.seal)
		if len(c.profiles) > 0 && r.Msg.Method != sip.REGISTER {
			r.Observers = append(r.Observers, revealer{h})
		}
		return request.Continue, nil
	})
}

// Hide is the last step before forward.
func (h *Hiding) Hide() request.Step {
	return request.StepFunc(func(_ context.Context, r *request.Request) (request.Verdict, error) {
		if c := h.current.Load(); c != nil && len(c.profiles) > 0 {
			r.Observers = append(r.Observers, hider{h})
		}
		return request.Continue, nil
	})
}

// target puts back the request URI that a Contact of ours stands for.
func (h *Hiding) target(r *request.Request, s *sealer) {
	uri := r.Msg.Recipient
	hidden, ok := strings.CutPrefix(uri.User, contactPrefix)
	if !ok || !h.own.Owns(uri.Host, uri.Port) {
		return
	}
	text, err := s.open(hidden, "contact")
	var target sip.Uri
	if err == nil {
		err = request.ParseURI(text, &target)
	}
	if err != nil { // a guess, or of another key; the dialog may know better
		r.Log.Info("hidden Contact cannot be opened", zap.Stringer("source", r.Source), zap.Error(err))
		return
	}
	r.Msg.Recipient = target
}

// routes puts seal and route set behind our entries in Route.
func (h *Hiding) routes(r *request.Request, s *sealer) {
	found := false
	for _, v := range r.Msg.GetHeaders("Route") {
		found = found || strings.Contains(v.Value(), ";"+routeParam+"=")
	}
	if !found {
		return
	}
	entries, err := request.Routes(r.Msg)
	if err != nil {
		return // the dialog step refuses it
	}
	var values []string
	for i, e := range entries {
		hidden, ok := request.Param(e.URI.UriParams, routeParam)
		if !ok || i > 1 || !h.own.Owns(e.URI.Host, e.URI.Port) {
			values = append(values, e.Raw)
			continue
		}
		p, err := openPath(s, hidden, r.CallID())
		if err != nil {
			r.Log.Info("hidden route cannot be opened", zap.Stringer("source", r.Source), zap.Error(err))
			values = append(values, e.Raw)
			continue
		}
		values = append(values, recordRoute(e.URI, request.SealParam, p.seal))
		if p.to == r.ToTag() {
			values = append(values, p.routes...)
		}
	}
	request.SetRoutes(r.Msg, values)
}

// path is what a Record-Route entry of ours hides.
type path struct {
	to     string   // tag of the party that the routes lead to
	seal   string   // the dialog's
	routes []string // beyond us, nearest first
}

func sealPath(s *sealer, p path, callID string) string {
	return s.close(strings.Join(append([]string{p.to, p.seal}, p.routes[:min(len(p.routes), maxRoutes)]...), "\x1f"), "route\x00"+callID)
}

func openPath(s *sealer, text, callID string) (path, error) {
	plain, err := s.open(text, "route\x00"+callID)
	if err != nil {
		return path{}, err
	}
	f := strings.Split(plain, "\x1f")
	if len(f) < 2 {
		return path{}, errSealed
	}
	return path{to: f[0], seal: f[1], routes: f[2:]}, nil
}

// recordRoute writes an entry of ours with one parameter of its own.
func recordRoute(own sip.Uri, param, value string) string {
	bare := sip.Uri{Scheme: own.Scheme, Host: own.Host, Port: own.Port}
	v := "<" + bare.String()
	if t, ok := request.Param(own.UriParams, "transport"); ok {
		v += ";transport=" + t
	}
	v += ";lr"
	if value != "" {
		v += ";" + param + "=" + value
	}
	return v + ">"
}

// contact is the Contact that stands for another one at a connection.
func (c *compiled) contact(a request.Address, conn request.Connection) string {
	var v strings.Builder
	fmt.Fprintf(&v, "<%s:%s%s@%s", a.URI.Scheme, contactPrefix, c.seal.close(a.URI.String(), "contact"), conn.SentBy())
	if t := conn.Transport(); t.WebSocket() {
		v.WriteString(";transport=ws")
	} else if t != request.UDP {
		v.WriteString(";transport=" + string(t))
	}
	v.WriteByte('>')
	for _, p := range a.Params {
		switch strings.ToLower(p.K) {
		case "+sip.instance", "reg-id", "received": // names of devices and addresses
			continue
		}
		v.WriteString(";" + p.K)
		if p.V != "" {
			v.WriteString("=" + p.V)
		}
	}
	return v.String()
}

// setContacts replaces the contacts of a message by ours.
func (c *compiled) setContacts(m message, conn request.Connection) error {
	contacts, err := request.Addresses(m, "Contact")
	if err != nil {
		err = fmt.Errorf("contact not hidden: %w", err)
	}
	removed := false
	for m.RemoveHeader("Contact") {
		removed = true
	}
	if !removed {
		return nil
	}
	for _, a := range contacts {
		switch {
		case a.Wildcard(), a.URI.Scheme != "sip" && a.URI.Scheme != "sips":
		default:
			m.AppendHeader(sip.NewHeader("Contact", c.contact(a, conn)))
		}
	}
	return err
}

// message is a request or a response.
type message interface {
	sip.Message
	RemoveHeader(name string) bool
}

var errSealed = errors.New("not sealed by this proxy")
