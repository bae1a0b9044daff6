//go:build integration

package negotiate

import (
	"fmt"
	"strings"
)

func mediaCases(add func(string, []step), known func(string, string, []step, ...string)) {
	a, b := offerer().body(), answerer().body()
	plain := func(name string, offer, answer string) { add(name, exchangeOf(nil, offer, nil, answer)) }
	refused := func(name string, offer string) { add(name, []step{{"offer", "A", "B", nil, offer}}) }
	for _, d := range [][2]string{{"sendonly", "recvonly"}, {"recvonly", "sendonly"}, {"inactive", "inactive"}, {"sendrecv", "sendrecv"}} {
		from, to := offerer(), answerer()
		from.direction, to.direction = d[0], d[1]
		plain("direction "+d[0], from.body(), to.body())
		f := flags{"flags": []string{"original-sendrecv"}}
		add("original-sendrecv "+d[0], exchangeOf(f, from.body(), f, to.body()))
	}
	held := offerer()
	held.ip, held.direction = "0.0.0.0", "sendrecv"
	plain("hold by address", held.body(), b)
	zero := flags{"replace": []string{"zero-address"}}
	add("zero-address", exchangeOf(zero, held.body(), zero, b))

	plain("two media", a+caseVideo, b+caseVideo)
	plain("refused video", a+caseVideo, b+strings.Replace(caseVideo, "4002", "0", 1))
	plain("offered refused", a+strings.Replace(caseVideo, "4002", "0", 1), b+strings.Replace(caseVideo, "4002", "0", 1))
	plain("answer with fewer media", a+caseVideo, b)
	add("video comes and goes", append(exchangeOf(nil, a, nil, b),
		step{"offer", "A", "B", nil, a + caseVideo}, step{"answer", "B", "A", nil, b + caseVideo},
		step{"offer", "A", "B", nil, a + strings.Replace(caseVideo, "4002", "0", 1)}, step{"answer", "B", "A", nil, b + strings.Replace(caseVideo, "4002", "0", 1)},
		step{"offer", "A", "B", nil, a + caseVideo}, step{"answer", "B", "A", nil, b + caseVideo}))
	const fax = "m=image 4004 udptl t38\na=T38FaxVersion:0\n"
	plain("T.38", a+fax, b+fax)
	const msrp = "m=message 4008 TCP/MSRP *\na=path:msrp://x\n"
	known("MSRP", "10.5 ends this one line with LF alone", exchangeOf(nil, a+msrp, nil, b+msrp),
		"0-c=IN IP4 198.51.100.1\n", "0+c=IN IP4 198.51.100.1", "1-c=IN IP4 198.51.100.2\n", "1+c=IN IP4 198.51.100.2")
	plain("unknown protocol", a+"m=audio 4010 FOO/BAR 0\n", b+"m=audio 4010 FOO/BAR 0\n")
	known("data channel", "DTLS of a data channel is not ours, so its fingerprint stays",
		exchangeOf(nil, a+"m=application 4006 UDP/DTLS/SCTP webrtc-datachannel\na=sctp-port:5000\na=setup:actpass\n"+caseFingerprint, nil, b),
		"0+a=fingerprint:sha-256", "0+a=setup:actpass")
	refused("c= missing in a refused media", mediaLevel(a)+"m=video 0 RTP/AVP 96\n")
	plain("c= in the media", mediaLevel(a), mediaLevel(b))
	plain("c= in one media", mediaLevel(a)+"m=video 4002 RTP/AVP 96\nc=IN IP4 198.51.100.1\na=rtpmap:96 H264/90000\n", b)
	refused("no c=", strings.Replace(a, "c=IN IP4 198.51.100.1\n", "", 1))
	refused("host name", strings.Replace(a, "c=IN IP4 198.51.100.1", "c=IN IP4 phone.example.com", 1))
	plain("a=rtcp", a+"a=rtcp:4444 IN IP4 198.51.100.9\n", b+"a=rtcp:5555\n")
	refused("no v=", strings.TrimPrefix(a, "v=0\n"))
	refused("bad port", strings.Replace(a, "audio 4000", "audio 70000", 1))
	refused("no number", strings.Replace(a, "8 0 101", "8 x", 1))
	refused("number too big", strings.Replace(a, "8 0 101", "8 128", 1))
	refused("count of 0", strings.Replace(a, "4000", "4000/0", 1))
	refused("no media", "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\n")
	plain("no s=", strings.Replace(a, "s=call\n", "", 1), b)
	plain("user with a space", strings.Replace(a, "o=-", "o=John Public", 1), b)
	plain("other groups", strings.Replace(a, "t=0 0\n", "t=0 0\na=group:LS 1\n", 1)+"a=mid:1\n", b)

	for _, words := range [][]string{{"origin"}, {"origin", "session-connection"}, {"SDP-version"}, {"username"}, {"session-name"}} {
		f := flags{"replace": words}
		add("replace "+strings.Join(words, " "), append(exchangeOf(f, a, f, b),
			step{"offer", "A", "B", f, strings.Replace(a, "o=- 123 456", "o=x 123 456", 1)},
			step{"offer", "A", "B", f, strings.Replace(a, "o=- 123 456", "o=- 123 456", 1) + "a=sendonly\n"},
			step{"offer", "A", "B", f, a + "a=sendonly\n"}))
	}
	add("media-address", exchangeOf(flags{"media-address": "192.0.2.9", "replace": []string{"origin"}}, a, flags{"media-address": "2001:db8::9"}, b))
	add("direction", append(exchangeOf(flags{"direction": []string{"pub", "priv"}}, a, nil, b),
		step{"offer", "B", "A", nil, b}, step{"answer", "A", "B", nil, a},
		step{"offer", "A", "B", nil, a}, step{"answer", "B", "A", nil, b}))
	add("direction in both", exchangeOf(flags{"direction": []string{"pub", "priv"}}, a, flags{"direction": []string{"priv", "pub"}}, b))
	add("direction not swapped", exchangeOf(flags{"direction": []string{"pub", "priv"}}, a, flags{"direction": []string{"pub", "priv"}}, b))
	add("unknown interface", exchangeOf(flags{"direction": []string{"foo", "bar"}}, a, nil, b))
	add("IPv4 to IPv6", exchangeOf(flags{"direction": []string{"pub", "six"}, "address-family": "IP6"}, a, nil, b))
	add("IPv4 to IPv6 by interface", exchangeOf(flags{"direction": []string{"pub", "six"}}, a, nil, b))
	six := offerer()
	six.ip = "2001:db8::1"
	add("IPv6 to IPv4", exchangeOf(flags{"direction": []string{"six", "pub"}, "address-family": "IP4"}, six.body(), nil, b))
	add("loop protect", exchangeOf(flags{"flags": []string{"loop-protect"}}, a, nil, b))
	add("generate mid", exchangeOf(flags{"flags": []string{"generate-mid"}}, a+caseVideo, nil, b+caseVideo))

	for name, codec := range map[string]flags{
		"strip":            {"strip": []string{"PCMU"}},
		"strip event":      {"strip": []string{"PCMU", "telephone-event"}},
		"strip all, offer": {"strip": []string{"all"}, "offer": []string{"PCMA"}},
		"all except":       {"strip": []string{"all"}, "except": []string{"PCMA", "telephone-event"}},
		"strip all":        {"strip": []string{"all"}},
	} {
		add("codec "+name, exchangeOf(flags{"codec": codec}, a, nil, strings.Replace(b, "8 0 101", "8 101", 1)))
	}
	plain("answer with nothing that was offered", a, strings.Replace(b, "8 0 101", "18", 1))
	plain("answer with what was not offered", a, strings.Replace(b, "8 0 101", "8 18", 1)+"a=rtpmap:18 G729/8000\n")
	opus := func(s, pt string) string {
		s = strings.Replace(s, "a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n", "", 1)
		return strings.Replace(s, "8 0 101\n", "8 "+pt+"\na=rtpmap:"+pt+" opus/48000/2\n", 1)
	}
	plain("answer with another number", opus(a, "96"), opus(b, "97"))
	only := func(s, pt string) string { return strings.Replace(opus(s, pt), " 8 "+pt, " "+pt, 1) }
	known("answer with nothing but another number", "without rewriting numbers on the way both have to know them (RFC 3264 §6.1)",
		exchangeOf(nil, only(a, "96"), nil, only(b, "97")),
		"1+a=rtpmap:97 opus/48000/2", "1+m=audio port0 RTP/AVP 97", "1-a=rtpmap:96 opus/48000/2", "1-m=audio port0 RTP/AVP 96")
	for name, body := range map[string]string{
		"LF alone at the end": a + "\n", "blank line": a + "\n\na=x\n", "attributes of the session": strings.Replace(a, "t=0 0", "t=0 0\na=rtcp:1\na=ptime:20\na=x", 1),
		"two rtpmaps": a + "a=rtpmap:8 PCMA/8000/1\na=rtpmap:200 x/1\na=fmtp:0 x\na=rtcp-fb:0 nack\na=rtcp-fb:* x\na=fmtp:7 y\n",
		"numbers":     strings.Replace(a, "8 0 101", "008 0 0 +9 13", 1),
	} {
		plain(name, body, b)
	}
	for _, f := range []flags{{"ptime": 40}, {"ptime-reverse": 40}, {"ptime": 40, "ptime-reverse": 30}} {
		add("packet time "+fmt.Sprint(f), exchangeOf(f, a, nil, strings.Replace(b, "ptime:20", "ptime:30", 1)))
	}
	add("single codec", exchangeOf(nil, a, flags{"flags": []string{"single-codec"}}, b))
	add("address family of an answer", exchangeOf(nil, a, flags{"address-family": "IP6", "direction": []string{"pub", "six"}}, b))
}

