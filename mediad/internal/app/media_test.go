package app

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// do executes any command and returns its reply, which must be no failure.
func (d *daemon) do(req ng.Request) ng.Reply {
	d.t.Helper()
	reply, err := d.client.Nodes()[0].Do(context.Background(), &req)
	require.NoError(d.t, err)
	return reply
}

// refused executes a command that must fail.
func (d *daemon) refused(req ng.Request) error {
	_, err := d.client.Nodes()[0].Do(context.Background(), &req)
	return err
}

// hears returns what the phone hears within a while after a word was said.
func (p *phone) hears(from *phone, word string) []string {
	for len(p.payloads) > 0 {
		<-p.payloads
	}
	from.sendRTP(word)
	var got []string
	for end := time.After(150 * time.Millisecond); ; {
		select {
		case word := <-p.payloads:
			got = append(got, word)
		case <-end:
			return got
		}
	}
}

// sendEvent sends a telephone event (RFC 4733).
func (p *phone) sendEvent(code byte) {
	pkt := make([]byte, 12, 64)
	pkt[0], pkt[1] = 0x80, 101
	p.seq++
	pkt[2], pkt[3] = byte(p.seq>>8), byte(p.seq)
	pkt[8], pkt[9], pkt[10], pkt[11] = byte(p.ssrc>>24), byte(p.ssrc>>16), byte(p.ssrc>>8), byte(p.ssrc)
	pkt = append(pkt, code, 10, 0, 160)
	if p.out != nil {
		var err error
		pkt, err = p.out.EncryptRTP(nil, pkt, nil)
		require.NoError(p.t, err)
	}
	_, err := p.rtp.WriteToUDPAddrPort(pkt, p.toRTP)
	require.NoError(p.t, err)
}

func TestBlockedAndSilencedMedia(t *testing.T) {
	for name, suite := range map[string]string{"plain": "", "SRTP": "AEAD_AES_256_GCM"} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, nil)
			a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
			if suite != "" {
				b.withSDES(suite)
			}
			connectPhones(d, a, b, nil)
			talk(t, a, b)
			one := func(c ng.Command) ng.Request { return ng.Request{Command: c, CallID: "call", FromTag: "a"} }

			d.do(one(ng.CommandBlockMedia))
			silent(t, a, b)
			oneWay(t, b, a)
			a.sendEvent(5)
			require.Equal(t, "\x05\x0a\x00\xa0", <-b.payloads, "telephone events are no media")
			d.do(one(ng.CommandUnblockMedia))
			talk(t, a, b)

			d.do(one(ng.CommandSilenceMedia))
			require.Equal(t, []string{strings.Repeat("\xff", 6)}, b.hears(a, "secret"))
			require.Equal(t, []string{"word"}, a.hears(b, "word"))
			d.do(one(ng.CommandUnsilenceMedia))
			talk(t, a, b)

			d.do(ng.Request{Command: ng.CommandBlockDTMF, CallID: "call"})
			a.sendEvent(5)
			require.Equal(t, []string{"word"}, b.hears(a, "word"))
			d.do(ng.Request{Command: ng.CommandBlockDTMF, CallID: "call", DTMF: ng.DTMF{Security: "zero"}})
			a.sendEvent(5)
			require.Equal(t, "\x00\x0a\x00\xa0", <-b.payloads)
			d.do(ng.Request{Command: ng.CommandUnblockDTMF, CallID: "call"})
			a.sendEvent(5)
			require.Equal(t, "\x05\x0a\x00\xa0", <-b.payloads)

			d.do(ng.Request{Command: ng.CommandBlockMedia, CallID: "call"})
			silent(t, a, b)
			silent(t, b, a)
			d.do(ng.Request{Command: ng.CommandUnblockMedia, CallID: "call"})
			talk(t, a, b)
			d.delete(&ng.Request{CallID: "call"})
		})
	}
}

