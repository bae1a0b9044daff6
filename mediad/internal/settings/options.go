package settings

import (
	"net/netip"
	"slices"
	"time"
)

// effect says what setting an option does.
type effect uint8

const (
	effective    effect = iota // it does what rtpengine's manual says
	notServed                  // a listener that mediad does not have
	ineffective                // known, checked, without effect in this version
	userSpace                  // concerns the kernel module, which is never used
	onlyOneThing               // the program decides this by itself
)

// note is the text for the log that belongs to an effect.
func (e effect) note() string {
	switch e {
	case notServed:
		return "listener is not served by this version"
	case ineffective:
		return "option has no effect in this version"
	case userSpace:
		return "option has no effect: media is forwarded in user space"
	case onlyOneThing:
		return "option has no effect: this is decided by the program"
	default:
		return ""
	}
}

// option is one name of the command line and of the file.
type option struct {
	long   string
	short  byte // 0 = none
	isBool bool // takes no value on the command line
	isList bool // repeated on the command line, separated by ";" in the file
	cli    bool // only on the command line
	effect effect
	set    assign
}

// options lists every option. It is built anew for each use, so that there is
// no package state; starting happens once.
func options() []option {
	return slices.Concat(processOptions(), logOptions(), controlOptions(), networkOptions(), engineOptions(), limitOptions(),
		mediaOptions(), dtlsOptions(), exportOptions(), withoutEffect())
}

func processOptions() []option {
	return []option{
		{long: "help", short: 'h', isBool: true, cli: true, set: toBool(func(s *Settings) *bool { return &s.Process.ShowHelp })},
		{long: "version", short: 'v', isBool: true, cli: true, set: toBool(func(s *Settings) *bool { return &s.Process.ShowVersion })},
		{long: "codecs", isBool: true, cli: true, set: toBool(func(s *Settings) *bool { return &s.Process.ShowCodecs })},
		{long: "config-file", cli: true, set: toString(func(s *Settings) *string { return &s.Process.ConfigFile })},
		{long: "config-section", cli: true, set: toString(func(s *Settings) *string { return &s.Process.ConfigSection })},
		{long: "foreground", short: 'f', isBool: true, set: toBool(func(s *Settings) *bool { return &s.Process.Foreground })},
		{long: "pidfile", short: 'p', set: toString(func(s *Settings) *string { return &s.Process.PIDFile })},
		{long: "software-id", set: toString(func(s *Settings) *string { return &s.Process.SoftwareID })},
	}
}

// Subsystems are the parts of the daemon with a log level of their own, in
// rtpengine's order.
func Subsystems() []string {
	return []string{
		"core", "spandsp", "ffmpeg", "transcoding", "codec", "rtcp", "ice", "crypto", "srtp", "internals", "http", "control", "dtx",
	}
}

func logOptions() []option {
	all := []option{
		{long: "log-level", short: 'L', set: toLevel(func(s *Settings, n int) { s.Log.Level = n })},
		{long: "log-stderr", short: 'E', isBool: true, set: toBool(func(s *Settings) *bool { return &s.Log.ToStderr })},
		{long: "log-facility", set: toFacility(func(s *Settings) *string { return &s.Log.Facility })},
		{long: "log-facility-cdr", set: toFacility(func(s *Settings) *string { return &s.Log.CDRFacility })},
		{long: "log-facility-rtcp", set: toFacility(func(s *Settings) *string { return &s.Log.RTCPFacility })},
		{long: "log-facility-dtmf", set: toFacility(func(s *Settings) *string { return &s.Log.DTMFFacility })},
		{long: "log-name", set: toString(func(s *Settings) *string { return &s.Log.Name })},
		{long: "log-format", set: toLogFormat},
		{long: "log-json", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Log.JSON })},
		{long: "no-log-timestamps", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Log.NoTimestamps })},
		{long: "max-log-line-length", set: toInt(-1, 1<<20, func(s *Settings) *int { return &s.Log.MaxLine })},
		{long: "split-logs", isBool: true, effect: onlyOneThing, set: checkBool},
		{long: "log-mark-prefix", effect: onlyOneThing, set: checkNothing},
		{long: "log-mark-suffix", effect: onlyOneThing, set: checkNothing},
	}
	for _, name := range Subsystems() {
		all = append(all, option{long: "log-level-" + name, set: toLevel(func(s *Settings, n int) {
			if s.Log.Levels == nil {
				s.Log.Levels = make(map[string]int)
			}
			s.Log.Levels[name] = n
		})})
	}
	return all
}

