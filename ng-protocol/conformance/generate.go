package conformance

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Generator makes random conversations by grammar: the same seed and number
// give the same conversation.
type Generator struct{ Seed uint64 }

// Scenario makes conversation number n: an offer, and mostly an answer,
// re-offers from either side with changed media, a query and a delete.
func (g Generator) Scenario(n int) Scenario {
	d := draw{rand.New(rand.NewPCG(g.Seed, uint64(n)))}
	s := Scenario{Name: fmt.Sprintf("fuzz: %d of seed %d", n, g.Seed)}
	ask := func(command, from, to string, keys map[string]any, body []string) {
		s.Steps = append(s.Steps, Step{Kind: Ask, Line: len(s.Steps) + 1, Command: command, Party: from, To: to, Keys: keys, Body: body})
	}
	style := d.style()
	offer := d.description(style, d.medias(style))
	keys := d.keys(style)
	ask("offer", "A", "", keys, d.write(offer, "A"))
	if d.one(12) {
		return s
	}
	answer := d.answer(offer)
	ask("answer", "A", "B", d.answerKeys(keys), d.write(answer, "B"))
	if keys["ICE"] == nil || keys["ICE"] == "remove" {
		d.media(&s, offer)
	}
	for d.one(3) && len(s.Steps) < 12 {
		from, to := "A", "B"
		if d.one(3) {
			from, to = to, from
		}
		offer = d.change(offer)
		again := keys
		if d.one(2) {
			again = d.keys(style)
		}
		ask("offer", from, to, again, d.write(offer, from))
		answer = d.answer(offer)
		ask("answer", from, to, d.answerKeys(again), d.write(answer, to))
	}
	if d.one(15) {
		ask("delete", "A", "", map[string]any{}, nil)
	}
	return s
}

// media lets packets of the first stream go both ways: of an agreed type, of
// another one, RTCP. What arrives is compared between the daemons, whatever it
// is; with ICE it would depend on checks, with SRTP on keys.
func (d draw) media(s *Scenario, o description) {
	if all := fmt.Sprint(o, s.Steps[0].Keys); strings.Contains(all, "ice-ufrag") || strings.Contains(all, "SAVP") {
		return
	}
	for n := range d.IntN(4) {
		from, to := "A", "B"
		if d.one(2) {
			from, to = to, from
		}
		packet := map[string]string{"kind": "rtp", "pt": "0", "seq": fmt.Sprint(n + 1), "ts": fmt.Sprint(160 * n), "ssrc": "0x1234", "payload": "packet"}
		switch d.IntN(4) {
		case 0:
			packet["pt"] = "77"
		case 1:
			packet = map[string]string{"kind": "rtcp", "ssrc": "0x1234"}
		default:
			if f := o.media[0].formats[0]; len(f) < 4 && f[0] >= '0' && f[0] <= '9' {
				packet["pt"] = f
			}
		}
		line := len(s.Steps) + 1
		s.Steps = append(s.Steps, Step{Kind: Send, Line: line, Party: from, Packet: packet},
			Step{Kind: Receive, Line: line + 1, Party: to, Packet: map[string]string{"kind": "nothing"}})
	}
}

// draw holds the dice.
type draw struct{ *rand.Rand }

// one is true once in n times.
func (d draw) one(n int) bool { return d.IntN(n) == 0 }

func pickOne[T any](d draw, list []T) T { return list[d.IntN(len(list))] }

// style is what a conversation is mainly about, so that interesting things
// meet each other more often than by chance.
type style uint8

const (
	plain style = iota
	secured
	webrtc
	odd
	styles
)

func (d draw) style() style { return style(d.IntN(int(styles))) }

// section is one m= section; session-level lines are the section 0.
type section struct {
	kind, port, protocol string
	formats              []string
	lines                []string // after the m= line (c=, b= first)
}

type description struct {
	origin, name string
	address      string // session-level connection, "" = none
	head         []string
	session      []string // attributes
	media        []section
}

func (d draw) description(s style, media []section) description {
	out := description{
		origin: pickOne(d, []string{"o=- 1 1 IN IP4 {P.ip}", "o=alice 12 13 IN IP4 198.51.100.1", "o=- 0 0 IN IP4 0.0.0.0", "o=- 8446744073709551615 4294967295 IN IP4 {P.ip}"}),
		name:   pickOne(d, []string{"s=-", "s=call", "s= "}), address: "c=IN IP4 {P.ip}", media: media,
	}
	if d.one(12) {
		out.address = pickOne(d, []string{"c=IN IP4 0.0.0.0", "c=IN IP4 198.51.100.77", "c=IN IP6 ::1", "c=IN IP6 2001:db8::77"})
	}
	if d.one(5) {
		out.head = append(out.head, pickOne(d, sessionLines()))
	}
	for d.one(3) {
		out.session = append(out.session, pickOne(d, attributes()))
	}
	if s == webrtc && d.one(2) {
		out.session = append(out.session, "a=ice-ufrag:sess", "a=ice-pwd:sessionlevelpasswordlong", "a=fingerprint:"+certificateHash, "a=setup:actpass")
	}
	if s == webrtc && len(media) > 1 && d.one(2) {
		out.session = append(out.session, "a=group:BUNDLE 0 1")
		for i := range out.media {
			out.media[i].lines = append(out.media[i].lines, fmt.Sprintf("a=mid:%d", i))
		}
	}
	if d.one(8) { // connection at media level only
		for i := range out.media {
			out.media[i].lines = append([]string{out.address}, out.media[i].lines...)
		}
		if d.one(2) {
			out.address = ""
		}
	}
	return out
}