// subscribe makes s hear what the parties with the tags say.
func (d *daemon) subscribe(s *phone, tag string, change func(*ng.Request)) *ng.SubscribeReply {
	d.t.Helper()
	req := ng.Request{Command: ng.CommandSubscribeRequest, CallID: "call", FromTag: tag, DTLS: ng.DTLSOff}
	if change != nil {
		change(&req)
	}
	reply := d.do(req).(*ng.SubscribeReply)
	crypto := s.told(reply.SDP)
	d.do(ng.Request{Command: ng.CommandSubscribeAnswer, CallID: "call", ToTag: reply.ToTag, SDP: s.sdp(crypto)})
	return reply
}

func TestSubscribersHearACopy(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	plain, secret := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1").withSDES("AES_CM_128_HMAC_SHA1_80")
	plain.direction, secret.direction = "recvonly", "recvonly"
	connectPhones(d, a, b, nil)
	one := d.subscribe(plain, "a", nil)
	require.Equal(t, []string{"a"}, one.FromTags)
	require.Contains(t, one.SDP, "a=sendonly\r\n")
	two := d.subscribe(secret, "b", func(r *ng.Request) { r.TransportProtocol, r.ToTag = ng.ProtocolRTPSAVP, "recorder" })
	require.Equal(t, "recorder", two.ToTag)

	oneWay(t, a, plain)
	oneWay(t, a, b)
	oneWay(t, b, secret)
	oneWay(t, b, a)
	silent(t, a, secret)
	silent(t, b, plain)
	tags := d.query("call").Tags
	require.Len(t, tags, 4)
	require.Equal(t, []ng.Subscription{{Tag: "b", Type: "pub/sub"}}, tags["recorder"].Subscriptions)

	d.do(ng.Request{Command: ng.CommandBlockMedia, CallID: "call", FromTag: "a", ToTag: one.ToTag})
	silent(t, a, plain)
	oneWay(t, a, b)
	connectPhones(d, a, b, func(r *ng.Request) { r.ToTag = "b" }) // a re-INVITE
	silent(t, a, plain)
	oneWay(t, b, secret)
	d.do(ng.Request{Command: ng.CommandUnblockMedia, CallID: "call", FromTag: "a", ToTag: one.ToTag})
	oneWay(t, a, plain)

	d.do(ng.Request{Command: ng.CommandUnsubscribe, CallID: "call", ToTag: one.ToTag})
	silent(t, a, plain)
	oneWay(t, b, secret)
	require.Len(t, d.query("call").Tags, 3)
	d.delete(&ng.Request{CallID: "call", FromTag: "a"})
	require.Empty(t, d.list(), "a recorder keeps no call")
}

func TestRecorderOfAllParties(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	connectPhones(d, a, b, func(r *ng.Request) { r.Label = "caller" })
	req := ng.Request{Command: ng.CommandSubscribeRequest, CallID: "call", Flags: ng.FlagsOf(ng.FlagAll, ng.FlagSIPREC)}
	reply := d.do(req).(*ng.SubscribeReply)
	require.Equal(t, []string{"a", "b"}, reply.FromTags)
	require.Equal(t, []ng.TagMedias{
		{Tag: "a", Label: "caller", Medias: []ng.LabelledMedia{{Index: 1, Type: "audio", Label: "1", Mode: "sendrecv"}}},
		{Tag: "b", Medias: []ng.LabelledMedia{{Index: 1, Type: "audio", Label: "0", Mode: "sendrecv"}}},
	}, reply.TagMedias)
	require.Equal(t, 2, strings.Count(reply.SDP, "m=audio "))
	require.Less(t, strings.Index(reply.SDP, "a=label:1"), strings.Index(reply.SDP, "a=label:0"))

	ofA, ofB := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	body := ofA.sdp(0) + strings.Join(strings.SplitAfter(ofB.sdp(0), "\r\n")[5:], "")
	d.do(ng.Request{Command: ng.CommandSubscribeAnswer, CallID: "call", ToTag: reply.ToTag, SDP: body})
	oneWay(t, a, ofA)
	oneWay(t, b, ofB)
	silent(t, a, ofB)
	silent(t, b, ofA)
	d.delete(&ng.Request{CallID: "call"})
}