func controlOptions() []option {
	return []option{
		{long: "listen-ng", short: 'n', isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.NG })},
		{long: "listen-tcp-ng", short: 'N', isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.NGTCP })},
		{long: "listen-http", isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.HTTP })},
		{long: "listen-cli", short: 'c', isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.CLI })},
		{long: "listen-udp", short: 'u', isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.Legacy })},
		{long: "listen-tcp", short: 'l', isList: true, effect: notServed, set: checkListen},
		{long: "ng-allow", isList: true, set: addAllowed},
		{long: "listen-https", isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.HTTPS })},
		{long: "https-cert", set: toString(func(s *Settings) *string { return &s.Control.HTTPSCert })},
		{long: "https-key", set: toString(func(s *Settings) *string { return &s.Control.HTTPSKey })},
		{long: "control-tos", set: toInt(0, 255, func(s *Settings) *int { return &s.Control.TOS })},
		{long: "templates", set: toString(func(s *Settings) *string { return &s.Control.TemplatesSection })},
	}
}

func networkOptions() []option {
	return []option{
		{long: "interface", short: 'i', isList: true, set: addInterface},
		{long: "interfaces-config", set: toString(func(s *Settings) *string { return &s.Network.InterfacesPrefix })},
		{long: "port-min", short: 'm', set: toInt(1, 65535, func(s *Settings) *int { return &s.Network.PortMin })},
		{long: "port-max", short: 'M', set: toInt(1, 65535, func(s *Settings) *int { return &s.Network.PortMax })},
		{long: "auto-port-range", set: toInt(0, 30000, func(s *Settings) *int { return &s.Network.AutoPortRange })},
		{long: "save-interface-ports", short: 'S', isBool: true, set: toBool(func(s *Settings) *bool { return &s.Network.SavePorts })},
		{long: "tos", short: 'T', set: toInt(0, 255, func(s *Settings) *int { return &s.Network.TOS })},
	}
}

func engineOptions() []option {
	ring := func(s *Settings, text string) error {
		on, err := parseBool(text)
		s.Engine.Ring = map[bool]string{true: RingOn, false: RingOff}[on]
		return err
	}
	table := toInt(-1, 1<<31-1, func(s *Settings) *int { return &s.Engine.Table })
	return []option{
		{long: "table", short: 't', set: func(s *Settings, text string) error {
			s.Engine.TableGiven = true
			return table(s, text)
		}},
		{long: "no-fallback", short: 'F', isBool: true, set: toBool(func(s *Settings) *bool { return &s.Engine.NoFallback })},
		{long: "engine", set: toChoice(func(s *Settings) *string { return &s.Engine.Name }, EngineAuto, EngineKernel, EngineSteer, EngineSockets)},
		{long: "io-uring", isBool: true, set: ring},
		{long: "num-threads", set: toInt(-1, 1024, func(s *Settings) *int { return &s.Engine.Workers })},
	}
}

func limitOptions() []option {
	d := Defaults().Limits
	return []option{
		{long: "timeout", short: 'o', set: toSecondsOr(d.Timeout, func(s *Settings) *time.Duration { return &s.Limits.Timeout })},
		{long: "silent-timeout", short: 's', set: toSecondsOr(d.SilentTimeout, func(s *Settings) *time.Duration { return &s.Limits.SilentTimeout })},
		{long: "offer-timeout", set: toSecondsOr(d.OfferTimeout, func(s *Settings) *time.Duration { return &s.Limits.OfferTimeout })},
		{long: "final-timeout", short: 'a', set: toSecondsOr(0, func(s *Settings) *time.Duration { return &s.Limits.FinalTimeout })},
		{long: "delete-delay", short: 'd', set: toSecondsOr(0, func(s *Settings) *time.Duration { return &s.Limits.DeleteDelay })},
		{long: "max-sessions", set: setMaxSessions},
		{long: "max-load", set: toFloat(func(s *Settings) *float64 { return &s.Limits.MaxLoad })},
		{long: "max-cpu", set: toFloat(func(s *Settings) *float64 { return &s.Limits.MaxCPU })},
		{long: "max-bandwidth", set: setMaxBandwidth},
	}
}

