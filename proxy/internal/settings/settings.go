// Package settings is the proxy's configuration: the struct that the YAML file
// fills, its defaults and its validation. The manual is docs/proxy-config.md.
package settings

import (
	"time"

	"github.com/tandem-sbc/tandem/pkg/conf"
)

// Settings is the whole configuration of the proxy.
type Settings struct {
	Listeners []Listener         `yaml:"listeners"`
	Domains   []string           `yaml:"domains"` // own domains, the first is the default one
	Users     []User             `yaml:"users"`
	Auth      Auth               `yaml:"auth"`
	Registrar Registrar          `yaml:"registrar"`
	Trunks    []Trunk            `yaml:"trunks"`
	Routes    []Route            `yaml:"routes"`
	Resolver  Resolver           `yaml:"resolver"`
	Media     Media              `yaml:"media"`
	Dialogs   Dialogs            `yaml:"dialogs"`
	Profiles  map[string]Profile `yaml:"profiles"`
	Storage   Storage            `yaml:"storage"`
	TLS       TLS                `yaml:"tls"`
	ACL       ACL                `yaml:"acl"`
	Bans      Bans               `yaml:"bans"`
	Web       Web                `yaml:"web"`
	Limits    Limits             `yaml:"limits"`
	Log       Log                `yaml:"log"`
	Admin     Admin              `yaml:"admin"`
}