func TestPublishedMedia(t *testing.T) {
	d := startDaemon(t, nil)
	source, one, two := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	source.direction = "sendonly"
	body := d.do(ng.Request{Command: ng.CommandPublish, CallID: "call", FromTag: "source", SDP: source.sdp(0)}).(*ng.SDPReply).SDP
	require.Contains(t, body, "a=recvonly\r\n")
	source.told(body + "a=x-unknown:kept as it is\r\n") // an answer of our own knows nothing of it
	d.subscribe(one, "source", func(r *ng.Request) { r.ToTag = "one" })
	d.subscribe(two, "source", func(r *ng.Request) { r.ToTag = "two" })
	oneWay(t, source, one)
	oneWay(t, source, two)
	d.delete(&ng.Request{CallID: "call", FromTag: "one"})
	silent(t, source, one)
	oneWay(t, source, two)
	d.delete(&ng.Request{CallID: "call", FromTag: "source"})
	require.Empty(t, d.list())
}

func TestConnectMeshAndInject(t *testing.T) {
	d := startDaemon(t, nil)
	tags := []string{"x", "y", "z"}
	var phones []*phone
	for _, tag := range tags {
		p := newPhone(t, "127.0.0.1")
		reply := d.do(ng.Request{Command: ng.CommandCreate, CallID: "call", FromTag: tag}).(*ng.CreateReply)
		require.Equal(t, tag, reply.FromTag)
		require.Contains(t, reply.SDP, "telephone-event/8000\r\n")
		p.told(reply.SDP + "a=x-unknown:kept as it is\r\n")
		d.do(ng.Request{Command: ng.CommandCreateAnswer, CallID: "call", FromTag: tag, SDP: p.sdp(0)})
		phones = append(phones, p)
	}
	x, y, z := phones[0], phones[1], phones[2]
	silent(t, x, y)
	d.do(ng.Request{Command: ng.CommandConnect, CallID: "call", FromTag: "x", ToTag: "y"})
	talk(t, x, y)
	silent(t, x, z)
	d.do(ng.Request{Command: ng.CommandInjectStart, CallID: "call", ToTag: "y", Participants: ng.Participants{SourceTag: "z"}})
	oneWay(t, z, y)
	oneWay(t, x, y)
	silent(t, y, z)
	d.do(ng.Request{Command: ng.CommandInjectStop, CallID: "call", ToTag: "y", Participants: ng.Participants{SourceTag: "z"}})
	silent(t, z, y)
	d.do(ng.Request{Command: ng.CommandMesh, CallID: "call", Participants: ng.Participants{Mesh: []ng.Mesh{
		{From: "x", To: []string{"y", "z"}}, {From: "y", To: []string{"x", "z"}}, {From: "z", To: []string{"x", "y"}},
	}}})
	for i, p := range phones {
		talk(t, p, phones[(i+1)%3])
	}
	reason(t, d.refused(ng.Request{Command: ng.CommandConnect, CallID: "call", FromTag: "w", ToTag: "y"}), ng.ReasonNoSuchTag)
	d.delete(&ng.Request{CallID: "call"})
}

