package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"github.com/tandem-sbc/tandem/proxy/internal/bridge"
	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
)

func nodesOf(m settings.Media) []ngclient.NodeConfig {
	nodes := make([]ngclient.NodeConfig, 0, len(m.Nodes))
	for _, n := range m.Nodes {
		nodes = append(nodes, ngclient.NodeConfig{Address: n.HostPort(), Weight: n.Share(), Interfaces: n.Interfaces})
	}
	return nodes
}

func mediaPolicy(s *settings.Settings) (bridge.Policy, error) {
	profiles, err := compileProfiles(s)
	return bridge.Policy{
		Profiles: profiles, MaxCalls: s.Media.MaxCalls, Timeout: time.Duration(s.Media.Timeout),
		MovesPerSecond: s.Media.Reanchor.CallsPerSecond,
	}, err
}

func (a *App) openMedia(context.Context) error {
	m := a.settings.Load().Media
	if len(m.Nodes) == 0 {
		a.log.Warn("no media nodes: SDP goes through as it is")
		return nil
	}
	policy, err := mediaPolicy(a.settings.Load())
	if err != nil {
		return err
	}
	var step atomic.Pointer[bridge.Step]
	config := ngclient.Config{
		Nodes: nodesOf(m), Interval: time.Duration(m.Retransmit), Deadline: time.Duration(m.Timeout),
		PingInterval: time.Duration(m.PingInterval), LostAfter: time.Duration(m.Reanchor.After), Log: telemetry.Slog(a.log.Named("media")),
	}
	if !m.Reanchor.Off {
		config.Lost = func(n *ngclient.Node) {
			if s := step.Load(); s != nil {
				calls := a.media.Release(n)
				a.log.Warn("media node lost, its calls move", zap.String("node", n.Address()), zap.Int("calls", len(calls)))
				s.Move(calls...)
			}
		}
	}
	if a.media, err = ngclient.New(config); err != nil {
		return err
	}
	a.closers = append(a.closers, a.media.Close)
	a.bridge = bridge.New(bridge.Config{Policy: policy, Media: a.media, Log: a.log.Named("bridge")})
	a.onClose(a.bridge.Close)
	step.Store(a.bridge)
	return nil
}

// serveMedia lets the bridge move calls; the chain is complete.
func (a *App) serveMedia() {
	if a.bridge != nil {
		a.bridge.Serve(signalling{a.layer, a.keeper})
	}
}

// maxEvent is the longest report of a telephone event, in bytes: it names all tags of its call.
const maxEvent = 16 << 10

// openEvents listens for the nodes' reports of telephone events.
func (a *App) openEvents(context.Context) error {
	e := a.settings.Load().Media.Events
	if a.bridge == nil || e.IsZero() {
		return nil
	}
	addr, err := netip.ParseAddr(e.Host)
	if err != nil {
		return fmt.Errorf("media.events: %w", err)
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, e.Port)))
	if err != nil {
		return fmt.Errorf("media.events: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxEvent)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && (addr.IsLoopback() || a.media.IsNode(from.Addr())) {
				a.bridge.Event(buf[:n])
			}
		}
	}()
	a.closers = append(a.closers, func() error {
		err := conn.Close()
		<-done
		return err
	})
	return nil
}

// signalling is what the bridge needs of the call's order and of its dialogs.
type signalling struct {
	*transaction.Layer
	keeper *dialog.Keeper
}

func (s signalling) Reinvite(ctx context.Context, callID string, pass int, from, to, sdp string, done func(context.Context, int, time.Duration)) error {
	return s.keeper.Reinvite(ctx, callID, pass, from, to, sdp, done)
}

func (s signalling) Inform(ctx context.Context, callID string, pass int, from, to, contentType, body string) error {
	return s.keeper.Inform(ctx, callID, pass, from, to, contentType, body)
}

func (s signalling) End(callID string) { s.keeper.End(callID) }
