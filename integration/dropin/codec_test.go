//go:build integration

package dropin

import "fmt"

const rich4 = `
v=0
o=- 1545997027 1 IN IP4 198.51.100.1
s=tester
t=0 0
m=audio 2000 RTP/AVP 96 9 8 0 18 3 97 13 101 100
c=IN IP4 198.51.100.1
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1
a=rtpmap:9 G722/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:3 GSM/8000
a=rtpmap:97 speex/16000
a=rtpmap:13 CN/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=rtpmap:100 telephone-event/48000
a=rtcp-fb:96 transport-cc
a=ptime:20
a=maxptime:60
`

func codec(op string, names ...string) keys { return keys{"codec": map[string]any{op: names}} }

var codecCalls = []conversation{
	{"codec-plain", func(t *talk) {
		t.offer(rich4)
		t.answer(answer4)
	}},
	{"codec-single", func(t *talk) {
		t.offer(rich4, flags("single-codec"))
		t.answer(answer4, flags("single-codec"))
	}},
	{"codec-answer-other", func(t *talk) {
		t.offer(rich4)
		t.answer("\nv=0\no=- 1 1 IN IP4 198.51.100.3\ns=-\nc=IN IP4 198.51.100.3\nt=0 0\nm=audio 2002 RTP/AVP 96 101\na=rtpmap:96 opus/48000\na=fmtp:96 x=y\na=rtpmap:101 telephone-event/48000\n")
	}},
	{"codec-answer-not-offered", func(t *talk) {
		t.offer(bare4)
		t.answer("\nv=0\no=- 1 1 IN IP4 198.51.100.3\ns=-\nc=IN IP4 198.51.100.3\nt=0 0\nm=audio 2002 RTP/AVP 18 0\n")
	}},
	{"codec-renumbered", func(t *talk) {
		t.offer("\nv=0\no=- 1 1 IN IP4 198.51.100.1\ns=-\nc=IN IP4 198.51.100.1\nt=0 0\nm=audio 2000 RTP/AVP 96 97\na=rtpmap:96 AMR/8000\na=fmtp:96 octet-align=1\na=rtpmap:97 telephone-event/8000\n")
		t.answer("\nv=0\no=- 1 1 IN IP4 198.51.100.3\ns=-\nc=IN IP4 198.51.100.3\nt=0 0\nm=audio 2002 RTP/AVP 98 99\na=rtpmap:98 AMR/8000\na=fmtp:98 octet-align=1\na=rtpmap:99 telephone-event/8000\n")
	}},
	{"codec-reoffer", func(t *talk) {
		t.offer(rich4)
		t.answer(bareAnswer4)
		t.reverse()
		t.offer("\nv=0\no=- 1 2 IN IP4 198.51.100.3\ns=-\nc=IN IP4 198.51.100.3\nt=0 0\nm=audio 2002 RTP/AVP 8 0\n", keys{"to-tag": t.to})
		t.answer("\nv=0\no=- 1 2 IN IP4 198.51.100.1\ns=-\nc=IN IP4 198.51.100.1\nt=0 0\nm=audio 2000 RTP/AVP 8\n")
	}},
	{"codec-video", func(t *talk) {
		t.offer(bare4+"m=video 2010 RTP/AVP 99 100 101\nc=IN IP4 198.51.100.1\na=rtpmap:99 VP8/90000\na=rtpmap:100 H264/90000\na=fmtp:100 profile-level-id=42e01f\na=rtpmap:101 rtx/90000\na=fmtp:101 apt=99\n", codec("strip", "VP8"))
		t.answer(bareAnswer4 + "m=video 2012 RTP/AVP 100\nc=IN IP4 198.51.100.3\na=rtpmap:100 H264/90000\n")
	}},
	{"ptime", func(t *talk) {
		t.offer(offer4)
		t.answer(answer4 + "a=ptime:20\n")
		t.again()
		t.offer(bare4)
		t.answer(bareAnswer4 + "a=ptime:40\n")
	}},
	{"sdp-attributes", func(t *talk) {
		t.offer(offer4, keys{"sdp-attr": map[string]any{
			"global": map[string]any{"add": []string{"x-global:1"}},
			"audio":  map[string]any{"add": []string{"x-audio:2"}, "remove": []string{"ptime:20"}, "substitute": [][]string{{"sendrecv", "sendonly"}}},
		}})
		t.answer(answer4)
	}},
	{"sdp-media-remove", func(t *talk) {
		t.offer(bare4+"m=video 2010 RTP/AVP 99\nc=IN IP4 198.51.100.1\na=rtpmap:99 VP8/90000\n", keys{"sdp-media-remove": []string{"video"}})
		t.answer(bareAnswer4)
	}},
	{"replace-family", func(t *talk) {
		for _, words := range [][]string{{"origin"}, {"session-connection"}, {"session connection"}, {"sdp-version"}, {"SDP-version"}, {"username"}, {"session-name"}, {"zero-address"}, {"origin", "sdp-version", "username", "session-name"}} {
			t.offer(session4, keys{"replace": words})
			t.offer(session4, keys{"replace": words})
			t.answer(bareAnswer4, keys{"replace": words})
			t.again()
		}
	}},
}