// Parties of calls that other workers of the engine serve are tied: the calls are one from then on.
func TestConnectAcrossCalls(t *testing.T) {
	d := startDaemon(t, func(s *settings.Settings) { s.Engine.Workers = 4 })
	dial := func(call string, a, b *phone) {
		for tag, p := range map[string]*phone{call + "-a": a, call + "-b": b} {
			reply := d.do(ng.Request{Command: ng.CommandCreate, CallID: call, FromTag: tag}).(*ng.CreateReply)
			p.told(reply.SDP + "a=x-unknown:kept as it is\r\n")
			d.do(ng.Request{Command: ng.CommandCreateAnswer, CallID: call, FromTag: tag, SDP: p.sdp(0)})
		}
		d.do(ng.Request{Command: ng.CommandConnect, CallID: call, FromTag: call + "-a", ToTag: call + "-b"})
		talk(t, a, b)
	}
	const calls = 6 // some of them meet on a worker, others do not
	var as, bs []*phone
	for i := range calls {
		as, bs = append(as, newPhone(t, "127.0.0.1")), append(bs, newPhone(t, "127.0.0.1"))
		dial(strconv.Itoa(i), as[i], bs[i])
	}
	secured := newPhone(t, "127.0.0.1").withSDES("AES_CM_128_HMAC_SHA1_80")
	plain := newPhone(t, "127.0.0.1")
	connectPhones(d, plain, secured, func(r *ng.Request) { r.CallID = "secured" })
	talk(t, plain, secured)

	reason(t, d.refused(ng.Request{
		Command: ng.CommandConnect, CallID: "0", FromTag: "0-a", ToTag: "1-z", Participants: ng.Participants{ToCallID: "1"},
	}), ng.ReasonToTagNotFound)
	require.Len(t, d.query("0").Tags, 2, "nothing has changed")

	d.do(ng.Request{Command: ng.CommandConnect, CallID: "0", FromTag: "0-a", ToTag: "1-a", Participants: ng.Participants{ToCallID: "1"}})
	talk(t, as[0], as[1])
	silent(t, as[0], bs[0])
	require.Equal(t, d.query("0"), d.query("1"))
	require.Len(t, d.query("1").Tags, 4)

	d.do(ng.Request{
		Command: ng.CommandInjectStart, CallID: "1", ToTag: "1-a", Participants: ng.Participants{SourceCallID: "2", SourceTag: "2-b"},
	})
	oneWay(t, bs[2], as[1])
	talk(t, as[2], bs[2])

	d.do(ng.Request{Command: ng.CommandMesh, Participants: ng.Participants{Calls: []string{"3", "secured", "5"}, Mesh: []ng.Mesh{
		{From: "3-a", To: []string{"b", "5-b"}}, {From: "b", To: []string{"3-a"}},
	}}})
	talk(t, as[3], secured)
	oneWay(t, as[3], bs[5])
	talk(t, as[4], bs[4])
	require.Len(t, d.query("5").Tags, 6)

	d.delete(&ng.Request{CallID: "secured"})
	require.ErrorContains(t, d.refused(ng.Request{Command: ng.CommandQuery, CallID: "3"}), string(ng.ReasonUnknownCallID))
	for _, id := range []string{"2", "4"} {
		d.delete(&ng.Request{CallID: id})
	}
	require.Empty(t, d.list())
}

func TestMediaEchoAndDroppedTraffic(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	connectPhones(d, a, b, func(r *ng.Request) { r.MediaEcho = ng.EchoBackwards })
	oneWay(t, a, a)
	silent(t, a, b)
	silent(t, b, a)
	d.delete(&ng.Request{CallID: "call"})

	connectPhones(d, a, b, func(r *ng.Request) { r.DropTraffic = ng.SwitchOn })
	silent(t, a, b)
	connectPhones(d, a, b, func(r *ng.Request) { r.ToTag, r.DropTraffic = "b", ng.SwitchOff })
	talk(t, a, b)
	d.delete(&ng.Request{CallID: "call"})
}

// A phone that says it is somewhere else is talked about on another port, unless
// the port is latched.
func TestPortsOfAPhoneThatMoves(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	first, _ := connectPhones(d, a, b, nil)
	again, _ := connectPhones(d, a, b, func(r *ng.Request) { r.ToTag = "b" })
	require.Equal(t, line(first, "m="), line(again, "m="))
	a.move()
	latched, _ := connectPhones(d, a, b, func(r *ng.Request) { r.ToTag = "b"; r.Flags.Set(ng.FlagPortLatching) })
	require.Equal(t, line(first, "m="), line(latched, "m="))
	talk(t, a, b)
	a.move()
	moved, _ := connectPhones(d, a, b, func(r *ng.Request) { r.ToTag = "b" })
	require.NotEqual(t, line(first, "m="), line(moved, "m="))
	talk(t, a, b)
	reports(t, a, b)
	d.delete(&ng.Request{CallID: "call"})
}

