package dialog

import (
	"net/netip"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// lost stands for a connection that ended with an earlier run of the proxy, and that alone led to its peer.
type lost struct {
	id        request.ConnectionID
	transport request.Transport
}

func (l lost) ID() request.ConnectionID     { return l.id }
func (l lost) Transport() request.Transport { return l.transport }
func (l lost) Local() netip.AddrPort        { return netip.AddrPort{} }
func (l lost) Remote() netip.AddrPort       { return netip.AddrPort{} }
func (l lost) Listener() string             { return "" }
func (l lost) SentBy() string               { return "" }
func (l lost) Profile() string              { return "" }
func (l lost) Dialled() bool                { return false }
func (l lost) Send(sip.Message) error       { return request.ErrConnectionClosed }

func (l lost) Closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
