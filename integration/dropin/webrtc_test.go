//go:build integration

package dropin

import (
	"fmt"
	"strings"
)

const fingerprintA = "4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B:65:2E:7D:46:3F:54:42:CD:54:F1"

// browser4 is an SDP of a browser, as Chromium writes it.
func browser4(host string, port int, setup, ufrag string, more ...string) string {
	return fmt.Sprintf(`
v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=msid-semantic: WMS stream
m=audio %[2]d UDP/TLS/RTP/SAVPF 111 0 8 126
c=IN IP4 %[1]s
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1467250027 1 udp 2122260223 %[1]s %[2]d typ host generation 0 network-id 1
a=candidate:1467250028 1 udp 2122260222 2001:db8:1234::1 %[2]d typ host generation 0 network-id 2
a=candidate:1467250029 1 tcp 1518280447 %[1]s 9 typ host tcptype active generation 0
a=ice-ufrag:%[4]s
a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y
a=ice-options:trickle
a=fingerprint:sha-256 %[5]s
a=setup:%[3]s
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendrecv
a=msid:stream track
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:126 telephone-event/8000
a=ssrc:1001 cname:abc
a=ssrc:1001 msid:stream track
%[6]s`, host, port, setup, ufrag, fingerprintA, strings.Join(more, "\n"))
}

// toSIP and toBrowser are the flags that scripts use towards each side.
var (
	toSIP = keys{"transport-protocol": "RTP/AVP", "ICE": "remove", "rtcp-mux": []string{"demux"}, "DTLS": "off", "SDES": []string{"off"},
		"replace": []string{"origin", "session-connection"}}
	toBrowser = keys{"transport-protocol": "UDP/TLS/RTP/SAVPF", "ICE": "force", "rtcp-mux": []string{"offer"}, "DTLS": "passive", "SDES": []string{"off"},
		"replace": []string{"origin", "session-connection"}, "flags": []string{"generate-mid", "trust-address"}}
)

var webrtcCalls = []conversation{
	{"browser-to-sip", func(t *talk) {
		t.offer(browser4(party4, 2000, "actpass", "Abcd"), toSIP)
		t.answer(bareAnswer4, toBrowser)
		t.ask("query", nil)
	}},
	{"browser-to-sip-savpf-key", func(t *talk) {
		t.offer(browser4(party4, 2000, "actpass", "Abcd"), toSIP)
		t.answer(bareAnswer4, toBrowser.with(keys{"transport-protocol": "RTP/SAVPF", "ICE": "remove"}))
	}},
	{"sip-to-browser", func(t *talk) {
		t.offer(bare4, toBrowser)
		t.answer(browser4(other4, 2002, "active", "Efgh"), toSIP)
		t.ask("query", nil)
	}},
	{"sip-to-browser-active", func(t *talk) {
		t.offer(bare4, toBrowser.with(keys{"DTLS": "active"}))
		t.answer(browser4(other4, 2002, "passive", "Efgh"), toSIP)
	}},
	{"sip-to-browser-no-keys", func(t *talk) {
		t.offer(bare4, keys{"transport-protocol": "UDP/TLS/RTP/SAVPF", "ICE": "force"})
		t.answer(browser4(other4, 2002, "active", "Efgh"), keys{"transport-protocol": "RTP/AVP", "ICE": "remove"})
	}},
	{"sip-to-browser-sdes-and-dtls", func(t *talk) {
		t.offer(bare4, keys{"transport-protocol": "RTP/SAVPF", "ICE": "force", "rtcp-mux": []string{"require"}})
		t.answer(browser4(other4, 2002, "active", "Efgh"), toSIP)
	}},
	{"browser-to-browser", func(t *talk) {
		t.offer(browser4(party4, 2000, "actpass", "Abcd"), keys{"replace": []string{"origin"}})
		t.answer(browser4(other4, 2002, "active", "Efgh"), keys{"replace": []string{"origin"}})
	}},
	{"browser-to-browser-force", func(t *talk) {
		t.offer(browser4(party4, 2000, "actpass", "Abcd"), toBrowser)
		t.answer(browser4(other4, 2002, "active", "Efgh"), toBrowser)
	}},
	{"browser-hold", func(t *talk) {
		t.offer(browser4(party4, 2000, "actpass", "Abcd"), toSIP)
		t.answer(bareAnswer4, toBrowser)
		t.offer(strings.Replace(browser4(party4, 2000, "actpass", "Abcd"), "sendrecv", "sendonly", 1), toSIP, keys{"to-tag": t.to})
		t.answer(bareAnswer4+"a=recvonly\n", toBrowser)
		t.reverse()
		t.offer(bareAnswer4+"a=sendonly\n", toBrowser, keys{"to-tag": t.to})
		t.answer(browser4(party4, 2000, "active", "Abcd"), toSIP)
	}},
	{"browser-ice-restart", func(t *talk) {
		t.offer(browser4(party4, 2000, "actpass", "Abcd"), toSIP)
		t.answer(bareAnswer4, toBrowser)
		t.offer(browser4(party4, 2000, "actpass", "Wxyz"), toSIP, keys{"to-tag": t.to})
		t.answer(bareAnswer4, toBrowser)
	}},
	{"browser-audio-and-video", func(t *talk) {
		video := `m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:Abcd
a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y
a=fingerprint:sha-256 ` + fingerprintA + `
a=setup:actpass
a=mid:1
a=sendrecv
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=ssrc-group:FID 1 2
`
		offer := strings.Replace(browser4(party4, 2000, "actpass", "Abcd"), "BUNDLE 0", "BUNDLE 0 1", 1) + video
		t.offer(offer, toSIP)
		t.answer(bareAnswer4+"m=video 2012 RTP/AVP 96\nc=IN IP4 198.51.100.3\na=rtpmap:96 VP8/90000\n", toBrowser)
	}},
	{"browser-data-channel", func(t *talk) {
		t.offer(browser4(party4, 2000, "actpass", "Abcd")+"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\nc=IN IP4 0.0.0.0\na=mid:1\na=sctp-port:5000\n", toSIP)
		t.answer(bareAnswer4+"m=application 0 UDP/DTLS/SCTP webrtc-datachannel\nc=IN IP4 198.51.100.3\n", toBrowser)
	}},
	{"ice-trickle", func(t *talk) {
		t.offer(bare4+"a=ice-ufrag:Abcd\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\na=ice-options:trickle\n", keys{"ICE": "force"})
		t.ask("offer", keys{"from-tag": t.from, "flags": []string{"fragment"}, "sdp": "a=ice-ufrag:Abcd\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 UDP 2130706431 198.51.100.1 2000 typ host\r\na=end-of-candidates\r\n"})
	}},
}

