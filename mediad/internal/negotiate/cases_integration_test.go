//go:build integration

package negotiate

import (
	"fmt"
	"os"
	"strings"
)

const (
	caseFingerprint = "a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\n"
	caseCrypto      = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\n"
	caseVideo       = "m=video 4002 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)

// peer describes one end as it appears in a body.
type peer struct {
	ip, profile, direction, setup, more string
	port                                int
}

func offerer() peer { return peer{ip: "198.51.100.1", port: 4000, profile: "RTP/AVP"} }
func answerer() peer {
	return peer{ip: "198.51.100.2", port: 5000, profile: "RTP/AVP", setup: "active"}
}

func (p peer) body() string {
	family := "IP4"
	if strings.Contains(p.ip, ":") {
		family = "IP6"
	}
	s := fmt.Sprintf("v=0\no=- 123 456 IN %s %s\ns=call\nc=IN %s %s\nt=0 0\nm=audio %d %s 8 0 101\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\n",
		family, p.ip, family, p.ip, p.port, p.profile)
	if p.direction != "" {
		s += "a=" + p.direction + "\n"
	}
	switch {
	case strings.Contains(p.profile, "TLS"):
		setup := p.setup
		if setup == "" {
			setup = "actpass"
		}
		s += "a=setup:" + setup + "\n" + caseFingerprint
	case strings.Contains(p.profile, "SAVP"):
		s += caseCrypto
	}
	return s + p.more
}

// ice returns attributes of a party that does ICE.
func ice(ufrag, ip string, port int) string {
	return fmt.Sprintf("a=ice-ufrag:%s\na=ice-pwd:%s\na=candidate:1 1 UDP 2130706431 %s %d typ host\na=candidate:1 2 UDP 2130706430 %s %d typ host\n",
		ufrag, strings.Repeat(ufrag[:1], 24), ip, port, ip, port+1)
}

// browser is a live offer of Chromium; as an answer it takes a DTLS role.
func browser(setup string) string {
	raw, err := os.ReadFile("../../../pkg/sdp/testdata/chromium-audio.sdp")
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(strings.ReplaceAll(string(raw), "\r\n", "\n"), "setup:actpass", "setup:"+setup)
}

func exchangeOf(offerFlags flags, offer string, answerFlags flags, answer string) []step {
	return []step{{"offer", "A", "B", offerFlags, offer}, {"answer", "B", "A", answerFlags, answer}}
}

func comparisons() []comparison {
	var list []comparison
	add := func(name string, steps []step) { list = append(list, comparison{name: name, steps: steps}) }
	known := func(name, reason string, steps []step, different ...string) {
		list = append(list, comparison{name, steps, different, reason})
	}
	profileCases(add)
	muxCases(add)
	iceCases(add)
	keyCases(add)
	mediaCases(add, known)
	browserCases(add, known)
	sequenceCases(add, known)
	return list
}

func profileCases(add func(string, []step)) {
	profiles := []string{"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"}
	for _, from := range profiles {
		for _, to := range profiles {
			a, b := offerer(), answerer()
			a.profile, b.profile = from, to
			add(from+" to "+to, exchangeOf(flags{"transport-protocol": to}, a.body(), nil, b.body()))
		}
	}
}

func muxCases(add func(string, []step)) {
	for _, words := range [][]string{nil, {"offer"}, {"require"}, {"demux"}, {"accept"}, {"reject"}, {"offer", "accept"}, {"require", "accept"}} {
		for _, a := range []string{"", "a=rtcp-mux\n"} {
			for _, b := range []string{"", "a=rtcp-mux\n"} {
				from, to := offerer(), answerer()
				from.more, to.more = a, b
				f := flags{}
				if words != nil {
					f["rtcp-mux"] = words
				}
				name := fmt.Sprintf("rtcp-mux %v offered %v answered %v", words, a != "", b != "")
				add(name, exchangeOf(f, from.body(), nil, to.body()))
				add(name+" with ICE", exchangeOf(f, from.body()+ice("AAAA", from.ip, 4000), nil, to.body()+ice("BBBB", to.ip, 5000)))
			}
		}
	}
	for _, word := range []string{"no-rtcp-attribute", "full-rtcp-attribute"} {
		f := flags{"flags": []string{word}}
		add(word, exchangeOf(f, offerer().body(), f, answerer().body()))
		add(word+" mux", exchangeOf(f, offerer().body()+"a=rtcp-mux\n", f, answerer().body()+"a=rtcp-mux\n"))
	}
}

func iceCases(add func(string, []step)) {
	a, b := offerer(), answerer()
	aICE, bICE := a.body()+ice("AAAA", a.ip, a.port), b.body()+ice("BBBB", b.ip, b.port)
	for _, word := range []string{"", "remove", "force", "default"} {
		f := flags{}
		if word != "" {
			f["ICE"] = word
		}
		add("ICE "+word+" none none", exchangeOf(f, a.body(), nil, b.body()))
		add("ICE "+word+" offered", exchangeOf(f, aICE, nil, b.body()))
		add("ICE "+word+" answered", exchangeOf(f, a.body(), nil, bICE))
		add("ICE "+word+" both", exchangeOf(f, aICE, nil, bICE))
	}
	add("ICE remove in the answer", exchangeOf(nil, aICE, flags{"ICE": "remove"}, bICE))
	add("ICE force in the answer", exchangeOf(nil, aICE, flags{"ICE": "force"}, b.body()))
	for _, word := range []string{"off", "forward", "backward", "both"} {
		add("ICE-lite "+word, exchangeOf(flags{"ICE-lite": word}, aICE, nil, bICE))
	}
	add("trickle flag", exchangeOf(flags{"ICE": "force", "flags": []string{"trickle-ICE"}}, a.body(), nil, b.body()))
	add("trickle remote", exchangeOf(flags{"ICE": "force"}, aICE+"a=ice-options:trickle\n", nil, bICE))
	add("reject ICE", exchangeOf(flags{"flags": []string{"reject-ICE"}}, aICE, nil, bICE))
	add("ICE optional none", exchangeOf(flags{"ICE": "optional"}, a.body(), nil, b.body()))
	add("ICE optional", exchangeOf(flags{"ICE": "optional"}, aICE, nil, b.body()))
	add("ICE force-relay", exchangeOf(flags{"ICE": "force-relay"}, a.body(), nil, b.body()))
	add("ICE re-offers", append(exchangeOf(flags{"ICE": "force"}, a.body(), nil, bICE),
		step{"offer", "B", "A", nil, bICE}, step{"answer", "A", "B", nil, a.body()},
		step{"offer", "A", "B", nil, a.body()}, step{"answer", "B", "A", nil, bICE}))
}

func keyCases(add func(string, []step)) {
	tls := func(p peer, setup string) string {
		p.profile, p.setup = "UDP/TLS/RTP/SAVPF", setup
		return p.body()
	}
	sdes := func(p peer) string { p.profile = "RTP/SAVP"; return p.body() }
	a, b := offerer(), answerer()
	for _, setup := range []string{"actpass", "active", "passive"} {
		for _, word := range []string{"", "off", "passive", "active"} {
			f := flags{"transport-protocol": "RTP/AVP"}
			r := flags{"transport-protocol": "RTP/AVP"}
			if word != "" {
				f["DTLS"], r["DTLS-reverse"] = word, word
			}
			add("DTLS "+word+" from "+setup, exchangeOf(f, tls(a, setup), nil, b.body()))
			add("DTLS-reverse "+word+" from "+setup, exchangeOf(r, tls(a, setup), nil, b.body()))
			if word != "" {
				add("DTLS "+word+" in the answer, from "+setup,
					exchangeOf(flags{"transport-protocol": "RTP/AVP"}, tls(a, setup), flags{"DTLS": word}, b.body()))
			}
		}
	}
	for _, word := range []string{"", "off", "passive", "active"} {
		f := flags{"transport-protocol": "UDP/TLS/RTP/SAVPF"}
		if word != "" {
			f["DTLS"] = word
		}
		for _, setup := range []string{"active", "passive"} {
			add("offered DTLS "+word+" answered "+setup, exchangeOf(f, a.body(), nil, tls(b, setup)))
		}
	}
	add("fingerprint sha-1", exchangeOf(flags{"transport-protocol": "UDP/TLS/RTP/SAVPF", "DTLS-fingerprint": "sha-1"}, a.body(), nil, tls(b, "active")))
	add("DTLS off", exchangeOf(flags{"transport-protocol": "RTP/SAVP", "DTLS": "off"}, a.body(), nil, sdes(b)))
	add("SDES off", exchangeOf(flags{"transport-protocol": "RTP/SAVP", "SDES": []string{"off"}}, a.body(), nil, tls(b, "active")))
	add("SDES off between SDES", exchangeOf(flags{"SDES": []string{"off"}}, sdes(a), nil, sdes(b)))
	add("both from the offerer", exchangeOf(flags{"transport-protocol": "RTP/AVP"}, sdes(a)+"a=setup:actpass\n"+caseFingerprint, nil, b.body()))
	add("accept", exchangeOf(flags{"transport-protocol": "RTP/AVP"}, tls(a, "actpass"), flags{"transport-protocol": "accept"}, b.body()))
	add("another profile in the answer", exchangeOf(nil, a.body(), flags{"transport-protocol": "RTP/SAVP"}, b.body()))
	for _, suite := range []string{"AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80"} {
		add("no "+suite, exchangeOf(flags{"transport-protocol": "RTP/SAVP", "SDES": []string{"no-" + suite}}, a.body(), nil, sdes(b)))
	}
	add("parameters", exchangeOf(flags{"transport-protocol": "RTP/SAVP", "SDES": []string{"lifetime", "unencrypted_srtcp", "pad"}}, a.body(), nil, sdes(b)))
	add("SDES re-offers", append(exchangeOf(flags{"transport-protocol": "RTP/AVP"}, sdes(a), nil, b.body()),
		step{"offer", "B", "A", flags{"transport-protocol": "RTP/SAVP"}, b.body()}, step{"answer", "A", "B", nil, sdes(a)},
		step{"offer", "A", "B", nil, sdes(a)}, step{"answer", "B", "A", nil, b.body()}))
	b7 := strings.Replace(sdes(b), "crypto:1 ", "crypto:7 ", 1)
	add("SDES re-offers to the answerer", append(exchangeOf(flags{"transport-protocol": "RTP/SAVP", "DTLS": "off"}, a.body(), nil, b7),
		step{"offer", "A", "B", flags{"transport-protocol": "RTP/SAVP", "DTLS": "off"}, a.body()}, step{"answer", "B", "A", nil, b7},
		step{"offer", "B", "A", flags{"transport-protocol": "RTP/AVP"}, b7}, step{"answer", "A", "B", nil, a.body()}))
}
