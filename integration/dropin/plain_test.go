//go:build integration

package dropin

// offer4 and answer4 are the SDP of two plain phones.
const (
	offer4 = `
v=0
o=- 1545997027 1 IN IP4 198.51.100.1
s=tester
t=0 0
m=audio 2000 RTP/AVP 8 0 101
c=IN IP4 198.51.100.1
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=sendrecv
`
	answer4 = `
v=0
o=- 1545997028 1 IN IP4 198.51.100.3
s=tester
t=0 0
m=audio 2002 RTP/AVP 8 101
c=IN IP4 198.51.100.3
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=sendrecv
`
	bare4 = `
v=0
o=- 1545997027 1 IN IP4 198.51.100.1
s=tester
t=0 0
m=audio 2000 RTP/AVP 0
c=IN IP4 198.51.100.1
`
	bareAnswer4 = `
v=0
o=- 1545997028 1 IN IP4 198.51.100.3
s=tester
t=0 0
m=audio 2002 RTP/AVP 0
c=IN IP4 198.51.100.3
`
	offer6 = `
v=0
o=- 1545997027 1 IN IP6 2001:db8:1234::1
s=tester
t=0 0
m=audio 2000 RTP/AVP 8
c=IN IP6 2001:db8:1234::1
a=sendrecv
`
	answer6 = `
v=0
o=- 1545997028 1 IN IP6 2001:db8:1234::3
s=tester
t=0 0
m=audio 2002 RTP/AVP 8
c=IN IP6 2001:db8:1234::3
a=sendrecv
`
)

// phones opens the ports that offer4 and answer4 name.
func (t *talk) phones() (a, b *socket) {
	return t.socket("A", party4, 2000), t.socket("B", other4, 2002)
}

// talkBothWays makes the two phones send in turn.
func talkBothWays(a, b *socket, towardsB, towardsA description) {
	stream(a, towardsA.rtp(0), b, 8, 0, 3, 0x1234)
	stream(b, towardsB.rtp(0), a, 8, 0, 3, 0x5678)
	stream(a, towardsA.rtp(0), b, 8, 3, 1, 0x1234)
}