// eachCodec holds a call for each way to choose codecs.
func eachCodec() (list []conversation) {
	for _, k := range []keys{
		codec("strip", "PCMA"), codec("strip", "opus", "G722", "G729"), codec("strip", "all"), codec("strip", "full"), codec("strip", "telephone-event"), codec("strip", "telephone-event/48000"),
		codec("strip", "CN", "speex/16000"), codec("strip", "speex/8000"), codec("strip", "pcma/8000/1"), codec("strip", "nothing"),
		flags("codec-strip-PCMA", "codec-strip-opus"), flags("codec-strip-all"),

		{"codec": map[string]any{"strip": []string{"all"}, "offer": []string{"PCMU", "PCMA"}}},
		{"codec": map[string]any{"strip": []string{"all"}, "offer": []string{"PCMA", "telephone-event"}}},
		{"codec": map[string]any{"strip": []string{"all"}, "except": []string{"PCMA", "PCMU"}}},
		flags("codec-strip-all", "codec-offer-PCMU"), flags("codec-strip-all", "codec-except-PCMU", "codec-except-opus"),
		codec("offer", "PCMU"), codec("except", "PCMU"),
		codec("mask", "PCMA"), codec("mask", "opus", "G729"), codec("ignore", "PCMA"), flags("codec-ignore-opus"),
	} {
		list = append(list, conversation{fmt.Sprint("codec-", map[string]any(k)), func(t *talk) {
			t.offer(rich4, k)
			t.answer(bareAnswer4)
		}})
	}
	return list
}

// eachFlag and eachKey hold a call with one flag or key in offer and answer.
func eachFlag() (list []conversation) {
	for _, word := range []string{
		"trust-address", "SIP-source-address", "symmetric", "asymmetric", "unidirectional", "strict-source", "media-handover", "port-latching", "no-port-latching",
		"original-sendrecv", "inactive", "loop-protect", "pad-crypto", "generate-mid", "strip-extmap", "reset", "reuse-codecs", "static-codecs", "generate-RTCP", "record-call", "trickle-ICE",
		"reject-ICE", "no-jitter-buffer", "passthrough", "NAT-wait", "pierce-NAT", "early-media", "force", "media-echo", "no-such-flag", "RTCP-mirror", "mirror-RTCP", "debug", "ICE-lite", "full-rtcp-attribute",
	} {
		list = append(list, conversation{"flag-" + word, func(t *talk) {
			t.offer(offer4, flags(word), keys{"received-from": []string{"IP4", party4}})
			t.answer(answer4, flags(word), keys{"received-from": []string{"IP4", other4}})
		}})
	}
	return list
}

func eachKey() (list []conversation) {
	for _, k := range []keys{
		{"media-address": "192.0.2.7"}, {"media address": "2001:db8::7"}, {"address-family": "IP4"}, {"address-family": "IP6"}, {"address-family": "nonsense"}, {"TOS": 184}, {"label": "x"}, {"set-label": "x"}, {"metadata": "x"},
		{"transport-protocol": "RTP/AVPF"}, {"transport protocol": "RTP/SAVPF"}, {"transport-protocol": "nonsense"}, {"ptime": 30}, {"DTLS": "off"}, {"ICE": "remove"}, {"ICE": "nonsense"},
		{"media-echo": "blackhole"}, {"direction": []string{"nonsense", "other"}}, {"received-from": []string{"IP4", "192.0.2.9"}, "flags": []string{"SIP-source-address"}}, {"drop-traffic": "start"}, {"delete-delay": 3},
		{"rtpp-flags": "replace-origin ICE=force"}, {"replace": "origin"}, {"flags": "trust-address,generate-mid"}, {"codec": "strip"}, {"rtcp-mux": "offer"}, {"endpoint-learning": "off"}, {"T.38": []string{"decode"}},
	} {
		list = append(list, conversation{fmt.Sprint("key-", map[string]any(k)), func(t *talk) {
			t.offer(offer4, k)
			t.answer(answer4, k)
		}})
	}
	return list
}

const session4 = `
v=0
o=user 123 4 IN IP4 198.51.100.1
s=a session
c=IN IP4 198.51.100.1
t=0 0
m=audio 2000 RTP/AVP 0
a=rtpmap:0 PCMU/8000
`
