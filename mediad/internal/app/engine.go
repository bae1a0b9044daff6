package app

import (
	"errors"
	"fmt"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/kernel"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/sockets"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/steer"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	"github.com/tandem-sbc/tandem/pkg/udp"
	"go.uber.org/zap"
)

// ErrNoKernel says that the start was made to depend on kernel forwarding.
var ErrNoKernel = errors.New("there is no kernel forwarding, and the settings do not allow to do without")

// Bounds of what the kernel engine is made for, in streams, and of addresses that a reload may add.
const (
	minKernelStreams = 1 << 10
	maxKernelStreams = 1 << 18
	spareAddresses   = 32
)

// engines starts the engine of the settings.
type engines struct {
	settings *settings.Engine
	network  *settings.Network
	log      *zap.Logger
}

// start starts the engine that is asked for, or the best that works here.
func (b engines) start() (engine.Engine, error) {
	e, err := b.user()
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	if e, err = b.kernel(e); err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	b.log.Info("media engine", zap.String("engine", e.Name()), zap.String("detail", e.Detail()))
	return e, nil
}

// user starts the engine in user space, which the kernel one needs, too.
func (b engines) user() (engine.Engine, error) {
	tos := uint8(b.network.TOS)
	if b.settings.Name != settings.EngineSockets {
		e, err := steer.New(steer.Config{
			Workers: b.settings.Workers, Addresses: len(b.network.Interfaces) + spareAddresses, TOS: tos, OnPanic: b.contained,
		})
		if err == nil {
			return e, nil
		}
		if b.settings.Name == settings.EngineSteer {
			return nil, err
		}
		b.log.Info("ports are sockets of their own", zap.NamedError("because", err))
	}
	warnOfDescriptors(2*b.pairs(), b.log)
	ring := map[string]sockets.Ring{settings.RingOn: sockets.On, settings.RingOff: sockets.Off} // otherwise where it works
	return sockets.New(sockets.Config{
		Workers: b.settings.Workers, Ring: ring[b.settings.Ring], Socket: udp.Options{TOS: tos}, OnPanic: b.contained,
	})
}

// kernel puts kernel forwarding before an engine if that is wanted, and possible; if it must be and is not, the engine is closed.
func (b engines) kernel(below engine.Engine) (engine.Engine, error) {
	asked := b.settings.Table >= 0
	forced := b.settings.Name == settings.EngineKernel || asked && b.settings.NoFallback
	err := errors.New("another engine is asked for")
	if b.settings.Name == settings.EngineKernel || b.settings.Name == settings.EngineAuto && (asked || !b.settings.TableGiven) {
		var e *kernel.Engine
		e, err = kernel.New(below, kernel.Config{
			Capacity: b.kernelStreams(), TOS: uint8(b.network.TOS),
			OnError: func(err error) { b.log.Warn("kernel forwarding is not complete", zap.Error(err)) },
		})
		if err == nil {
			return e, nil
		}
	}
	switch {
	case forced:
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrNoKernel, err), below.Close())
	case asked:
		b.log.Warn("no kernel forwarding: media is forwarded in user space", zap.Int("table", b.settings.Table), zap.NamedError("because", err))
	case !b.settings.TableGiven && b.settings.Name == settings.EngineAuto:
		b.log.Info("media is forwarded in user space", zap.NamedError("because", err))
	}
	return below, nil
}

// kernelStreams is how many streams the kernel is to take: one for each pair of ports, for RTCP stays in user space.
func (b engines) kernelStreams() int {
	return min(max(b.pairs(), minKernelStreams), maxKernelStreams)
}

// pairs is how many pairs of ports there are.
func (b engines) pairs() int {
	if b.network.AutoPortRange > 0 {
		return b.network.AutoPortRange / 2 * len(b.network.Interfaces)
	}
	pairs := 0
	for _, i := range b.network.Interfaces {
		low, high := b.network.Ports(i)
		pairs += (high - low + 1) / 2
	}
	return pairs
}

func (b engines) contained(v any, stack []byte) {
	b.log.Error("panic while handling a packet", zap.Any("panic", v), zap.ByteString("stack", stack))
}
