// Package settings reads what mediad is told at its start: rtpengine's command
// line and its INI file, with the same names, short forms and defaults.
package settings

import (
	"net/netip"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"go.uber.org/zap/zapcore"
)

// DefaultConfigFile is read if it exists and no other file is named.
const DefaultConfigFile = "/etc/rtpengine/rtpengine.conf"

// Settings is everything that can be set. Field comments name the option.
type Settings struct {
	Process Process
	Log     Log
	Kernel  Kernel
	Control Control
	Network Network
	Limits  limits.Values
	Media   Media

	// Notes are facts for the log that were found while reading: options
	// without effect, unknown keys of the file.
	Notes []Note
}

// Process holds what concerns the process as a whole.
type Process struct {
	ShowVersion   bool   // version
	ShowHelp      bool   // help
	ConfigFile    string // config-file; "none" = read no file
	ConfigSection string // config-section
	Foreground    bool   // foreground
	PIDFile       string // pidfile; "" = none
}

// Log holds what is logged and where to.
type Log struct {
	Level        zapcore.Level // log-level
	ToStderr     bool          // log-stderr; else to syslog
	Facility     string        // log-facility
	Name         string        // log-name; the program's name in syslog
	JSON         bool          // log-json (ours)
	NoTimestamps bool          // no-log-timestamps
}

// Kernel holds what was asked of rtpengine's kernel module.
type Kernel struct {
	Table      int  // table; -1 = user space
	NoFallback bool // no-fallback
}

// Control holds where commands come from.
type Control struct {
	NG        []netip.AddrPort // listen-ng; UDP
	NGTCP     []netip.AddrPort // listen-tcp-ng
	HTTP      []netip.AddrPort // listen-http
	HTTPS     []netip.AddrPort // listen-https
	HTTPSCert string           // https-cert; file in PEM
	HTTPSKey  string           // https-key; file in PEM; "" = in the file of HTTPSCert
	CLI       []netip.AddrPort // listen-cli; TCP
	Legacy    []netip.AddrPort // listen-udp; the protocol of rtpproxy
	Allow     []netip.Prefix   // ng-allow (ours); who may send commands over any of these, none = everybody
	TOS       int              // control-tos; 0–255
}

// Network holds where media is received.
type Network struct {
	Interfaces    []Interface // interface; the first one is the default
	PortMin       int         // port-min
	PortMax       int         // port-max
	AutoPortRange int         // auto-port-range (ours): pick that many free ports; 0 = off
	TOS           int         // tos; 0–255
	Workers       int         // num-threads; 0 = one a CPU
}

// Interface is one local address for media under a name. Several may share a
// name, for example one of each family.
type Interface struct {
	Name       string
	Address    netip.Addr // to bind
	Advertised netip.Addr // to write into SDP; equal to Address unless given
}

// Media holds defaults for calls.
type Media struct {
	EndpointLearning ng.EndpointLearning // endpoint-learning
	SIPSource        bool                // sip-source
	DTLSPassive      bool                // dtls-passive
}

// Note is a fact for the log.
type Note struct {
	Message string
	Option  string
	Source  string // file and line, or "command line"
}

// Defaults returns rtpengine's defaults.
func Defaults() Settings {
	return Settings{
		Process: Process{ConfigSection: "rtpengine"},
		Log:     Log{Level: zapcore.InfoLevel, Facility: "daemon", Name: "mediad"},
		Kernel:  Kernel{Table: -1},
		Network: Network{PortMin: 30000, PortMax: 39999},
		Limits: limits.Values{
			Timeout:       60 * time.Second,
			SilentTimeout: time.Hour,
			OfferTimeout:  time.Hour,
			DeleteDelay:   30 * time.Second,
			MaxSessions:   -1,
		},
		Media: Media{EndpointLearning: ng.LearningHeuristic},
	}
}