// mediaLevel moves the c= line into the media.
func mediaLevel(body string) string {
	start := strings.Index(body, "c=IN")
	end := start + strings.Index(body[start:], "\n") + 1
	line := body[start:end]
	body = body[:start] + body[end:]
	at := strings.Index(body, "m=audio")
	at += strings.Index(body[at:], "\n") + 1
	return body[:at] + line + body[at:]
}

func browserCases(add func(string, []step), known func(string, string, []step, ...string)) {
	phone := flags{"transport-protocol": "RTP/AVP", "ICE": "remove", "DTLS": "passive", "SDES": []string{"off"}, "rtcp-mux": []string{"demux"}}
	web := flags{"transport-protocol": "UDP/TLS/RTP/SAVPF", "ICE": "force", "SDES": []string{"off"}, "rtcp-mux": []string{"offer"}, "flags": []string{"generate-mid"}}
	p := strings.ReplaceAll(answerer().body(), "101", "126")
	add("browser to phone", append(exchangeOf(phone, browser("actpass"), web, p),
		step{"offer", "B", "A", web, p + "a=sendonly\n"},
		step{"answer", "A", "B", phone, strings.Replace(browser("passive"), "sendrecv", "recvonly", 1)},
		step{"offer", "A", "B", phone, browser("actpass")},
		step{"answer", "B", "A", web, p}))
	add("phone to browser", append(exchangeOf(web, p, phone, browser("active")),
		step{"offer", "A", "B", web, p}, step{"answer", "B", "A", phone, browser("active")},
		step{"offer", "A", "B", nil, p}, step{"answer", "B", "A", nil, browser("active")},
		step{"offer", "B", "A", phone, browser("actpass")}, step{"answer", "A", "B", web, p}))
	restart := strings.NewReplacer("ice-ufrag:", "ice-ufrag:new", "ice-pwd:", "ice-pwd:new")
	add("browser restarts ICE", append(exchangeOf(phone, browser("actpass"), web, p),
		step{"offer", "A", "B", phone, restart.Replace(browser("actpass"))}, step{"answer", "B", "A", web, p}))
	add("browser to browser", exchangeOf(web, browser("actpass"), web, browser("active")))
	add("re-offer of the browser without flags",
		append(exchangeOf(web, p, phone, browser("active")),
			step{"offer", "B", "A", nil, browser("actpass")}, step{"answer", "A", "B", nil, p}))
	known("bundle=accept", "the group of the one media is accepted",
		exchangeOf(phone.with(flags{"bundle": []string{"accept"}}), browser("actpass"), web.with(flags{"bundle": []string{"accept"}}), p),
		"1+a=group:BUNDLE 0")
}
