package settings

import (
	"net/netip"
	"strings"
	"time"
)

// effect says what setting an option does.
type effect uint8

const (
	effective    effect = iota // it does what rtpengine's manual says
	notServed                  // a listener that mediad does not have yet
	ineffective                // known, checked, without effect here
	userSpace                  // concerns the kernel module, which is never used
	onlyOneThing               // only the value that mediad does anyway has an effect
)

// notes are the texts for the log that belong to effects.
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
	all := []option{
		{long: "help", short: 'h', isBool: true, cli: true, set: toBool(func(s *Settings) *bool { return &s.Process.ShowHelp })},
		{long: "version", short: 'v', isBool: true, cli: true, set: toBool(func(s *Settings) *bool { return &s.Process.ShowVersion })},
		{long: "config-file", cli: true, set: toString(func(s *Settings) *string { return &s.Process.ConfigFile })},
		{long: "config-section", cli: true, set: toString(func(s *Settings) *string { return &s.Process.ConfigSection })},
		{long: "foreground", short: 'f', isBool: true, set: toBool(func(s *Settings) *bool { return &s.Process.Foreground })},
		{long: "pidfile", short: 'p', set: toString(func(s *Settings) *string { return &s.Process.PIDFile })},

		{long: "log-level", short: 'L', set: setLogLevel},
		{long: "log-stderr", short: 'E', isBool: true, set: toBool(func(s *Settings) *bool { return &s.Log.ToStderr })},
		{long: "log-facility", set: setLogFacility},
		{long: "log-name", set: toString(func(s *Settings) *string { return &s.Log.Name })},
		{long: "log-json", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Log.JSON })},
		{long: "no-log-timestamps", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Log.NoTimestamps })},

		{long: "table", short: 't', set: toInt(-1, 63, func(s *Settings) *int { return &s.Kernel.Table })},
		{long: "no-fallback", short: 'F', isBool: true, set: toBool(func(s *Settings) *bool { return &s.Kernel.NoFallback })},

		{long: "listen-ng", short: 'n', isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.NG })},
		{long: "listen-tcp-ng", short: 'N', isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.NGTCP })},
		{long: "listen-cli", short: 'c', isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.CLI })},
		{long: "listen-udp", short: 'u', isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.Legacy })},
		{long: "ng-allow", isList: true, set: addAllowed},
		{long: "listen-https", isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.HTTPS })},
		{long: "https-cert", set: toString(func(s *Settings) *string { return &s.Control.HTTPSCert })},
		{long: "https-key", set: toString(func(s *Settings) *string { return &s.Control.HTTPSKey })},
		{long: "listen-http", isList: true, set: addListen(func(s *Settings) *[]netip.AddrPort { return &s.Control.HTTP })},
		{long: "control-tos", set: toInt(0, 255, func(s *Settings) *int { return &s.Control.TOS })},

		{long: "interface", short: 'i', isList: true, set: addInterface},
		{long: "port-min", short: 'm', set: toInt(1, 65535, func(s *Settings) *int { return &s.Network.PortMin })},
		{long: "port-max", short: 'M', set: toInt(1, 65535, func(s *Settings) *int { return &s.Network.PortMax })},
		{long: "auto-port-range", set: toInt(0, 30000, func(s *Settings) *int { return &s.Network.AutoPortRange })},
		{long: "tos", short: 'T', set: toInt(0, 255, func(s *Settings) *int { return &s.Network.TOS })},
		{long: "num-threads", set: toInt(0, 1024, func(s *Settings) *int { return &s.Network.Workers })},

		{long: "timeout", short: 'o', set: toSeconds(func(s *Settings) *time.Duration { return &s.Limits.Timeout })},
		{long: "silent-timeout", short: 's', set: toSeconds(func(s *Settings) *time.Duration { return &s.Limits.SilentTimeout })},
		{long: "offer-timeout", set: toSeconds(func(s *Settings) *time.Duration { return &s.Limits.OfferTimeout })},
		{long: "final-timeout", short: 'a', set: toSeconds(func(s *Settings) *time.Duration { return &s.Limits.FinalTimeout })},
		{long: "delete-delay", short: 'd', set: toSeconds(func(s *Settings) *time.Duration { return &s.Limits.DeleteDelay })},
		{long: "max-sessions", set: toInt(-1, 1<<31-1, func(s *Settings) *int { return &s.Limits.MaxSessions })},

		{long: "endpoint-learning", set: setEndpointLearning},
		{long: "sip-source", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Media.SIPSource })},
		{long: "dtls-passive", isBool: true, set: toBool(func(s *Settings) *bool { return &s.Media.DTLSPassive })},
	}
	all = append(all, option{long: "listen-tcp", short: 'l', isList: true, effect: notServed, set: checkListen})
	return append(all, withoutEffect()...)
}

