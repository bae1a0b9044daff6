package settings

import "strings"

// withoutEffect lists the options that other programs' files may hold and
// that change nothing here. They are checked as far as their kind goes.
func withoutEffect() []option {
	short := map[string]byte{
		"subscribe-keyspace": 'k',
		"redis":              'r', "redis-write": 'w', "no-redis-required": 'q', "redis-delete-async": 'y',
	}
	var all []option
	add := func(e effect, isBool bool, check assign, names string) {
		for name := range strings.FieldsSeq(names) {
			all = append(all, option{long: name, short: short[name], isBool: isBool, effect: e, set: check})
		}
	}
	add(userSpace, false, checkInt, `kernel-num-threads kernel-slots kernel-player kernel-player-media`)
	add(userSpace, false, checkNothing, `nftables-chain nftables-base-chain nftables-family iptables-chain`)
	add(userSpace, true, checkBool, `nftables-append nftables-start nftables-stop nftables-status xtables`)
	add(onlyOneThing, false, checkInt, `thread-stack priority idle-priority max-recv-iters poller-size
		timer-accuracy io-uring-buffers codec-num-threads media-num-threads num-media-threads http-threads
		http-buf-size http-idle-timeout socket-cpu-affinity`)
	add(onlyOneThing, true, checkBool, `poller-per-thread`)
	add(onlyOneThing, false, checkNothing, `scheduling idle-scheduling control-pmtu`)
	add(ineffective, false, checkInt, `jitter-buffer jb-adaptive-min jb-adaptive-max
		ng-client-timeout ng-client-retries
		redis-num-threads redis-expires redis-allowed-errors redis-disable-time redis-cmd-timeout redis-connect-timeout
		redis-delete-async-interval redis-tcp-keepalive-time redis-tcp-keepalive-intvl redis-tcp-keepalive-probes
		dtmf-digit-delay mysql-port mqtt-port mqtt-keepalive mqtt-publish-qos mqtt-publish-interval
		dtx-delay max-dtx dtx-buffer dtx-lag dtx-shift audio-buffer-length audio-buffer-delay
		media-files-reload media-files-expire db-media-reload db-media-expire db-cache-reload db-cache-expire
		expiry-timer moh-max-duration moh-max-repeats
		codec-chain-runners codec-chain-concurrency codec-chain-async codec-chain-opus-application
		codec-chain-opus-complexity codec-chain-interval`)
	add(ineffective, false, checkFloat, `silence-detect`)
	add(ineffective, true, checkBool, `no-redis-required redis-delete-async redis-resolve-on-reconnect active-switchover
		dtmf-no-suppress dtmf-no-log-injects jb-clock-drift jb-adaptive log-srtp-keys debug-srtp
		record-egress record-both player-cache moh-prevent-double-hold codec-chain-nonblock`)
	add(ineffective, false, checkNumbers, `dtx-cn-params cn-payload`)
	add(ineffective, false, checkChoice("native", "CN"), `amr-dtx`)
	add(ineffective, false, checkNothing, `transcode-config janus-secret
		subscribe-keyspace redis redis-write redis-subscribe redis-format
		recording-dir recording-method recording-format
		mysql-host mysql-user mysql-pass mysql-query
		mqtt-host mqtt-id mqtt-user mqtt-pass mqtt-cafile mqtt-capath mqtt-certfile mqtt-keyfile mqtt-tls-alpn
		mqtt-publish-topic mqtt-publish-scope evs-dtx audio-player preload-media-files preload-db-media
		preload-db-cache db-media-cache moh-attr-name evs-lib-path codec-chain-lib-path
		vsc-start-rec vsc-stop-rec vsc-start-stop-rec vsc-pause-rec vsc-pause-resume-rec vsc-start-pause-resume-rec`)
	return all
}
