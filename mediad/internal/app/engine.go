package app

import (
	"errors"
	"fmt"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/sockets"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	"github.com/tandem-sbc/tandem/pkg/udp"
	"go.uber.org/zap"
)

// ErrNoKernel says that the start was made to depend on kernel forwarding.
var ErrNoKernel = errors.New("no-fallback is set, but there is no kernel forwarding")

// newEngine starts the engine that is asked for, or the best that works here.
func newEngine(s *settings.Engine, tos uint8, log *zap.Logger) (engine.Engine, error) {
	contained := func(v any, stack []byte) {
		log.Error("panic while handling a packet", zap.Any("panic", v), zap.ByteString("stack", stack))
	}
	switch {
	case s.Name == settings.EngineKernel || s.Name == settings.EngineSteer:
		return nil, fmt.Errorf("engine %s: %w", s.Name, errors.ErrUnsupported)
	case s.Table >= 0 && s.NoFallback:
		return nil, ErrNoKernel
	}
	ring := map[string]sockets.Ring{settings.RingOn: sockets.On, settings.RingOff: sockets.Off} // otherwise where it works
	e, err := sockets.New(sockets.Config{Workers: s.Workers, Ring: ring[s.Ring], Socket: udp.Options{TOS: tos}, OnPanic: contained})
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	if s.Table >= 0 {
		log.Warn("no kernel forwarding: media is forwarded in user space", zap.Int("table", s.Table))
	}
	log.Info("media engine", zap.String("engine", e.Name()), zap.String("detail", e.Detail()))
	return e, nil
}
