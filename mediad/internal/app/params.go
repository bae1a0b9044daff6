package app

import (
	"fmt"
	"net/netip"

	"github.com/tandem-sbc/tandem/mediad/internal/cli"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
)

// unset is how rtpengine writes a text that is not given.
const unset = "(null)"

// optionsOf lists options for the CLI's params, in rtpengine's order and under
// its names. Those without a value are the CLI's own to tell.
func optionsOf(s *settings.Settings) []cli.Option {
	var all []cli.Option
	add := func(name string, value any) { all = append(all, cli.Option{Name: name, Value: fmt.Sprint(value)}) }
	for _, name := range settings.Subsystems() {
		add("log-level-"+name, "")
	}
	add("table", s.Engine.Table)
	for _, name := range []string{"max-sessions", "timeout", "silent-timeout", "final-timeout", "offer-timeout", "delete-delay"} {
		add(name, "")
	}
	add("tos", s.Network.TOS)
	add("control-tos", s.Control.TOS)
	add("homer-protocol", s.Export.HomerProtocol)
	add("homer-id", s.Export.HomerID)
	add("no-fallback", number(s.Engine.NoFallback))
	add("port-min", s.Network.PortMin)
	add("port-max", s.Network.PortMax)
	add("num-threads", s.Engine.Workers)
	add("xmlrpc-format", s.Export.XMLRPCFormat)
	add("log_format", number(s.Log.JSON))
	for _, name := range []string{"max-cpu", "max-load", "max-bandwidth"} {
		add(name, "")
	}
	for i, n := range s.Network.Interfaces {
		advertised := ""
		if n.Advertised != n.Address {
			advertised = n.Advertised.String()
		}
		add(fmt.Sprintf("interface[%d]", i), fmt.Sprintf("%s\\%s %s", n.Name, n.Address, advertised))
	}
	add("b2b_url", orUnset(s.Export.B2BURL))
	for _, l := range []struct {
		name  string
		addrs []netip.AddrPort
	}{
		{"listen-udp", s.Control.Legacy}, {"listen-ng", s.Control.NG}, {"listen-tcp-ng", s.Control.NGTCP}, {"listen-cli", s.Control.CLI},
		{"listen-http", s.Control.HTTP}, {"listen-https", s.Control.HTTPS},
	} {
		for _, addr := range l.addrs {
			add(l.name, addr)
		}
	}
	return all
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func orUnset(text string) string {
	if text == "" {
		return unset
	}
	return text
}
