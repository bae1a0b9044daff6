package edge

import (
	"net/netip"

	"github.com/emiago/sipgo/sip"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// supposed implements request.Connection for a peer that is only thought of.
type supposed struct {
	l      *listener
	remote netip.AddrPort
}

func (s supposed) ID() request.ConnectionID     { return "supposed" }
func (s supposed) Transport() request.Transport { return s.l.Transport }
func (s supposed) Local() netip.AddrPort        { return s.l.addr }
func (s supposed) Remote() netip.AddrPort       { return s.remote }
func (s supposed) Listener() string             { return s.l.Name }
func (s supposed) SentBy() string               { return s.l.sentBy }
func (s supposed) Profile() string              { return s.l.Profile }
func (s supposed) Dialled() bool                { return false }
func (s supposed) Closed() <-chan struct{}      { return nil }
func (s supposed) Send(sip.Message) error       { return request.ErrConnectionClosed }