// Listener is one listening socket.
type Listener struct {
	Name       string        `yaml:"name"`
	Transport  string        `yaml:"transport"`  // udp, tcp, tls, ws, wss
	Address    conf.Endpoint `yaml:"address"`    // IP:port; port 0 takes a free one
	Advertised conf.Endpoint `yaml:"advertised"` // in Via and Record-Route
	Profile    string        `yaml:"profile"`    // leg profile of peers; default by transport
	Path       string        `yaml:"path"`       // WebSocket endpoint; default /ws
	Origins    []string      `yaml:"origins"`    // allowed Origin headers; none: same host only

	ClientCA          string `yaml:"client_ca"`          // authorities of client certificates; tls: default tls.client_ca
	ClientCertificate string `yaml:"client_certificate"` // request or require

	ACL           ACL           `yaml:"acl"`
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`
}

// User is an account.
type User struct {
	Name     string      `yaml:"name"`
	Domain   string      `yaml:"domain"` // default: the first own domain
	Password conf.Secret `yaml:"password"`
	HA1      HA1         `yaml:"ha1"` // instead of the password
}

// HA1 holds H(user:realm:password) in hex, by algorithm (RFC 7616 §3.4.2).
type HA1 struct {
	MD5    conf.Secret `yaml:"md5"`
	SHA256 conf.Secret `yaml:"sha256"`
}

// Auth is how users are challenged.
type Auth struct {
	Algorithms []string `yaml:"algorithms"` // in the order in which they are offered
	Tokens     Tokens   `yaml:"tokens"`
}

// Profile is what one side of a call speaks: the ng flags towards it.
type Profile struct {
	Flags     string `yaml:"flags"`     // rtpengine's own words
	Interface string `yaml:"interface"` // logical interface of the media daemon
	SDPOnly   bool   `yaml:"sdp_only"`  // of a multipart body keep only the SDP towards this side
	// TopologyHiding shows this side no Via, Record-Route and Contact but the proxy's own.
	TopologyHiding bool   `yaml:"topology_hiding"`
	Digits         string `yaml:"digits"` // how they reach this side: as-sent, rtp, info
}

// Storage is where bindings and accounts are kept.
type Storage struct {
	Path string `yaml:"path" env:"TANDEM_STORAGE_PATH"` // SQLite file; ":memory:" keeps nothing
}

// Web is what the wss and ws listeners serve besides SIP.
type Web struct {
	Phone bool `yaml:"phone"` // the web phone page
	Demo  bool `yaml:"demo"`  // tell accounts to everybody who opens the page
	// DemoUsers are the accounts that are told, passwords included.
	DemoUsers []string     `yaml:"demo_users"`
	Dial      []Suggestion `yaml:"dial"` // numbers that the page proposes
}

// Suggestion is a number with what one hears there.
type Suggestion struct {
	Number string `yaml:"number"`
	Text   string `yaml:"text"`
}

// Limits bound what peers can make the proxy hold.
type Limits struct {
	Connections          int           `yaml:"connections"`
	ConnectionsPerSource int           `yaml:"connections_per_source"`
	Header               conf.Size     `yaml:"header"` // bytes of a message's start line and headers
	Body                 conf.Size     `yaml:"body"`
	Handshake            conf.Duration `yaml:"handshake"`
	Idle                 conf.Duration `yaml:"idle"`
	Ping                 conf.Duration `yaml:"ping"` // WebSocket pings
	Transactions         int           `yaml:"transactions"`
	Calls                int           `yaml:"calls"`
	RequestsPerSecond    float64       `yaml:"requests_per_second"` // from one source without trust
	Burst                int           `yaml:"burst"`
}

// Log is how events are written.
type Log struct {
	Level  string `yaml:"level" env:"TANDEM_LOG_LEVEL"`   // debug, info, warn, error
	Format string `yaml:"format" env:"TANDEM_LOG_FORMAT"` // console, json
}

// Names of the built-in leg profiles.
const (
	ProfileWebRTC = "webrtc"
	ProfileSIP    = "sip"
	ProfileSRTP   = "srtp"
)

// builtinProfiles returns the leg profiles that exist without configuration.
func builtinProfiles() map[string]Profile {
	return map[string]Profile{
		ProfileWebRTC: {Flags: "UDP/TLS/RTP/SAVPF ICE=force SDES-off rtcp-mux-offer generate-mid strict-source", SDPOnly: true, Digits: DigitsAsSent},
		ProfileSIP:    {Flags: "RTP/AVP ICE=remove DTLS=passive SDES-off rtcp-mux-demux strict-source", Digits: DigitsRTP},
		ProfileSRTP:   {Flags: "RTP/SAVP ICE=remove DTLS=off SDES-no-NULL_HMAC_SHA1_80 SDES-no-NULL_HMAC_SHA1_32 rtcp-mux-demux strict-source", Digits: DigitsRTP},
	}
}

// Default returns the settings that apply where the file says nothing.
func Default() Settings {
	return Settings{
		Auth:      Auth{Algorithms: []string{"SHA-256", "MD5"}, Tokens: defaultTokens()},
		Registrar: defaultRegistrar(),
		Media:     defaultMedia(),
		Resolver:  defaultResolver(),
		Dialogs:   defaultDialogs(),
		Storage:   Storage{Path: "var/proxy.db"},
		TLS:       defaultTLS(),
		Bans:      defaultBans(),
		Limits: Limits{
			Connections:          20000,
			ConnectionsPerSource: 1000,
			Header:               16 << 10,
			Body:                 64 << 10,
			Handshake:            conf.Duration(10 * time.Second),
			Idle:                 conf.Duration(10 * time.Minute),
			Ping:                 conf.Duration(25 * time.Second),
			Transactions:         100000,
			Calls:                50000,
			RequestsPerSecond:    1000,
			Burst:                2000,
		},
		Log: Log{Level: "info", Format: "console"},
	}
}

// Check adds faults that only another package can see (profile flags,
// certificate files) to the document.
type Check func(s *Settings, doc *conf.Document)

// Load reads and validates the file at path, with further checks. The error
// lists every fault.
func Load(path string, checks ...Check) (*Settings, error) {
	s := Default()
	doc, err := conf.Load(path, &s)
	if err != nil {
		return nil, err
	}
	s.complete()
	s.validate(doc)
	for _, check := range checks {
		check(&s, doc)
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return &s, nil
}

// complete fills in what follows from other values.
func (s *Settings) complete() {
	profiles := builtinProfiles()
	for name, p := range s.Profiles {
		if builtin, ok := profiles[name]; ok && p.Flags == "" {
			p.Flags = builtin.Flags // only the interface was changed
		}
		if p.Digits == "" {
			p.Digits = builtinDigits(profiles[name])
		}
		profiles[name] = p
	}
	s.Profiles = profiles
	s.completeACME()
	for i := range s.Listeners {
		l := &s.Listeners[i]
		s.completeClients(l)
		if l.Profile == "" {
			l.Profile = ProfileSIP
			if l.Transport == "ws" || l.Transport == "wss" {
				l.Profile = ProfileWebRTC
			}
		}
	}
	for i := range s.Users {
		if u := &s.Users[i]; u.Domain == "" && len(s.Domains) > 0 {
			u.Domain = s.Domains[0]
		}
	}
	s.completeTrunks()
	s.completeProfiles()
}
