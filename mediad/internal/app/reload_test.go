package app

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// again returns a copy of the settings in force, changed.
func (d *daemon) again(change func(*settings.Settings)) *settings.Settings {
	s := d.config
	s.Network.Interfaces = append([]settings.Interface(nil), s.Network.Interfaces...)
	change(&s)
	return &s
}

// TestReloadLeavesCallsAlone takes the interfaces of a call away, adds others
// and lowers limits: the call talks on, new calls see the new settings.
func TestReloadLeavesCallsAlone(t *testing.T) {
	d := startDaemon(t, twoInterfaces)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.2")
	connectPhones(d, a, b, func(req *ng.Request) { req.Direction = [2]string{"priv", "pub"} })
	talk(t, a, b)

	three := netip.MustParseAddr("127.0.0.3")
	require.NoError(t, d.app.Reload(d.again(func(s *settings.Settings) {
		s.Network.Interfaces = []settings.Interface{{Name: "new", Address: three, Advertised: three}}
		s.Limits.MaxSessions, s.Limits.Timeout = 2, time.Hour
		s.Control.Templates = map[string]string{"v6": "address-family=IP6", "offer": "replace-origin"}
		s.Log.Level, s.Log.Levels = 3, map[string]int{"ice": 7}
	})))
	talk(t, a, b)
	reports(t, a, b)
	require.Equal(t, time.Hour, d.app.limits.Load().Timeout)
	level, _ := d.app.levels.Get("ice")
	require.Equal(t, 7, level)

	c := newPhone(t, "127.0.0.1")
	body := d.offer(&ng.Request{CallID: "other", FromTag: "c", SDP: c.sdp(0), ICE: ng.ICERemove})
	require.Equal(t, "c=IN IP4 127.0.0.3", line(body, "c="))
	require.Contains(t, line(body, "o="), "127.0.0.3", "the template of offers")
	_, err := d.client.Offer(context.Background(), &ng.Request{Command: ng.CommandOffer, CallID: "third", FromTag: "c", SDP: c.sdp(0)})
	reason(t, err, ng.ReasonSessionLimit)

	// A re-offer of the old call moves it to what is there now.
	body = d.offer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: a.sdp(0), ICE: ng.ICERemove})
	require.Equal(t, "c=IN IP4 127.0.0.3", line(body, "c="))
	b.told(body)
	a.told(d.answer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: b.sdp(0), ICE: ng.ICERemove}))
	talk(t, a, b)
	for _, id := range []string{"call", "other"} {
		d.delete(&ng.Request{CallID: id})
	}
}

// TestBadReloadChangesNothing: what cannot be read or used leaves all as it was.
func TestBadReloadChangesNothing(t *testing.T) {
	d := startDaemon(t, nil)
	require.ErrorIs(t, d.app.ReloadFile(), errNoReload)
	bad := errors.New("bad file")
	d.app.load = func() (*settings.Settings, error) { return nil, bad }
	require.ErrorIs(t, d.app.ReloadFile(), bad)
	before := *d.app.limits.Load()
	require.Error(t, d.app.Reload(d.again(func(s *settings.Settings) {
		s.Network.Interfaces[0].PortMin, s.Network.Interfaces[0].PortMax = 9, 9
		s.Limits.Timeout = time.Hour
	})))
	require.Equal(t, before, *d.app.limits.Load())
	a := newPhone(t, "127.0.0.1")
	body := d.offer(&ng.Request{CallID: "call", FromTag: "a", SDP: a.sdp(0)})
	require.Equal(t, "c=IN IP4 127.0.0.1", line(body, "c="))
	d.delete(&ng.Request{CallID: "call"})
}

func TestUnchangeable(t *testing.T) {
	old := settings.Defaults()
	other := settings.Defaults()
	require.Empty(t, unchangeable(&old, &other))
	other.Limits.Timeout, other.Log.Level, other.Media.SIPSource = time.Hour, 7, true
	require.Empty(t, unchangeable(&old, &other))
	other.Control.NG = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}
	other.Engine.Workers, other.DTLS.MTU = 3, 700
	require.Equal(t, []string{"listen-ng", "num-threads", "dtls-cert-cipher"}, unchangeable(&old, &other))
}