var plainCalls = []conversation{
	{"ping", func(t *talk) { t.ask("ping", nil) }},
	{"call", func(t *talk) {
		a, b := t.phones()
		towardsB := t.offer(offer4)
		towardsA := t.answer(answer4)
		talkBothWays(a, b, towardsB, towardsA)
		t.ask("delete", keys{"from-tag": t.from})
	}},
	{"call-replace-origin", func(t *talk) {
		a, b := t.phones()
		k := keys{"replace": []string{"origin", "session-connection"}, "ICE": "remove"}
		talkBothWays(a, b, t.offer(offer4, k), t.answer(answer4, k))
	}},
	{"bare-call", func(t *talk) {
		a, b := t.phones()
		towardsB, towardsA := t.offer(bare4), t.answer(bareAnswer4)
		stream(a, towardsA.rtp(0), b, 0, 0, 2, 0x1234)
		stream(b, towardsB.rtp(0), a, 0, 0, 2, 0x5678)
	}},
	{"early-media", func(t *talk) {
		a, b := t.phones()
		towardsB := t.offer(bare4)
		stream(b, towardsB.rtp(0), a, 0, 0, 2, 0x5678)
		towardsA := t.answer(bareAnswer4)
		stream(a, towardsA.rtp(0), b, 0, 0, 2, 0x1234)
		stream(b, towardsB.rtp(0), a, 0, 2, 2, 0x5678)
	}},
	{"ipv6", func(t *talk) {
		a, b := t.socket("A", party6, 2000), t.socket("B", other6, 2002)
		talkBothWays(a, b, t.offer(offer6), t.answer(answer6))
	}},
	{"ipv4-to-ipv6", func(t *talk) {
		a, b := t.socket("A", party4, 2000), t.socket("B", other6, 2002)
		towardsB := t.offer(offer4, keys{"address-family": "IP6"})
		towardsA := t.answer(answer6, keys{"address-family": "IP4"})
		talkBothWays(a, b, towardsB, towardsA)
	}},
	{"ipv6-to-ipv4", func(t *talk) {
		a, b := t.socket("A", party6, 2000), t.socket("B", other4, 2002)
		towardsB := t.offer(offer6, keys{"address family": "IP4", "replace": []string{"origin"}})
		towardsA := t.answer(answer4, keys{"address family": "IP6", "replace": []string{"origin"}})
		talkBothWays(a, b, towardsB, towardsA)
	}},
	{"rtcp", func(t *talk) {
		a, b := t.phones()
		aRTCP, bRTCP := t.socket("A's RTCP", party4, 2001), t.socket("B's RTCP", other4, 2003)
		towardsB, towardsA := t.offer(offer4), t.answer(answer4)
		talkBothWays(a, b, towardsB, towardsA)
		aRTCP.send(towardsA.rtcp(0), senderReport(0x1234))
		bRTCP.expect()
		bRTCP.send(towardsB.rtcp(0), receiverReport(0x5678))
		aRTCP.expect()
	}},
	{"rtcp-attribute", func(t *talk) {
		a, b := t.phones()
		aRTCP, bRTCP := t.socket("A's RTCP", party4, 2011), t.socket("B's RTCP", other4, 2015)
		towardsB, towardsA := t.offer(bare4+"a=rtcp:2011\n"), t.answer(bareAnswer4+"a=rtcp:2015 IN IP4 198.51.100.3\n")
		stream(a, towardsA.rtp(0), b, 0, 0, 1, 0x1234)
		aRTCP.send(towardsA.rtcp(0), senderReport(0x1234))
		bRTCP.expect()
		bRTCP.send(towardsB.rtcp(0), receiverReport(0x5678))
		aRTCP.expect()
	}},
	{"rtcp-mux", func(t *talk) {
		a, b := t.phones()
		towardsB, towardsA := t.offer(bare4+"a=rtcp-mux\n"), t.answer(bareAnswer4+"a=rtcp-mux\n")
		stream(a, towardsA.rtp(0), b, 0, 0, 1, 0x1234)
		a.send(towardsA.rtp(0), senderReport(0x1234))
		b.expect()
		b.send(towardsB.rtp(0), receiverReport(0x5678))
		a.expect()
	}},
	{"rtcp-mux-not-taken", func(t *talk) {
		a, b := t.phones()
		aRTCP, bRTCP := t.socket("A's RTCP", party4, 2001), t.socket("B's RTCP", other4, 2003)
		towardsB, towardsA := t.offer(bare4+"a=rtcp-mux\n"), t.answer(bareAnswer4)
		stream(a, towardsA.rtp(0), b, 0, 0, 1, 0x1234)
		aRTCP.send(towardsA.rtcp(0), senderReport(0x1234))
		bRTCP.expect()
		bRTCP.send(towardsB.rtcp(0), receiverReport(0x5678))
		aRTCP.expect()
	}},
	{"rtcp-mux-demux", func(t *talk) {
		a, b := t.phones()
		bRTCP := t.socket("B's RTCP", other4, 2003)
		towardsB, towardsA := t.offer(bare4+"a=rtcp-mux\n", keys{"rtcp-mux": []string{"demux"}}), t.answer(bareAnswer4)
		stream(a, towardsA.rtp(0), b, 0, 0, 1, 0x1234)
		stream(b, towardsB.rtp(0), a, 0, 0, 1, 0x5678)
		a.send(towardsA.rtp(0), senderReport(0x1234))
		bRTCP.expect()
		bRTCP.send(towardsB.rtcp(0), receiverReport(0x5678))
		a.expect()
	}},
	{"rtcp-mux-offer", func(t *talk) {
		a, b := t.phones()
		aRTCP := t.socket("A's RTCP", party4, 2001)
		towardsB, towardsA := t.offer(bare4, keys{"rtcp-mux": []string{"offer"}}), t.answer(bareAnswer4+"a=rtcp-mux\n")
		stream(a, towardsA.rtp(0), b, 0, 0, 1, 0x1234)
		aRTCP.send(towardsA.rtcp(0), senderReport(0x1234))
		b.expect()
		b.send(towardsB.rtp(0), receiverReport(0x5678))
		aRTCP.expect()
	}},
	{"rtcp-mux-require", func(t *talk) {
		t.phones()
		t.offer(bare4, keys{"rtcp-mux": []string{"require"}})
		t.answer(bareAnswer4 + "a=rtcp-mux\n")
	}},
	{"rtcp-mux-accept-reject", func(t *talk) {
		t.offer(bare4+"a=rtcp-mux\n", keys{"rtcp-mux": []string{"demux", "accept"}})
		t.answer(bareAnswer4)
		t.again()
		t.offer(bare4+"a=rtcp-mux\n", keys{"rtcp-mux": []string{"offer", "reject"}})
		t.answer(bareAnswer4 + "a=rtcp-mux\n")
	}},
	{"no-rtcp-attribute", func(t *talk) {
		t.offer(offer4, flags("no-rtcp-attribute"))
		t.answer(answer4, flags("full-rtcp-attribute"))
	}},
	{"hold-and-resume", func(t *talk) {
		a, b := t.phones()
		t.offer(bare4)
		towardsA := t.answer(bareAnswer4)
		stream(a, towardsA.rtp(0), b, 0, 0, 1, 0x1234)
		for _, pair := range [][2]string{{"sendonly", "recvonly"}, {"inactive", "inactive"}, {"recvonly", "sendonly"}, {"sendrecv", "sendrecv"}} {
			towardsB := t.offer(bare4+"a="+pair[0]+"\n", keys{"to-tag": t.to})
			towardsA = t.answer(bareAnswer4 + "a=" + pair[1] + "\n")
			stream(a, towardsA.rtp(0), b, 0, 1, 1, 0x1234)
			stream(b, towardsB.rtp(0), a, 0, 1, 1, 0x5678)
		}
	}},
	{"hold-by-the-callee", func(t *talk) {
		a, b := t.phones()
		t.offer(bare4)
		t.answer(bareAnswer4)
		t.reverse()
		towardsA := t.offer(bareAnswer4+"a=sendonly\n", keys{"to-tag": t.to})
		towardsB := t.answer(bare4 + "a=recvonly\n")
		stream(b, towardsB.rtp(0), a, 0, 1, 2, 0x5678)
		stream(a, towardsA.rtp(0), b, 0, 1, 2, 0x1234)
	}},
	{"hold-by-zero-address", func(t *talk) {
		a, b := t.phones()
		zero := `
v=0
o=- 1545997027 1 IN IP4 198.51.100.1
s=tester
t=0 0
m=audio 2000 RTP/AVP 0
c=IN IP4 0.0.0.0
`
		t.offer(bare4)
		towardsA := t.answer(bareAnswer4)
		stream(a, towardsA.rtp(0), b, 0, 0, 1, 0x1234)
		towardsB := t.offer(zero, keys{"to-tag": t.to})
		t.answer(bareAnswer4)
		b.send(towardsB.rtp(0), audio(0, 5, 0x5678).bytes())
		a.quiet()
		towardsB = t.offer(bare4, keys{"to-tag": t.to})
		t.answer(bareAnswer4)
		stream(b, towardsB.rtp(0), a, 0, 6, 1, 0x5678)
		t.offer(zero, keys{"to-tag": t.to, "replace": []string{"zero-address"}})
		t.answer(bareAnswer4)
	}},
	{"moved", func(t *talk) {
		a, b := t.phones()
		moved := t.socket("A elsewhere", party4, 2100)
		t.offer(bare4)
		towardsA := t.answer(bareAnswer4)
		stream(a, towardsA.rtp(0), b, 0, 0, 1, 0x1234)
		towardsB := t.offer(movedOffer, keys{"to-tag": t.to})
		towardsA = t.answer(bareAnswer4)
		stream(b, towardsB.rtp(0), moved, 0, 1, 1, 0x5678)
		stream(moved, towardsA.rtp(0), b, 0, 1, 1, 0x1234)
	}},
	{"media-added-and-removed", func(t *talk) {
		video := `m=video 2010 RTP/AVP 99
c=IN IP4 198.51.100.1
a=rtpmap:99 H264/90000
a=fmtp:99 profile-level-id=42e01f;packetization-mode=1
`
		t.offer(bare4)
		t.answer(bareAnswer4)
		t.offer(bare4+video, keys{"to-tag": t.to})
		t.answer(bareAnswer4 + "m=video 2012 RTP/AVP 99\nc=IN IP4 198.51.100.3\na=rtpmap:99 H264/90000\n")
		t.offer(bare4+"m=video 0 RTP/AVP 99\nc=IN IP4 198.51.100.1\n", keys{"to-tag": t.to})
		t.answer(bareAnswer4 + "m=video 0 RTP/AVP 99\nc=IN IP4 198.51.100.3\n")
		t.offer(bare4, keys{"to-tag": t.to})
		t.answer(bareAnswer4)
	}},
	{"video-refused", func(t *talk) {
		t.offer(bare4 + "m=video 2010 RTP/AVP 99\nc=IN IP4 198.51.100.1\na=rtpmap:99 VP8/90000\na=sendrecv\n")
		t.answer(bareAnswer4 + "m=video 0 RTP/AVP 99\nc=IN IP4 198.51.100.3\n")
	}},
	{"session-level", func(t *talk) {
		t.offer(`
v=0
o=caller 1 1 IN IP4 198.51.100.1
s=a name
i=information
u=http://example.test/
e=someone@example.test
p=+1 234
c=IN IP4 198.51.100.1
b=AS:128
t=0 0
r=7d 1h 0 25h
k=clear:x
a=tool:a tool 1.0
a=recvonly
m=audio 2000 RTP/AVP 0 8
i=the title
b=AS:64
b=RR:0
a=ptime:30
a=maxptime:60
a=label:7
a=sendrecv
a=unknown
a=x-own:value:with:colons
m=video 2010 RTP/AVP 99
a=rtpmap:99 VP8/90000
a=rtcp-fb:* nack pli
`)
		t.answer(`
v=0
o=callee 2 1 IN IP4 198.51.100.3
s=-
c=IN IP4 198.51.100.3
t=0 0
a=inactive
m=audio 2002 RTP/AVP 0
m=video 2012 RTP/AVP 99
`)
	}},
	{"application-and-unknown", func(t *talk) {
		t.offer(bare4 + "m=application 2020 UDP/BFCP *\nc=IN IP4 198.51.100.1\na=floorctrl:c-only\nm=message 2855 TCP/MSRP *\nc=IN IP4 198.51.100.1\na=path:msrp://198.51.100.1:2855/x;tcp\nm=image 2030 udptl t38\nc=IN IP4 198.51.100.1\na=T38FaxVersion:0\n")
		t.answer(bareAnswer4 + "m=application 2022 UDP/BFCP *\nc=IN IP4 198.51.100.3\nm=message 0 TCP/MSRP *\nc=IN IP4 198.51.100.3\nm=image 2032 udptl t38\nc=IN IP4 198.51.100.3\n")
	}},
	{"order-of-lines", func(t *talk) {
		t.offer("\nv=0\no=- 1 1 IN IP4 198.51.100.1\ns=x\nt=0 0\na=group:LS 1 2\nm=audio 2000 RTP/AVP 0\nc=IN IP4 198.51.100.1\na=mid:1\na=sendonly\na=rtpmap:0 PCMU/8000\na=foo\nm=audio 2004 RTP/AVP 8\nc=IN IP4 198.51.100.1\na=ssrc:1 cname:x\na=mid:2\n")
		t.answer("\nv=0\no=- 1 1 IN IP4 198.51.100.3\ns=x\nt=0 0\nm=audio 2002 RTP/AVP 0\nc=IN IP4 198.51.100.3\na=mid:1\nm=audio 2006 RTP/AVP 8\nc=IN IP4 198.51.100.3\na=mid:2\n")
	}},
	{"c-line-after-attributes", func(t *talk) {
		t.ask("offer", keys{"from-tag": "x", "sdp": crlf("\nv=0\no=- 1 1 IN IP4 198.51.100.1\ns=x\nt=0 0\nm=audio 2000 RTP/AVP 0\na=sendonly\nc=IN IP4 198.51.100.1\na=foo\n")})
	}},
}