func mediaOptions() []option {
	return []option{
		{long: "endpoint-learning", set: setEndpointLearning},
		{long: "sip-source", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Media.SIPSource })},
		{long: "reject-invalid-sdp", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Media.RejectInvalidSDP })},
		{long: "rtcp-interval", set: setRTCPInterval},
		{long: "mos", set: toChoice(func(s *Settings) *string { return &s.Media.MOS }, "CQ", "LQ", "G.107", "G.107.2", "legacy")},
		{long: "ssrc-reporting", set: toChoice(func(s *Settings) *string { return &s.Media.SSRCReporting }, "full", "inline", "global", "none")},
		{long: "measure-rtp", isBool: true, effect: onlyOneThing, set: checkBool},
	}
}

func dtlsOptions() []option {
	return []option{
		{long: "dtls-passive", isBool: true, set: toBool(func(s *Settings) *bool { return &s.DTLS.Passive })},
		{long: "dtls-cert-cipher", set: toChoice(func(s *Settings) *string { return &s.DTLS.CertCipher }, CipherECDSA, CipherRSA)},
		{long: "dtls-rsa-key-size", set: toInt(1024, 8192, func(s *Settings) *int { return &s.DTLS.RSAKeySize })},
		{long: "dtls-mtu", set: toInt(576, 65535, func(s *Settings) *int { return &s.DTLS.MTU })},
		{long: "dtls-ciphers", effect: onlyOneThing, set: checkNothing},
		{long: "dtls-signature", effect: onlyOneThing, set: checkChoice("sha-256", "sha-1")},
	}
}

func exportOptions() []option {
	return []option{
		{long: "dtmf-log-dest", set: toEndpoint(func(s *Settings) *netip.AddrPort { return &s.Export.DTMF })},
		{long: "dtmf-log-ng-tcp", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Export.DTMFOverNGTCP })},
		{long: "graphite", short: 'g', set: toEndpoint(func(s *Settings) *netip.AddrPort { return &s.Export.Graphite })},
		{long: "graphite-interval", short: 'G', set: toSecondsOr(time.Second, func(s *Settings) *time.Duration { return &s.Export.GraphiteInterval })},
		{long: "graphite-prefix", set: toString(func(s *Settings) *string { return &s.Export.GraphitePrefix })},
		{long: "graphite-timeout", set: toSecondsOr(0, func(s *Settings) *time.Duration { return &s.Export.GraphiteTimeout })},
		{long: "homer", set: toEndpoint(func(s *Settings) *netip.AddrPort { return &s.Export.Homer })},
		{long: "homer-protocol", set: toChoice(func(s *Settings) *string { return &s.Export.HomerProtocol }, "udp", "tcp")},
		{long: "homer-id", set: toInt(0, 1<<31-1, func(s *Settings) *int { return &s.Export.HomerID })},
		{long: "homer-disable-rtcp-stats", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Export.HomerNoRTCP })},
		{long: "homer-enable-ng", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Export.HomerNG })},
		{long: "homer-ng-capture-proto", set: toInt(0, 255, func(s *Settings) *int { return &s.Export.HomerNGProtocol })},
		{long: "b2b-url", short: 'b', set: toString(func(s *Settings) *string { return &s.Export.B2BURL })},
		{long: "xmlrpc-format", short: 'x', set: toInt(0, 2, func(s *Settings) *int { return &s.Export.XMLRPCFormat })},
	}
}
