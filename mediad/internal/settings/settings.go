// Package settings reads what mediad is told at its start: rtpengine's command
// line and its INI file, with the same names, short forms and defaults.
package settings

import (
	"net/netip"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// DefaultConfigFile is read if it exists and no other file is named.
const DefaultConfigFile = "/etc/rtpengine/rtpengine.conf"

// Settings is everything that can be set. Field comments name the option.
type Settings struct {
	Process Process
	Log     Log
	Engine  Engine
	Control Control
	Network Network
	Limits  limits.Values
	Media   Media
	DTLS    DTLS
	Export  Export

	// Notes are facts for the log that were found while reading: options
	// without effect, unknown keys of the file.
	Notes []Note
}

// Process holds what concerns the process as a whole.
type Process struct {
	ShowVersion   bool   // version
	ShowHelp      bool   // help
	ShowCodecs    bool   // codecs
	ConfigFile    string // config-file; "none" = read no file
	ConfigSection string // config-section
	Foreground    bool   // foreground
	PIDFile       string // pidfile; "" = none
	SoftwareID    string // software-id; how this program is called towards others
}

// Log holds what is logged and where to. Levels are syslog's (RFC 5424
// §6.2.1): 0 emergencies only, 7 everything.
type Log struct {
	Level        int            // log-level; 0–7
	Levels       map[string]int // log-level-…, by subsystem, where it differs
	ToStderr     bool           // log-stderr; else to syslog
	Facility     string         // log-facility
	CDRFacility  string         // log-facility-cdr; "" = no call detail records
	RTCPFacility string         // log-facility-rtcp; "" = no lines of RTCP
	DTMFFacility string         // log-facility-dtmf; "" = no lines of DTMF events
	Name         string         // log-name; the program's name in syslog
	JSON         bool           // log-format = parsable, log-json (ours)
	NoTimestamps bool           // no-log-timestamps
	MaxLine      int            // max-log-line-length, in bytes; 0 or less = unlimited
}

// Names of engines, and EngineAuto for the best that works here.
const (
	EngineAuto    = "auto"
	EngineKernel  = "kernel"
	EngineSteer   = "steer"
	EngineSockets = "sockets"
)

// Values of Engine.Ring: io_uring where the kernel allows it, always or never.
const (
	RingAuto = "auto"
	RingOn   = "on"
	RingOff  = "off"
)

// Engine holds what moves the packets.
type Engine struct {
	Name       string // engine (ours)
	Table      int    // table; -1 = user space. Otherwise the number says nothing
	TableGiven bool   // the default would rule out the kernel
	NoFallback bool   // no-fallback: refuse to start without the kernel
	Workers    int    // num-threads; 0 or less = one for two CPUs
	Ring       string // io-uring, for sockets; not given = RingAuto
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

	TemplatesSection string            // templates; "" = none
	Templates        map[string]string // of that section: flags by name
}

// Network holds where media is received.
type Network struct {
	Interfaces       []Interface // interface; the first one is the default
	InterfacesPrefix string      // interfaces-config; prefix of sections
	PortMin          int         // port-min
	PortMax          int         // port-max
	AutoPortRange    int         // auto-port-range (ours): pick that many free ports; 0 = off
	SavePorts        bool        // save-interface-ports: one address of an interface is enough
	TOS              int         // tos; 0–255
}

// Interface is one local address for media under a name. Several may share a
// name, for example one of each family.
type Interface struct {
	Name       string
	Address    netip.Addr  // to bind
	Advertised netip.Addr  // to write into SDP; equal to Address unless given
	PortMin    int         // 0 = Network.PortMin
	PortMax    int         // 0 = Network.PortMax
	Exclude    []PortRange // ports not to use
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ Min, Max uint16 }

// Media holds defaults for calls.
type Media struct {
	EndpointLearning ng.EndpointLearning // endpoint-learning
	SIPSource        bool                // sip-source
	RejectInvalidSDP bool                // reject-invalid-sdp
	RTCPInterval     time.Duration       // rtcp-interval; between RTCP reports of our own
	MOS              string              // mos: CQ, LQ, G.107, G.107.2 or legacy
	SSRCReporting    string              // ssrc-reporting: full, inline, global or none
}

// Values of DTLS.CertCipher.
const (
	CipherECDSA = "prime256v1"
	CipherRSA   = "RSA"
)

// DTLS holds how DTLS is spoken.
type DTLS struct {
	Passive    bool   // dtls-passive
	CertCipher string // dtls-cert-cipher
	RSAKeySize int    // dtls-rsa-key-size, in bits
	MTU        int    // dtls-mtu, in bytes
}

// Export holds whom events and numbers are sent to. Zero addresses and empty
// texts mean nobody.
type Export struct {
	DTMF             netip.AddrPort // dtmf-log-dest; UDP
	DTMFOverNGTCP    bool           // dtmf-log-ng-tcp
	Graphite         netip.AddrPort // graphite; TCP
	GraphiteInterval time.Duration  // graphite-interval; at least a second
	GraphitePrefix   string         // graphite-prefix
	GraphiteTimeout  time.Duration  // graphite-timeout; 0 = 2 s

	Homer           netip.AddrPort // homer
	HomerProtocol   string         // homer-protocol: udp or tcp
	HomerID         int            // homer-id
	HomerNoRTCP     bool           // homer-disable-rtcp-stats
	HomerNG         bool           // homer-enable-ng
	HomerNGProtocol int            // homer-ng-capture-proto
	B2BURL          string         // b2b-url
	XMLRPCFormat    int            // xmlrpc-format; 0 = SEMS, 1 = call-id only, 2 = Kamailio
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
		Process: Process{ConfigSection: "rtpengine", SoftwareID: "rtpengine"},
		Log:     Log{Level: 6, Facility: "daemon", Name: "mediad"},
		Engine:  Engine{Name: EngineAuto, Table: -1, Ring: RingAuto},
		Network: Network{PortMin: 30000, PortMax: 40000},
		Limits: limits.Values{
			Timeout:       60 * time.Second,
			SilentTimeout: time.Hour,
			OfferTimeout:  time.Hour,
			DeleteDelay:   30 * time.Second,
			MaxSessions:   -1,
		},
		Media:  Media{EndpointLearning: ng.LearningHeuristic, RTCPInterval: 5 * time.Second, MOS: "CQ", SSRCReporting: "full"},
		DTLS:   DTLS{CertCipher: CipherECDSA, RSAKeySize: 2048, MTU: 1200},
		Export: Export{GraphiteInterval: time.Second, HomerProtocol: "udp", HomerID: 2001, HomerNGProtocol: 0x3d},
	}
}
