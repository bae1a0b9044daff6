//go:build integration

package dropin

var commands = []conversation{
	{"list-and-query", func(t *talk) {
		a, b := t.phones()
		towardsB, towardsA := t.offer(offer4), t.answer(answer4)
		t.ask("list", nil)
		t.ask("query", nil)
		talkBothWays(a, b, towardsB, towardsA)
		t.ask("query", nil)
		t.ask("query", keys{"from-tag": t.from})
		t.ask("query", keys{"from-tag": t.to})
		t.ask("query", keys{"from-tag": "nobody"})
		t.ask("delete", keys{"from-tag": t.from, "to-tag": t.to})
	}},
	{"errors", func(t *talk) {
		t.ask("query", nil)
		t.ask("delete", nil)
		t.ask("delete", keys{"from-tag": "x"})
		t.ask("delete", keys{"flags": []string{"fatal"}})
		t.ask("nonsense", nil)
		t.ask("offer", nil)
		t.ask("offer", keys{"from-tag": "x"})
		t.ask("offer", keys{"from-tag": "x", "sdp": "v=0\r\n"})
		t.ask("offer", keys{"from-tag": "x", "sdp": "nonsense"})
		t.ask("offer", keys{"from-tag": "x", "call-id": nil, "sdp": crlf(bare4)})
		t.ask("offer", keys{"sdp": crlf(bare4)})
		t.again()
		t.ask("answer", keys{"from-tag": "x", "sdp": crlf(bare4)})
		t.ask("answer", keys{"from-tag": "x", "to-tag": "y", "sdp": crlf(bare4)})
		t.ask("answer", keys{"from-tag": "x", "to-tag": "y", "sdp": "nonsense"})
		t.ask("answer", keys{"from-tag": "x", "to-tag": "y"})
		t.ask("query", keys{"call-id": nil})
		t.ask("delete", keys{"call-id": nil})
		for _, command := range []string{
			"block media", "unblock media", "block DTMF", "unblock DTMF", "silence media", "unsilence media", "start forwarding", "stop forwarding",
			"play media", "stop media", "play DTMF", "start recording", "stop recording", "pause recording",
			"publish", "subscribe request", "subscribe answer", "unsubscribe", "statistic",
		} {
			t.ask(command, nil)
			t.ask(command, keys{"call-id": nil})
		}
	}},
	{"errors-in-a-call", func(t *talk) {
		t.offer(bare4)
		t.ask("answer", keys{"from-tag": t.from, "sdp": crlf(bareAnswer4)})
		t.ask("answer", keys{"from-tag": "other", "to-tag": t.to, "sdp": crlf(bareAnswer4)})
		t.answer(bareAnswer4)
		t.ask("delete", keys{"from-tag": "nobody"})
		t.ask("delete", keys{"from-tag": "nobody", "flags": []string{"fatal"}})
		t.ask("offer", keys{"from-tag": t.from, "to-tag": t.to, "sdp": "v=0\r\nm=audio\r\n"})
		for _, command := range []string{
			"block media", "unblock media", "block DTMF", "unblock DTMF", "silence media", "unsilence media",
			"play media", "stop media", "play DTMF", "subscribe request", "subscribe answer", "unsubscribe",
		} {
			t.ask(command, nil)
			t.ask(command, keys{"from-tag": "nobody"})
			t.ask(command, keys{"address": "192.0.2.99"})
			t.ask(command, keys{"label": "nobody"})
		}
	}},
	{"block-media", func(t *talk) {
		a, b := t.phones()
		towardsB, towardsA := t.offer(offer4), t.answer(answer4)
		talkBothWays(a, b, towardsB, towardsA)
		once := func() {
			a.send(towardsA.rtp(0), audio(8, 9, 0x1234).bytes())
			b.short()
			b.send(towardsB.rtp(0), audio(8, 9, 0x5678).bytes())
			a.short()
		}
		for _, command := range []string{"block media", "unblock media"} {
			t.ask(command, nil)
			once()
			t.ask(command, keys{"from-tag": t.from, "flags": []string{"directional"}})
			once()
			t.ask(command, keys{"from-tag": t.to, "flags": []string{"directional"}})
			once()
			t.ask(command, keys{"address": other4, "flags": []string{"directional"}})
			once()
		}
		t.ask("block DTMF", nil)
		event := rtp{payload: 101, sequence: 2000, timestamp: 9000, ssrc: 0x1234, body: "\x01\x0a\x00\xa0"}
		a.send(towardsA.rtp(0), event.bytes())
		b.short()
		t.ask("unblock DTMF", nil)
		event.sequence++
		a.send(towardsA.rtp(0), event.bytes())
		b.short()
	}},
	{"json", func(t *talk) {
		t.json(`{"command":"ping"}`)
		t.json(`{"command":"offer","call-id":"` + t.call + `","from-tag":"x","sdp":"v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 2000 RTP/AVP 0\r\n"}`)
		t.json(`{"command":"query","call-id":"` + t.call + `"}`)
		t.json(`{"command":"query"}`)
		t.json(`{"command":`)
		t.json(`[]`)
		t.json(`x`)
		t.json(`d7:command`)
		t.json(``)
	}},
	{"subscribe", func(t *talk) {
		a, b := t.phones()
		c := t.socket("C", other4, 2040)
		towardsB, towardsA := t.offer(offer4), t.answer(answer4)
		talkBothWays(a, b, towardsB, towardsA)
		reply := t.ask("subscribe request", keys{"from-tag": t.from})
		tag, _ := reply["to-tag"].(string)
		t.ask("subscribe answer", keys{"to-tag": tag, "sdp": crlf("\nv=0\no=- 1 1 IN IP4 198.51.100.3\ns=-\nc=IN IP4 198.51.100.3\nt=0 0\nm=audio 2040 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000\na=recvonly\n")})
		a.send(towardsA.rtp(0), audio(8, 20, 0x1234).bytes())
		b.expect()
		c.expect()
		t.ask("unsubscribe", keys{"to-tag": tag})
		a.send(towardsA.rtp(0), audio(8, 21, 0x1234).bytes())
		b.expect()
		c.quiet()
	}},
}

// json sends a body as it is.
func (t *talk) json(body string) {
	reply, err := t.send([]byte(body))
	t.record("> %s", body)
	t.reply(reply, err)
}

// short records a packet that comes at once, or that none does.
func (s *socket) short() {
	packet, _ := s.next(s.talk.patience())
	s.talk.heard = append(s.talk.heard, packet != nil)
	if packet == nil {
		s.talk.record("%s: quiet", s.name)
		return
	}
	s.talk.record("%s: %s", s.name, describe(packet))
}