// The templates named "default" and as the command stand before the request.
func TestTemplates(t *testing.T) {
	d := startDaemon(t, func(s *settings.Settings) {
		s.Control.Templates = map[string]string{
			"default": "label=anybody", "offer": "replace-origin", "answer": "label=callee replace-origin", "quiet": "drop-traffic=start",
		}
	})
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	toB, _ := connectPhones(d, a, b, nil)
	require.Contains(t, toB, "o=phone 1 1 IN IP4 127.0.0.1\r\n")
	talk(t, a, b)
	tags := d.query("call").Tags
	require.Equal(t, "anybody", tags["a"].Label)
	require.Equal(t, "callee", tags["b"].Label)
	d.delete(&ng.Request{CallID: "call"})
}

// Each fork is told about on ports of its own, and a phone that comes back finds
// its old ones.
func TestPortsForEachEndpoint(t *testing.T) {
	d := startDaemon(t, nil)
	a, b, c := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	same := d.offer(&ng.Request{CallID: "call", FromTag: "a", SDP: a.sdp(0), ICE: ng.ICERemove})
	b.told(same)
	c.told(same)
	answer := func(p *phone, tag string) string {
		body := d.answer(&ng.Request{CallID: "call", FromTag: "a", ToTag: tag, SDP: p.sdp(0)})
		a.told(body)
		return line(body, "m=")
	}
	first := answer(b, "b")
	talk(t, a, b)
	second := answer(c, "c")
	require.NotEqual(t, first, second)
	talk(t, a, c)
	require.Equal(t, first, answer(b, "b"))
	talk(t, a, b)
	reports(t, a, b)

	here := a.rtp
	again := d.offer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: a.sdp(0), ICE: ng.ICERemove})
	require.Equal(t, line(same, "m="), line(again, "m="))
	a.move()
	moved := func() string {
		body := d.offer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: a.sdp(0), ICE: ng.ICERemove})
		b.told(body)
		answer(b, "b")
		talk(t, a, b)
		return line(body, "m=")
	}
	require.NotEqual(t, line(same, "m="), moved())
	a.rtp = here
	require.Equal(t, line(same, "m="), moved())
	for range 2 * 16 { // spare ports are bounded
		a.move()
		moved()
	}
	d.delete(&ng.Request{CallID: "call"})
}

func TestUnsubscribedMirrorsLeaveNothing(t *testing.T) {
	d := startDaemon(t, nil)
	a, b, s := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	s.direction = "recvonly"
	connectPhones(d, a, b, nil)
	mirrored := func(r *ng.Request) { r.Flags.Set(ng.FlagMirrorRTCP); r.ToTag = "recorder" }
	d.subscribe(s, "a", mirrored)
	require.Len(t, d.query("call").Tags, 3)
	d.do(ng.Request{Command: ng.CommandUnsubscribe, CallID: "call", ToTag: "recorder"})
	require.Len(t, d.query("call").Tags, 2, "the mirror has gone with the copy, and the recorder with both")

	d.subscribe(s, "a", mirrored)
	d.delete(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b"})
	require.Empty(t, d.list(), "a recorder keeps no call, not even one that sends RTCP")
}

// TestAnotherSubscriptionGoesBesideTheFirst: measured with rtpengine 10.5, which
// lets a subscriber that asks again hear both.
func TestAnotherSubscriptionGoesBesideTheFirst(t *testing.T) {
	d := startDaemon(t, nil)
	a, b, s := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	s.direction = "recvonly"
	connectPhones(d, a, b, nil)
	as := func(r *ng.Request) { r.ToTag = "recorder" }
	d.subscribe(s, "a", as)
	oneWay(t, a, s)
	d.subscribe(s, "b", as)
	oneWay(t, b, s)
	oneWay(t, a, s)
	d.delete(&ng.Request{CallID: "call"})
}
