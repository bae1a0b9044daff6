package dialog

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// The sealed value is base64url(fields 0x1F-separated ‖ MAC). It holds for both legs profile, kind of reachability and
// connection id, then the pass if it is not the first one, and is bound to Call-ID and A's tag by its MAC, so that it is of no use in another dialog.
const (
	macSize = 10
	// The kinds of reachability.
	kindWeb      = "w" // WebSocket: by that connection only
	kindBound    = "b" // by that connection, or not at all
	kindResolved = "r" // by Contact and Route; the id tells the listener for UDP
)

// Seal implements request.Dialogs.
func (k *Keeper) Seal(r *request.Request, b *request.Branch) string {
	kindA, kindB := kindOf(r.Conn, false), kindOf(b.Conn, b.Target.Conn != nil)
	if c, err := request.Addresses(r.Original, "Contact"); err == nil && len(c) > 0 && kindA == kindResolved && hidden(c[0].URI, r.Conn, direct(r)) {
		kindA = kindBound
	}
	fields := []string{r.Profile, kindA, string(r.Conn.ID()), b.Target.Profile, kindB, string(b.Conn.ID())}
	if r.Pass > 0 {
		fields = append(fields, strconv.Itoa(r.Pass))
	}
	text := strings.Join(fields, "\x1f")
	mac := k.mac(text, r.CallID(), r.FromTag())
	return base64.RawURLEncoding.EncodeToString(append([]byte(text), mac...))
}

// passOf is the pass that a seal of ours tells of.
func passOf(seal string) int {
	raw, err := base64.RawURLEncoding.DecodeString(seal)
	if err != nil || len(raw) <= macSize {
		return 0
	}
	fields := strings.Split(string(raw[:len(raw)-macSize]), "\x1f")
	if len(fields) < 7 {
		return 0
	}
	pass, _ := strconv.Atoi(fields[6])
	return pass
}

// passes counts the seals of ours in Record-Route: how often the call has been here before.
func (k *Keeper) passes(r *request.Request) int {
	entries, _ := request.Addresses(r.Original, "Record-Route") // those before one that cannot be read
	n := 0
	for i := range entries {
		if _, sealed := request.Param(entries[i].URI.UriParams, request.SealParam); sealed && k.ours(entries[i].URI) {
			n++
		}
	}
	return n
}

func kindOf(c request.Connection, bound bool) string {
	switch {
	case c.Transport().WebSocket():
		return kindWeb
	case bound:
		return kindBound
	default:
		return kindResolved
	}
}

func (k *Keeper) mac(text, callID, tagA string) []byte {
	h := hmac.New(sha256.New, k.cfg.Load().Key)
	h.Write([]byte(text + "\x00" + callID + "\x00" + tagA))
	return h.Sum(nil)[:macSize]
}

// restore makes a dialog of the seal in a request's Route; the lock is held. nil when the seal is not ours.
func (k *Keeper) restore(r *request.Request, seal string) (d *Dialog, fromA bool) {
	raw, err := base64.RawURLEncoding.DecodeString(seal)
	if err != nil || len(raw) <= macSize {
		return nil, false
	}
	text, mac := string(raw[:len(raw)-macSize]), raw[len(raw)-macSize:]
	from, to := r.FromTag(), r.ToTag()
	switch {
	case hmac.Equal(mac, k.mac(text, r.CallID(), from)):
		fromA = true
	case hmac.Equal(mac, k.mac(text, r.CallID(), to)):
	default:
		r.Log.Warn("seal in Route is not valid", zap.Stringer("source", r.Source))
		return nil, false
	}
	fields := strings.Split(text, "\x1f")
	if len(fields) < 6 {
		return nil, false
	}
	d = &Dialog{CallID: r.CallID(), Confirmed: true, seal: seal, since: time.Now()}
	d.A = k.restoreLeg(fields[0], fields[1], fields[2])
	d.B = k.restoreLeg(fields[3], fields[4], fields[5])
	sender, peer := &d.A, &d.B
	if !fromA {
		sender, peer = peer, sender
	}
	sender.Tag, sender.Identity = from, request.Header(r.Msg, "From")
	peer.Tag, peer.Identity = to, request.Header(r.Msg, "To")
	sender.Conn = r.Conn
	peer.jump = jumpUnknown
	peer.Contact = r.Msg.Recipient.String()
	for _, v := range r.Msg.GetHeaders("Route") {
		peer.Routes = append(peer.Routes, v.Value())
	}
	if c, err := request.Addresses(r.Msg, "Contact"); err == nil && len(c) > 0 {
		sender.Contact = c[0].URI.String()
	}
	switch r.Msg.Method {
	case sip.SUBSCRIBE, sip.NOTIFY, sip.REFER: // not calls: each request brings its seal again
		d.Confirmed = false
		return d, fromA
	}
	k.touch(d)
	k.enter(d)
	r.Log.Info("dialog taken from Route")
	return d, fromA
}

// restoreLeg finds the connection again: UDP by its name, others while they live. A browser's that is gone stays gone.
func (k *Keeper) restoreLeg(profile, kind, id string) Leg {
	transport := request.TCP
	if kind == kindWeb {
		transport = request.WSS
	}
	bound := kind != kindResolved
	return Leg{Profile: profile, Bound: bound, Conn: k.connection(request.ConnectionID(id), transport, bound)}
}