func (d draw) medias(s style) []section {
	list := []section{d.audio(s)}
	for d.one(4) && len(list) < 4 {
		switch d.IntN(4) {
		case 0:
			list = append(list, d.audio(s))
		case 1:
			list = append(list, d.other())
		default:
			list = append(list, d.rtp("video", videoPayloads(), s))
		}
	}
	if d.one(15) {
		list[0] = d.other()
	}
	return list
}

func (d draw) audio(s style) section { return d.rtp("audio", audioPayloads(), s) }

func (d draw) rtp(kind string, payloads []payload, s style) section {
	m := section{kind: kind, port: "{P}", protocol: "RTP/AVP"}
	if d.one(25) {
		m.port = pickOne(d, []string{"0", "9"})
	}
	d.Shuffle(len(payloads), func(i, j int) { payloads[i], payloads[j] = payloads[j], payloads[i] })
	if d.one(2) {
		payloads[0] = payload{number: "0"} // most phones have it
	}
	seen := map[string]bool{}
	for _, p := range payloads[:1+d.IntN(4)] {
		if !seen[p.number] {
			m.formats = append(m.formats, p.number)
			m.lines = append(m.lines, p.lines...)
		}
		seen[p.number] = true
	}
	switch s {
	case secured:
		m.protocol = pickOne(d, []string{"RTP/SAVP", "RTP/SAVP", "RTP/SAVPF", "RTP/AVP", "RTP/AVPF"})
		suites := sdesLines()
		d.Shuffle(len(suites), func(i, j int) { suites[i], suites[j] = suites[j], suites[i] })
		if !strings.Contains(m.protocol, "SAVP") && !d.one(4) {
			break // keys beside a profile without SRTP are rare (RFC 8643)
		}
		for i, suite := range suites[:1+d.IntN(4)] {
			m.lines = append(m.lines, fmt.Sprintf("a=crypto:%d %s", i+1, suite))
		}
	case webrtc:
		m.protocol = pickOne(d, []string{"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/AVP"})
		if !d.one(4) {
			m.lines = append(m.lines, "a=ice-ufrag:"+strings.ToLower(kind[:3])+"u", "a=ice-pwd:abcdefghijklmnopqrstuvwx", "a=candidate:1 1 UDP 2130706431 {P.ip} {P} typ host")
			if d.one(2) {
				m.lines = append(m.lines, "a=candidate:1 2 UDP 2130706430 {P.ip} {P+1} typ host")
			}
			if d.one(4) {
				m.lines = append(m.lines, "a=candidate:2 1 UDP 1694498815 198.51.100.7 40000 typ srflx raddr {P.ip} rport {P}")
			}
		}
		if !d.one(3) {
			m.lines = append(m.lines, "a=fingerprint:"+certificateHash, "a=setup:"+pickOne(d, []string{"actpass", "active", "passive", "holdconn"}))
		}
		if d.one(2) {
			m.lines = append(m.lines, "a=rtcp-mux")
		}
	case odd:
		m.protocol = pickOne(d, []string{"RTP/AVP", "RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/UNKNOWN", "rtp/avp"})
	}
	for d.one(2) {
		at := d.IntN(len(m.lines) + 1)
		m.lines = append(m.lines[:at:at], append([]string{pickOne(d, attributes())}, m.lines[at:]...)...)
	}
	if d.one(8) {
		m.lines = append([]string{pickOne(d, []string{"b=AS:64", "b=TIAS:64000", "i=title", "b=RS:0"})}, m.lines...)
	}
	return m
}

func (d draw) other() section {
	t := pickOne(d, otherMedia())
	m := section{kind: t.name, port: "{P}", protocol: pickOne(d, t.protocols), formats: []string{pickOne(d, t.formats)}}
	m.lines = append(m.lines, t.lines[:d.IntN(len(t.lines)+1)]...)
	if d.one(3) {
		m.lines = append(m.lines, pickOne(d, attributes()))
	}
	return m
}

