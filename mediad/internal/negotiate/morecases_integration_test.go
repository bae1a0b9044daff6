//go:build integration

package negotiate

import "strings"

// sequenceCases are longer exchanges: repeated and crossing offers, and legs
// that remember what was agreed.
func sequenceCases(add func(string, []step), known func(string, string, []step, ...string)) {
	a, b := offerer().body(), answerer().body()
	aICE, bICE := a+ice("AAAA", "198.51.100.1", 4000), b+ice("BBBB", "198.51.100.2", 5000)
	offer := func(from, to string, f flags, body string) step { return step{"offer", from, to, f, body} }
	answer := func(from, to string, f flags, body string) step { return step{"answer", from, to, f, body} }

	known("repeated offer", "rtcp-mux is not agreed yet, so the second port stays on offer", []step{
		offer("A", "B", nil, aICE+"a=rtcp-mux\n"), offer("A", "B", nil, aICE+"a=rtcp-mux\n"), answer("B", "A", nil, bICE+"a=rtcp-mux\n"),
	}, "1+a=candidate:x 2 UDP 2130706430 203.0.113.1 port0+1 typ host", "1+a=rtcp:port0+1", "1-a=rtcp:port0")
	add("repeated answer", []step{
		offer("A", "B", nil, aICE+"a=rtcp-mux\n"), answer("B", "A", nil, bICE), answer("B", "A", nil, bICE),
	})
	add("ICE declined, offered again", []step{
		offer("A", "B", nil, aICE), answer("B", "A", nil, b), offer("A", "B", nil, aICE), answer("B", "A", nil, b),
		offer("B", "A", nil, b), answer("A", "B", nil, aICE),
	})
	add("ICE dropped by the offerer", []step{
		offer("A", "B", nil, aICE), answer("B", "A", nil, bICE), offer("A", "B", nil, a), answer("B", "A", nil, bICE),
	})
	add("mux agreed, offers from both", []step{
		offer("A", "B", nil, a+"a=rtcp-mux\n"), answer("B", "A", nil, b+"a=rtcp-mux\n"),
		offer("B", "A", nil, b+"a=rtcp-mux\n"), answer("A", "B", nil, a+"a=rtcp-mux\n"),
		offer("A", "B", nil, a+"a=rtcp-mux\n"), answer("B", "A", nil, b+"a=rtcp-mux\n"),
	})
	tls := answerer()
	tls.profile = "UDP/TLS/RTP/SAVPF"
	add("SDES taken where DTLS was offered too", []step{
		offer("A", "B", flags{"transport-protocol": "RTP/SAVP"}, a), answer("B", "A", nil, securedBody("198.51.100.2", 5000, 7)),
		offer("A", "B", flags{"transport-protocol": "RTP/SAVP"}, a), answer("B", "A", nil, securedBody("198.51.100.2", 5000, 7)),
		offer("B", "A", flags{"transport-protocol": "RTP/AVP"}, securedBody("198.51.100.2", 5000, 7)), answer("A", "B", nil, a),
	})
	add("DTLS taken where SDES was offered too", []step{
		offer("A", "B", flags{"transport-protocol": "UDP/TLS/RTP/SAVPF"}, a), answer("B", "A", nil, tls.body()),
		offer("A", "B", nil, a), answer("B", "A", nil, tls.body()),
	})
	add("profile kept without flags", []step{
		offer("A", "B", flags{"transport-protocol": "RTP/AVPF"}, a), answer("B", "A", nil, strings.Replace(b, "RTP/AVP", "RTP/AVPF", 1)),
		offer("B", "A", nil, strings.Replace(b, "RTP/AVP", "RTP/AVPF", 1)), answer("A", "B", nil, a),
		offer("A", "B", nil, a), answer("B", "A", nil, strings.Replace(b, "RTP/AVP", "RTP/AVPF", 1)),
	})
	add("mids of both", []step{
		offer("A", "B", nil, a+"a=mid:x\n"), answer("B", "A", nil, b+"a=mid:x\n"),
		offer("B", "A", nil, b+"a=mid:x\n"), answer("A", "B", nil, a+"a=mid:x\n"),
	})
	add("mid offered, none answered", []step{offer("A", "B", nil, a+"a=mid:x\n"), answer("B", "A", nil, b)})
	add("mid answered, none offered", []step{offer("A", "B", nil, a), answer("B", "A", nil, b+"a=mid:x\n")})
	add("media added by the answerer", []step{
		offer("A", "B", nil, a), answer("B", "A", nil, b), offer("B", "A", nil, b+caseVideo), answer("A", "B", nil, a+caseVideo),
	})
	add("first media refused", []step{
		offer("A", "B", nil, strings.Replace(a, "audio 4000", "audio 0", 1)+caseVideo), answer("B", "A", nil, strings.Replace(b, "audio 5000", "audio 0", 1)+caseVideo),
	})
	image := func(body string) string {
		return body[:strings.Index(body, "m=audio")] + "m=image 4004 udptl t38\na=T38FaxVersion:0\n"
	}
	add("audio becomes T.38 and audio again", []step{
		offer("A", "B", nil, a), answer("B", "A", nil, b), offer("B", "A", nil, image(b)), answer("A", "B", nil, image(a)),
		offer("B", "A", nil, b), answer("A", "B", nil, a),
	})
	sessionLevel := func(body, attributes string) string { return strings.Replace(body, "t=0 0\n", "t=0 0\n"+attributes, 1) }
	add("ICE credentials in the session", []step{
		offer("A", "B", nil, sessionLevel(a, "a=ice-ufrag:AAAA\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\na=ice-lite\n")+"a=candidate:1 1 UDP 2130706431 198.51.100.1 4000 typ host\n"),
		answer("B", "A", nil, bICE),
	})
	add("DTLS in the session", []step{
		offer("A", "B", flags{"transport-protocol": "RTP/AVP"}, sessionLevel(strings.Replace(a, "RTP/AVP", "UDP/TLS/RTP/SAVP", 1), "a=setup:passive\n"+caseFingerprint)),
		answer("B", "A", nil, b),
	})
	for _, d := range []string{"sendonly", "recvonly", "inactive"} {
		add("direction in the session "+d, []step{offer("A", "B", nil, sessionLevel(a, "a="+d+"\n")+"a=sendonly\n"), answer("B", "A", nil, sessionLevel(b, "a="+d+"\n"))})
	}
	add("bandwidth and information", []step{
		offer("A", "B", nil, strings.Replace(a, "a=rtpmap:8", "i=speech\nb=AS:64\nb=RS:0\na=rtpmap:8", 1)), answer("B", "A", nil, b),
	})
	add("y= line", []step{offer("A", "B", nil, a+"y=0100000001\n")})
}

func securedBody(ip string, port, tag int) string {
	p := answerer()
	p.ip, p.port, p.profile = ip, port, "RTP/SAVP"
	return strings.Replace(p.body(), "crypto:1 ", "crypto:"+string(rune('0'+tag))+" ", 1)
}
