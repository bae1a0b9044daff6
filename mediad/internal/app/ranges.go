package app

import (
	"errors"
	"fmt"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
)

// openPorts makes the registry of ports, in a range that is found free if the settings say so.
func (a *App) openPorts(n *settings.Network) error {
	if n.AutoPortRange == 0 {
		return a.openRange(n)
	}
	var err error
	for range autoAttempts {
		if n.PortMin, n.PortMax, err = freeRange(n.AutoPortRange, n.Interfaces); err != nil {
			return err
		}
		if err = a.openRange(n); !errors.Is(err, ports.ErrClaimed) {
			break
		}
	}
	return err
}

func (a *App) openRange(n *settings.Network) error {
	interfaces := interfacesOf(n, a.log)
	registry, err := ports.New(interfaces, ports.Options{Open: a.engine.OpenPair, FirstOnly: n.SavePorts})
	if err != nil {
		return fmt.Errorf("interface: %w", err)
	}
	a.ports = registry
	return a.claim(interfaces)
}

// claim keeps other daemons off the ports if they are no sockets, which the kernel would keep apart.
func (a *App) claim(interfaces []ports.Interface) error {
	e, steers := a.engine.(engine.Steering)
	if !steers {
		return nil
	}
	if _, steers = e.Dropped(); !steers {
		return nil
	}
	if err := a.claims.Hold(interfaces); err != nil {
		return fmt.Errorf("interface: %w", err)
	}
	return nil
}

// closeEngine ends the engine, and then others may have the ports.
func (a *App) closeEngine() error { return errors.Join(a.engine.Close(), a.claims.Close()) }
