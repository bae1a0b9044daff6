package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/ice/v3"
	"github.com/pion/logging"
	"github.com/pion/transport/v3"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

// start sets pion's agent going. Its only ways to start also wait for a connection; a context that is over already makes them return
// at once while checks go on.
func (g *generation) start(r Remote) error {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	begin := g.agent.Accept
	if r.Controlling {
		begin = g.agent.Dial
	}
	if _, err := begin(over, r.Credentials.Ufrag, r.Credentials.Password); err != nil && !errors.Is(err, ice.ErrCanceledByCaller) {
		return err
	}
	return nil
}

// close ends pion's agent and waits for its goroutines.
func (g *generation) close() {
	_ = g.agent.GracefulClose()
	for _, v := range g.views {
		_ = v.Close()
	}
}

// ownPorts is the UDPMux of an agent that has its ports to itself: views of the streams' sockets.
type ownPorts struct{ views []*udp.View }

var _ ice.UDPMux = (*ownPorts)(nil)

func (m *ownPorts) GetConn(_ string, local net.Addr) (net.PacketConn, error) {
	for _, v := range m.views {
		if v.LocalAddr().String() == local.String() {
			return v, nil
		}
	}
	return nil, net.ErrClosed
}

func (m *ownPorts) GetListenAddresses() []net.Addr {
	var out []net.Addr
	for _, v := range m.views {
		out = append(out, v.LocalAddr())
	}
	return out
}

func (m *ownPorts) RemoveConnByUfrag(string) {}
func (m *ownPorts) Close() error             { return nil }

// noInterfaces keeps pion from listing the machine's devices for each agent: with a UDPMux, host candidates only and no mDNS it asks the
// net for nothing else.
type noInterfaces struct{ transport.Net }

func (noInterfaces) Interfaces() ([]*transport.Interface, error) { return nil, nil }

// pion turns a parsed candidate into pion's.
func (c Candidate) pion() (ice.Candidate, error) {
	addr, port := c.Address.Addr().String(), int(c.Address.Port())
	switch c.Type {
	case "host":
		return ice.NewCandidateHost(&ice.CandidateHostConfig{
			Network: "udp", Address: addr, Port: port, Component: c.Component, Priority: c.Priority, Foundation: c.Foundation,
		})
	case "srflx":
		return ice.NewCandidateServerReflexive(&ice.CandidateServerReflexiveConfig{
			Network: "udp", Address: addr, Port: port, Component: c.Component, Priority: c.Priority, Foundation: c.Foundation,
		})
	case "prflx":
		return ice.NewCandidatePeerReflexive(&ice.CandidatePeerReflexiveConfig{
			Network: "udp", Address: addr, Port: port, Component: c.Component, Priority: c.Priority, Foundation: c.Foundation,
		})
	case "relay":
		return ice.NewCandidateRelay(&ice.CandidateRelayConfig{
			Network: "udp", Address: addr, Port: port, Component: c.Component, Priority: c.Priority, Foundation: c.Foundation,
		})
	default:
		return nil, fmt.Errorf("%w: type %q", ErrCandidate, c.Type)
	}
}

func addrPortOf(c ice.Candidate) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(c.Address())
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(c.Port())), true
}

// silence is a logger factory whose loggers say nothing.
type silence struct{}

func (silence) NewLogger(string) logging.LeveledLogger { return mute{} }

type mute struct{}

func (mute) Trace(string)          {}
func (mute) Tracef(string, ...any) {}
func (mute) Debug(string)          {}
func (mute) Debugf(string, ...any) {}
func (mute) Info(string)           {}
func (mute) Infof(string, ...any)  {}
func (mute) Warn(string)           {}
func (mute) Warnf(string, ...any)  {}
func (mute) Error(string)          {}
func (mute) Errorf(string, ...any) {}