// withoutEffect lists the options that other programs' files may hold and
// that change nothing here. They are checked as far as their kind goes.
func withoutEffect() []option {
	short := map[string]byte{
		"save-interface-ports": 'S', "subscribe-keyspace": 'k', "graphite": 'g', "graphite-interval": 'G',
		"redis": 'r', "redis-write": 'w', "no-redis-required": 'q', "redis-delete-async": 'y',
		"b2b-url": 'b', "xmlrpc-format": 'x',
	}
	var all []option
	add := func(e effect, isBool bool, check assign, names string) {
		for _, name := range strings.Fields(names) {
			all = append(all, option{long: name, short: short[name], isBool: isBool, effect: e, set: check})
		}
	}
	add(userSpace, false, checkInt, `kernel-num-threads kernel-slots kernel-player kernel-player-media`)
	add(userSpace, false, checkNothing, `nftables-chain nftables-base-chain nftables-family iptables-chain`)
	add(userSpace, true, checkBool, `nftables-append xtables`)
	add(onlyOneThing, false, checkInt, `thread-stack priority idle-priority max-recv-iters poller-size
		timer-accuracy io-uring-buffers codec-num-threads media-num-threads num-media-threads http-threads
		socket-cpu-affinity max-log-line-length dtls-mtu dtls-rsa-key-size`)
	add(onlyOneThing, true, checkBool, `poller-per-thread io-uring reject-invalid-sdp split-logs`)
	add(onlyOneThing, false, checkNothing, `scheduling idle-scheduling dtls-cert-cipher dtls-ciphers dtls-signature
		control-pmtu log-format log-mark-prefix log-mark-suffix`)
	add(ineffective, false, checkInt, `graphite-interval graphite-timeout rtcp-interval jitter-buffer jb-adaptive-min
		jb-adaptive-max http-buf-size http-idle-timeout ng-client-timeout ng-client-retries
		redis-num-threads redis-expires redis-allowed-errors redis-disable-time redis-cmd-timeout redis-connect-timeout
		redis-delete-async-interval redis-tcp-keepalive-time redis-tcp-keepalive-intvl redis-tcp-keepalive-probes
		xmlrpc-format homer-id max-bandwidth dtmf-digit-delay mysql-port mqtt-port mqtt-keepalive
		mqtt-publish-qos mqtt-publish-interval dtx-delay max-dtx dtx-buffer dtx-lag dtx-shift
		audio-buffer-length audio-buffer-delay media-files-reload media-files-expire db-media-reload db-media-expire
		db-cache-reload db-cache-expire expiry-timer moh-max-duration moh-max-repeats
		log-level-core log-level-spandsp log-level-ffmpeg log-level-transcoding log-level-codec log-level-rtcp
		log-level-ice log-level-crypto log-level-srtp log-level-internals log-level-http log-level-control log-level-dtx
		codec-chain-runners codec-chain-concurrency codec-chain-async codec-chain-opus-application
		codec-chain-opus-complexity codec-chain-interval`)
	add(ineffective, false, checkFloat, `max-load max-cpu silence-detect`)
	add(ineffective, true, checkBool, `save-interface-ports no-redis-required redis-delete-async
		redis-resolve-on-reconnect active-switchover dtmf-log-ng-tcp dtmf-no-suppress dtmf-no-log-injects jb-clock-drift
		jb-adaptive measure-rtp log-srtp-keys debug-srtp homer-disable-rtcp-stats homer-enable-ng record-egress record-both
		player-cache moh-prevent-double-hold codec-chain-nonblock`)
	add(ineffective, false, checkNothing, `interfaces-config templates transcode-config janus-secret
		subscribe-keyspace graphite graphite-prefix redis redis-write redis-subscribe redis-format b2b-url
		log-facility-cdr log-facility-rtcp log-facility-dtmf dtmf-log-dest homer homer-protocol homer-ng-capture-proto
		recording-dir recording-method recording-format mos ssrc-reporting
		mysql-host mysql-user mysql-pass mysql-query
		mqtt-host mqtt-id mqtt-user mqtt-pass mqtt-cafile mqtt-capath mqtt-certfile mqtt-keyfile mqtt-tls-alpn
		mqtt-publish-topic mqtt-publish-scope software-id dtx-cn-params amr-dtx evs-dtx cn-payload audio-player
		preload-media-files preload-db-media preload-db-cache db-media-cache moh-attr-name evs-lib-path codec-chain-lib-path
		vsc-start-rec vsc-stop-rec vsc-start-stop-rec vsc-pause-rec vsc-pause-resume-rec vsc-start-pause-resume-rec`)
	return all
}