// write makes the lines of an SDP; {P} in the grammar is the party's port.
func (d draw) write(o description, party string) []string {
	lines := []string{"v=0", o.origin, o.name}
	var late []string
	for _, l := range o.head {
		if strings.HasPrefix(l, "b=") {
			late = append(late, l)
		} else {
			lines = append(lines, l)
		}
	}
	if o.address != "" {
		lines = append(lines, o.address)
	}
	lines = append(append(append(lines, late...), "t=0 0"), o.session...)
	for i, m := range o.media {
		name := party
		if i > 0 {
			name = fmt.Sprint(party, i+1)
		}
		own := []string{"m=" + m.kind + " " + m.port + " " + m.protocol + " " + strings.Join(m.formats, " ")}
		for _, l := range append(own, m.lines...) {
			lines = append(lines, strings.NewReplacer("{P}", "{"+name+"}", "{P+1}", "{"+name+"+1}", "{P.ip}", "{"+name+".ip}").Replace(l))
		}
	}
	return strings.Split(strings.NewReplacer("{P}", "{"+party+"}", "{P+1}", "{"+party+"+1}", "{P.ip}", "{"+party+".ip}").Replace(strings.Join(lines, "\n")), "\n")
}

// answer takes some of the formats, and rejects media now and then.
func (d draw) answer(o description) description {
	a := o
	a.media = nil
	if d.one(4) {
		a.origin = "o=bob 22 23 IN IP4 198.51.100.2"
	}
	for _, m := range o.media {
		formats := m.formats
		m.formats = nil
		for _, f := range formats {
			if d.one(2) {
				m.formats = append(m.formats, f)
			}
		}
		if len(m.formats) == 0 {
			m.formats = formats[:1]
		}
		switch d.IntN(16) {
		case 0:
			m.port = "0"
		case 2:
			m.protocol = "RTP/AVP"
		case 3:
			m.lines = append(m.lines[:len(m.lines):len(m.lines)], pickOne(d, attributes()))
		}
		var kept []string
		for _, l := range m.lines {
			if strings.HasPrefix(l, "a=rtpmap:") || strings.HasPrefix(l, "a=fmtp:") {
				_, number, _ := strings.Cut(strings.SplitN(l, " ", 2)[0], ":")
				if !strings.Contains(" "+strings.Join(m.formats, " ")+" ", " "+number+" ") {
					continue
				}
			} else if d.one(6) {
				continue
			}
			switch l {
			case "a=setup:actpass":
				l = "a=setup:active"
			case "a=sendonly":
				l = "a=recvonly"
			}
			kept = append(kept, l)
		}
		m.lines = kept
		a.media = append(a.media, m)
	}
	return a
}

// change is what a re-INVITE does: another direction, codecs, a medium more,
// one rejected, hold.
func (d draw) change(o description) description {
	o.media = append([]section(nil), o.media...)
	m := &o.media[d.IntN(len(o.media))]
	m.lines = m.lines[:len(m.lines):len(m.lines)]
	switch d.IntN(8) {
	case 0:
		m.lines = append(m.lines, pickOne(d, []string{"a=sendonly", "a=inactive", "a=recvonly"}))
	case 1:
		m.port = "0"
	case 2:
		o.address = "c=IN IP4 0.0.0.0"
	case 3:
		o.media = append(o.media, d.audio(plain))
	case 4:
		*m = d.audio(plain)
	case 5:
		*m = d.other()
	case 6:
		o.media = o.media[:max(1, len(o.media)-1)]
	}
	return o
}

// keys draws keys for an offer.
func (d draw) keys(s style) map[string]any {
	keys := map[string]any{}
	switch {
	case s == webrtc && d.one(2):
		keys["ICE"], keys["transport-protocol"] = "remove", "RTP/AVP"
	case s == secured && d.one(3):
		keys["transport-protocol"] = "RTP/AVP"
	case s == plain && d.one(6):
		keys["ICE"], keys["transport-protocol"] = "force", "UDP/TLS/RTP/SAVPF"
	case s == plain && d.one(6):
		keys["transport-protocol"] = "RTP/SAVP"
	}
	if d.one(3) { // as most scripts have it
		keys["ICE"], keys["replace"] = "remove", []any{"origin"}
	}
	table := offerKeys()
	total := 0
	for _, c := range table {
		total += c.weight
	}
	for range d.IntN(4) {
		at := d.IntN(total)
		for _, c := range table {
			if at -= c.weight; at < 0 {
				keys[c.key] = d.value(c)
				break
			}
		}
	}
	return keys
}

func (d draw) value(c choice) any {
	switch c.key {
	case "flags":
		return d.some(offerFlags(), 3)
	case "codec":
		out := map[string]any{}
		for range 1 + d.IntN(2) {
			out[pickOne(d, []string{"strip", "strip", "offer", "offer", "except", "mask", "accept", "consume", "ignore"})] = d.some(codecNames(), 3)
		}
		return out
	}
	return pickOne(d, c.values)
}

func (d draw) some(list []any, most int) []any {
	var out []any
	for range 1 + d.IntN(most) {
		out = append(out, pickOne(d, list))
	}
	return out
}

// answerKeys repeats some of the offer's keys, as scripts do, or draws others.
func (d draw) answerKeys(keys map[string]any) map[string]any {
	switch d.IntN(4) {
	case 0:
		return d.keys(odd)
	case 1:
		return map[string]any{}
	}
	out := map[string]any{}
	for _, key := range []string{"ICE", "flags", "replace", "via-branch", "rtcp-mux"} {
		if v, ok := keys[key]; ok {
			out[key] = v
		}
	}
	return out
}