var forks = []conversation{
	{"fork-by-via-branch", func(t *talk) {
		a, b := t.phones()
		c := t.socket("C", other4, 2022)
		toB := t.offer(bare4, keys{"via-branch": "one"})
		toC := t.offer(bare4, keys{"via-branch": "two"})
		third := `
v=0
o=- 1545997029 1 IN IP4 198.51.100.3
s=tester
t=0 0
m=audio 2022 RTP/AVP 0
c=IN IP4 198.51.100.3
`
		t.answer(bareAnswer4, keys{"via-branch": "one"})
		stream(b, toB.rtp(0), a, 0, 0, 2, 0x5678)
		towardsA := t.answer(third, keys{"to-tag": "third-tag", "via-branch": "two"})
		stream(c, toC.rtp(0), a, 0, 0, 2, 0x9abc)
		stream(a, towardsA.rtp(0), c, 0, 0, 2, 0x1234)
		t.ask("query", nil)
		t.ask("delete", keys{"from-tag": t.from, "via-branch": "one"})
		stream(a, towardsA.rtp(0), c, 0, 2, 2, 0x1234)
	}},
	{"offer-repeated", func(t *talk) {
		t.offer(bare4)
		t.offer(bare4)
		t.answer(bareAnswer4)
		t.answer(bareAnswer4)
	}},
	{"offer-after-delete", func(t *talk) {
		t.offer(bare4)
		t.answer(bareAnswer4)
		t.ask("delete", nil)
		t.offer(bare4)
		t.answer(bareAnswer4)
		t.ask("delete", keys{"from-tag": t.from})
		t.offer(bare4)
		t.answer(bareAnswer4)
	}},
	{"two-calls-by-tag", func(t *talk) {
		t.offer(bare4)
		t.answer(bareAnswer4)
		t.offer(bare4, keys{"from-tag": "another"})
		t.answer(bareAnswer4, keys{"from-tag": "another", "to-tag": "to-another"})
		t.ask("delete", keys{"from-tag": "another"})
		t.ask("query", nil)
	}},
}