// negotiations are the combinations of what a party offers and what a key asks for.
func negotiations() (list []conversation) {
	add := func(name, offer, answer string, k keys) {
		list = append(list, conversation{name, func(t *talk) {
			t.offer(offer, k)
			t.answer(answer, k)
		}})
	}
	ofB := strings.NewReplacer(party4, other4, "2000", "2002")
	for _, mode := range []string{"remove", "force", "force-relay", "force_relay", "default", "optional"} {
		add("ice-"+mode+"-ice-to-plain", ice4("Abcd"), bareAnswer4, keys{"ICE": mode})
		add("ice-"+mode+"-plain-to-ice", bare4, ofB.Replace(ice4("Efgh")), keys{"ICE": mode})
		add("ice-"+mode+"-both", ice4("Abcd"), ofB.Replace(ice4("Efgh")), keys{"ICE": mode})
	}
	add("ice-both", ice4("Abcd"), ofB.Replace(ice4("Efgh")), nil)
	add("ice-lite-peer", strings.Replace(ice4("Abcd"), "t=0 0\n", "t=0 0\na=ice-lite\n", 1), ofB.Replace(ice4("Efgh")), nil)
	for _, mode := range []string{"forward", "backward", "both", "off"} {
		add("ice-lite-"+mode, ice4("Abcd"), ofB.Replace(ice4("Efgh")), keys{"ICE-lite": mode, "ICE": "force"})
	}
	for _, setup := range []string{"actpass", "active", "passive", "holdconn"} {
		for i, k := range []keys{nil, {"DTLS": "passive"}, {"DTLS": "active"}, {"DTLS-reverse": "passive"}, {"DTLS-fingerprint": "sha-1"}, {"DTLS": "off"}} {
			add(fmt.Sprintf("dtls-%s-%d", setup, i), dtls4(setup), ofB.Replace(dtls4("active")), k)
		}
	}
	for _, profile := range []string{"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"} {
		k := keys{"transport-protocol": profile}
		add("plain-to-"+profile, bare4, bareAnswer4, k)
		list = append(list, conversation{"browser-to-" + profile, func(t *talk) {
			t.offer(browser4(party4, 2000, "actpass", "Abcd"), k)
			t.answer(bareAnswer4)
		}})
	}
	return list
}

func ice4(ufrag string) string {
	return `
v=0
o=- 1545997027 1 IN IP4 198.51.100.1
s=tester
t=0 0
m=audio 2000 RTP/AVP 0
c=IN IP4 198.51.100.1
a=ice-ufrag:` + ufrag + `
a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y
a=candidate:1 1 UDP 2130706431 198.51.100.1 2000 typ host
a=candidate:1 2 UDP 2130706430 198.51.100.1 2001 typ host
a=candidate:2 1 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 198.51.100.1 rport 2000
a=candidate:3 1 UDP 1694498816 2001:db8:1234::1 2000 typ host
`
}

func dtls4(setup string) string {
	return `
v=0
o=- 1545997027 1 IN IP4 198.51.100.1
s=tester
t=0 0
m=audio 2000 UDP/TLS/RTP/SAVP 0
c=IN IP4 198.51.100.1
a=setup:` + setup + `
a=fingerprint:sha-256 ` + fingerprintA + `
a=tls-id:a0123456789012345678901234567890
`
}
