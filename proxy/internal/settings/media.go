package settings

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/pkg/conf"
)

// Media is how media daemons are reached over the ng protocol.
type Media struct {
	Nodes        []Node        `yaml:"nodes"`
	Timeout      conf.Duration `yaml:"timeout"`       // one command, over all tries and nodes
	Retransmit   conf.Duration `yaml:"retransmit"`    // wait before a command is sent again
	PingInterval conf.Duration `yaml:"ping_interval"` // health check of each node
	MaxCalls     int           `yaml:"max_calls"`     // calls with media at the same time
	Reanchor     Reanchor      `yaml:"reanchor"`
	Events       conf.Endpoint `yaml:"events"` // UDP, where nodes report telephone events; none: nobody listens
}

// Node is one media daemon; as one value it is udp:host:port[=weight].
type Node struct {
	Address    string            `yaml:"address"`    // udp:host:port
	Weight     *int              `yaml:"weight"`     // share of new calls; 0 gets none; default 1
	Interfaces map[string]string `yaml:"interfaces"` // this node's names for interfaces of profiles
}

// UnmarshalShort implements conf.Shorthand.
func (n *Node) UnmarshalShort(text string) error {
	address, weight, weighted := strings.Cut(text, "=")
	n.Address = address
	if weighted {
		w, err := strconv.Atoi(weight)
		if err != nil {
			return fmt.Errorf("%q: the weight must be %d to %d", text, 0, maxWeight)
		}
		n.Weight = &w
	}
	return nil
}

// maxWeight bounds the weights of nodes.
const maxWeight = 1000

// HostPort is the address without its scheme.
func (n Node) HostPort() string { return strings.TrimPrefix(n.Address, "udp:") }

// Share is the weight, 1 if it is not given.
func (n Node) Share() int {
	if n.Weight == nil {
		return 1
	}
	return *n.Weight
}

// Values of Profile.Digits.
const (
	DigitsAsSent = "as-sent"
	DigitsRTP    = "rtp"
	DigitsInfo   = "info"
)

// builtinDigits is the default of a profile: that of the built-in one of its name.
func builtinDigits(builtin Profile) string {
	if builtin.Digits == "" {
		return DigitsAsSent
	}
	return builtin.Digits
}

// Reanchor is how running calls are moved to another node when theirs is lost.
type Reanchor struct {
	Off            bool          `yaml:"off"`              // calls of a lost node stay without media
	After          conf.Duration `yaml:"after"`            // how long a node may be silent
	CallsPerSecond int           `yaml:"calls_per_second"` // how many calls are moved
}

func defaultMedia() Media {
	return Media{
		Timeout:      conf.Duration(3 * time.Second),
		Retransmit:   conf.Duration(500 * time.Millisecond),
		PingInterval: conf.Duration(time.Second),
		MaxCalls:     20000,
		Reanchor:     Reanchor{After: conf.Duration(2 * time.Second), CallsPerSecond: 500},
	}
}

func (s *Settings) validateMedia(doc *conf.Document) {
	seen := make(map[string]bool)
	for i, n := range s.Media.Nodes {
		key := fmt.Sprintf("media.nodes[%d]", i)
		if err := n.check(); err != nil {
			doc.Fault(key, "%v", err)
		} else if seen[n.Address] {
			doc.Fault(key, "%q is listed twice", n.Address)
		}
		seen[n.Address] = true
		if w := n.Share(); w < 0 || w > maxWeight {
			doc.Fault(key, "the weight must be %d to %d", 0, maxWeight)
		}
		for name := range n.Interfaces {
			if !s.hasInterface(name) {
				doc.Fault(key+".interfaces."+name, "no profile has the interface %q", name)
			}
		}
	}
	for key, d := range map[string]conf.Duration{
		"media.timeout": s.Media.Timeout, "media.retransmit": s.Media.Retransmit, "media.ping_interval": s.Media.PingInterval,
		"media.reanchor.after": s.Media.Reanchor.After,
	} {
		if t := time.Duration(d); t < 10*time.Millisecond || t > time.Minute {
			doc.Fault(key, "must be from 10ms to 1m")
		}
	}
	if e := s.Media.Events; !e.IsZero() {
		if _, err := netip.ParseAddr(e.Host); err != nil {
			doc.Fault("media.events", "%q is not an IP address", e.Host)
		}
	}
	for name, p := range s.Profiles {
		switch p.Digits {
		case DigitsAsSent, DigitsRTP:
		case DigitsInfo:
			if s.Media.Events.IsZero() {
				doc.Fault("profiles."+name+".digits", "info needs media.events, where nodes report telephone events")
			}
		default:
			doc.Fault("profiles."+name+".digits", "%q is none of as-sent, rtp, info", p.Digits)
		}
	}
	within(doc, "media.max_calls", s.Media.MaxCalls, 1, 1_000_000)
	within(doc, "media.reanchor.calls_per_second", s.Media.Reanchor.CallsPerSecond, 1, 100_000)
}

func (s *Settings) hasInterface(name string) bool {
	for _, p := range s.Profiles {
		if p.Interface == name {
			return true
		}
	}
	return false
}

// check wants udp:host:port.
func (n Node) check() error {
	hostport, ok := strings.CutPrefix(n.Address, "udp:")
	host, port, err := net.SplitHostPort(hostport)
	if p, perr := strconv.ParseUint(port, 10, 16); !ok || err != nil || perr != nil || p == 0 || !validHost(host) {
		return fmt.Errorf("%q is not like udp:host:port[=weight]", n.Address)
	}
	return nil
}
