package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func (d *daemon) tryOffer(req ng.Request) error {
	req.Command = ng.CommandOffer
	_, err := d.client.Offer(context.Background(), &req)
	return err
}

func (d *daemon) tryAnswer(req ng.Request) error {
	req.Command = ng.CommandAnswer
	_, err := d.client.Answer(context.Background(), &req)
	return err
}

func TestReasons(t *testing.T) {
	d := startDaemon(t, nil)
	a := newPhone(t, "127.0.0.1")
	body := a.sdp(0)
	for _, c := range []struct {
		err  error
		want ng.Reason
	}{
		{d.tryOffer(ng.Request{FromTag: "a", SDP: body}), ng.ReasonNoCallID},
		{d.tryOffer(ng.Request{CallID: "x", SDP: body}), ng.ReasonNoFromTag},
		{d.tryOffer(ng.Request{CallID: "x", FromTag: "a"}), ng.ReasonNoSDP},
		{d.tryOffer(ng.Request{CallID: "x", FromTag: "a", SDP: "nonsense"}), ng.ReasonSDPParse},
		{d.tryAnswer(ng.Request{CallID: "x", FromTag: "a", SDP: body}), ng.ReasonNoToTag},
		{d.tryAnswer(ng.Request{CallID: "x", FromTag: "a", ToTag: "b", SDP: body}), ng.ReasonUnknownCallID},
	} {
		reason(t, c.err, c.want)
	}
	require.Empty(t, d.list(), "a failed first offer leaves a call")
	_, err := d.client.Query(context.Background(), &ng.Request{Command: ng.CommandQuery, CallID: "x"})
	reason(t, err, ng.ReasonUnknownCallID)
	_, err = d.client.Delete(context.Background(), &ng.Request{Command: ng.CommandDelete, CallID: "x", Flags: ng.FlagsOf(ng.FlagFatal)})
	reason(t, err, ng.ReasonNoMatchingTags)

	d.offer(&ng.Request{CallID: "x", FromTag: "a", SDP: body})
	reason(t, d.tryAnswer(ng.Request{CallID: "x", FromTag: "a", ToTag: "a", SDP: body}), ng.ReasonInvalidAssociation)
	reason(t, d.tryAnswer(ng.Request{CallID: "x", FromTag: "a", ToTag: "b", SDP: "nonsense"}), ng.ReasonSDPParse)
	d.delete(&ng.Request{CallID: "x"})
}

func TestOutOfPortsLeavesOtherCallsAlone(t *testing.T) {
	d := startDaemon(t, func(s *settings.Settings) {
		low, _, err := freeRange(testPorts, s.Network.Interfaces)
		require.NoError(t, err)
		s.Network.PortMin, s.Network.PortMax = low, low+5 // three pairs
	})
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	connectPhones(d, a, b, nil)
	talk(t, a, b)
	reason(t, d.tryOffer(ng.Request{CallID: "second", FromTag: "a", SDP: a.sdp(0)}), ng.ReasonOutOfPorts)
	require.Equal(t, []string{"call"}, d.list())
	// A re-offer with one media more fails too and changes nothing.
	more := a.sdp(0) + "m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"
	reason(t, d.tryOffer(ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: more}), ng.ReasonOutOfPorts)
	talk(t, a, b)
	reports(t, a, b)
	require.Len(t, d.query("call").Tags["a"].Medias, 1)
	d.delete(&ng.Request{CallID: "call"})
}

func TestSessionLimit(t *testing.T) {
	d := startDaemon(t, func(s *settings.Settings) { s.Limits.MaxSessions = 1 })
	a := newPhone(t, "127.0.0.1")
	d.offer(&ng.Request{CallID: "one", FromTag: "a", SDP: a.sdp(0)})
	reason(t, d.tryOffer(ng.Request{CallID: "two", FromTag: "a", SDP: a.sdp(0)}), ng.ReasonSessionLimit)
	reason(t, d.tryOffer(ng.Request{CallID: "two", FromTag: "a", SDP: a.sdp(0), Supports: []string{ng.SupportsLoadLimit}}), ng.ReasonSessionLimit)
	d.offer(&ng.Request{CallID: "one", FromTag: "a", SDP: a.sdp(0)}) // known calls go on
	d.delete(&ng.Request{CallID: "one"})
	d.offer(&ng.Request{CallID: "two", FromTag: "a", SDP: a.sdp(0)})
	d.delete(&ng.Request{CallID: "two"})
}

func TestTimers(t *testing.T) {
	const short = time.Second
	gone := func(d *daemon) {
		d.t.Helper()
		eventually(d.t, 5*time.Second, "the call ends", func() bool { return len(d.list()) == 0 })
	}
	t.Run("offer", func(t *testing.T) {
		t.Parallel()
		d := startDaemon(t, func(s *settings.Settings) { s.Limits.Timeout, s.Limits.OfferTimeout = short, short })
		d.offer(&ng.Request{CallID: "call", FromTag: "a", SDP: newPhone(t, "127.0.0.1").sdp(0)})
		gone(d)
	})
	t.Run("no media", func(t *testing.T) {
		t.Parallel()
		d := startDaemon(t, func(s *settings.Settings) { s.Limits.Timeout = 2 * short })
		a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
		connectPhones(d, a, b, nil)
		for range 15 { // longer than the timeout
			oneWay(t, a, b)
			time.Sleep(200 * time.Millisecond)
		}
		require.NotEmpty(t, d.list())
		gone(d)
	})
	t.Run("hold is patient", func(t *testing.T) {
		t.Parallel()
		d := startDaemon(t, func(s *settings.Settings) { s.Limits.Timeout, s.Limits.SilentTimeout = short, 4*short })
		a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
		a.direction, b.direction = "inactive", "inactive"
		connectPhones(d, a, b, nil)
		time.Sleep(2500 * time.Millisecond)
		require.NotEmpty(t, d.list())
		gone(d)
	})
	t.Run("final", func(t *testing.T) {
		t.Parallel()
		d := startDaemon(t, func(s *settings.Settings) { s.Limits.FinalTimeout = short })
		a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
		connectPhones(d, a, b, nil)
		gone(d)
	})
	t.Run("delete delay", func(t *testing.T) {
		t.Parallel()
		d := startDaemon(t, func(s *settings.Settings) { s.Limits.DeleteDelay = 2 * short })
		a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
		connectPhones(d, a, b, nil)
		d.delete(&ng.Request{CallID: "call"})
		talk(t, a, b)                 // late packets are still relayed
		connectPhones(d, a, b, nil)   // an offer revives the call
		time.Sleep(3 * time.Second)   // longer than the delay
		require.NotEmpty(t, d.list()) // so it is still there
		talk(t, a, b)
		d.delete(&ng.Request{CallID: "call"})
		require.NotEmpty(t, d.list())
		gone(d)
		now := 0
		connectPhones(d, a, b, nil)
		d.delete(&ng.Request{CallID: "call", DeleteDelay: &now})
	})
}

func TestForkedCall(t *testing.T) {
	d := startDaemon(t, nil)
	a, b1, b2 := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	offer := func(branch string) string {
		return d.offer(&ng.Request{CallID: "call", FromTag: "a", ViaBranch: branch, SDP: a.sdp(0), ICE: ng.ICERemove})
	}
	first, second := offer("br1"), offer("br2")
	require.NotEqual(t, line(first, "m="), line(second, "m="), "branches share a port")
	require.Equal(t, line(first, "m="), line(offer("br1"), "m="), "a repeated branch gets new ports")
	b1.told(first)
	b2.told(second)
	oneWay(t, b1, a) // early media of both
	oneWay(t, b2, a)

	a.told(d.answer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b2", ViaBranch: "br2", SDP: b2.sdp(0), SIPCode: 200}))
	talk(t, a, b2)
	silent(t, b1, a) // it has lost
	d.delete(&ng.Request{CallID: "call", FromTag: "a", ViaBranch: "br1"})
	state := d.query("call")
	require.Len(t, state.Tags, 2)
	require.Equal(t, "br2", state.Tags["b2"].ViaBranch)
	talk(t, a, b2)
	d.delete(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b2", Flags: ng.FlagsOf(ng.FlagToTag)})
	require.Empty(t, d.list())
}

// A fork without branches: all callees got the same offer, the latest to answer
// has the line.
func TestFurtherTagsOfAnAnswerer(t *testing.T) {
	d := startDaemon(t, nil)
	a, b, c := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	same := d.offer(&ng.Request{CallID: "call", FromTag: "a", SDP: a.sdp(0), ICE: ng.ICERemove})
	b.told(same)
	c.told(same)
	answer := func(p *phone, tag string, code int) {
		a.told(d.answer(&ng.Request{CallID: "call", FromTag: "a", ToTag: tag, SDP: p.sdp(0), SIPCode: code}))
	}
	answer(b, "b", 183)
	talk(t, a, b)
	answer(c, "c", 183)
	talk(t, a, c)
	require.Len(t, d.query("call").Tags, 3)
	answer(b, "b", 200)
	talk(t, a, b)
	require.Equal(t, "b", d.query("call").Tags["a"].Subscriptions[0].Tag)
	d.delete(&ng.Request{CallID: "call", FromTag: "a"})
	require.Empty(t, d.list())
}

func TestVideoAndRefusedMediaKeepTheirPlaces(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	extra := "m=video 0 RTP/AVP 96\r\nm=image 9000 udptl t38\r\na=T38FaxVersion:0\r\nm=video 9002 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n"
	toB := d.offer(&ng.Request{CallID: "call", FromTag: "a", SDP: a.sdp(0) + extra, ICE: ng.ICERemove})
	b.told(toB)
	var kinds, ports []string
	for l := range strings.Lines(toB) {
		if f := strings.Fields(l); strings.HasPrefix(l, "m=") {
			kinds, ports = append(kinds, f[0]), append(ports, f[1])
		}
	}
	require.Equal(t, []string{"m=audio", "m=video", "m=image", "m=video"}, kinds)
	require.Equal(t, "0", ports[1])
	require.NotEqual(t, "9000", ports[2])
	require.NotEqual(t, "9002", ports[3])
	require.Contains(t, toB, "a=T38FaxVersion:0\r\n")
	refused := "m=video 0 RTP/AVP 96\r\nm=image 0 udptl t38\r\nm=video 0 RTP/AVP 97\r\n"
	toA := d.answer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: b.sdp(0) + refused, ICE: ng.ICERemove})
	require.Equal(t, 3, strings.Count(toA, " 0 RTP/AVP ")+strings.Count(toA, " 0 udptl "), toA)
	a.told(toA)
	talk(t, a, b)
	d.delete(&ng.Request{CallID: "call"})
}

// TestManyCallsAtOnce makes and ends calls from many clients at a time.
func TestManyCallsAtOnce(t *testing.T) {
	d := startDaemon(t, nil)
	body := newPhone(t, "127.0.0.1").sdp(0)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 20 {
				id := fmt.Sprintf("call %d.%d", worker, i%3)
				if err := d.tryOffer(ng.Request{CallID: id, FromTag: "a", SDP: body}); err != nil {
					t.Error(err)
				}
				if err := d.tryAnswer(ng.Request{CallID: id, FromTag: "a", ToTag: "b", SDP: body}); err != nil {
					t.Error(err)
				}
				if _, err := d.client.Delete(context.Background(), &ng.Request{Command: ng.CommandDelete, CallID: id}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestStatistics(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	connectPhones(d, a, b, nil)
	talk(t, a, b)
	tree := func(section, key string) any {
		all, err := d.client.Statistics(context.Background())
		require.NoError(t, err)
		for _, s := range all {
			return s.Get(section).(ng.Dict).Get(key)
		}
		return nil
	}
	require.EqualValues(t, 1, tree("currentstatistics", "sessionsown"))
	live := tree("totalstatistics", "relayedpackets")
	require.Positive(t, live)
	d.delete(&ng.Request{CallID: "call"})
	require.EqualValues(t, 0, tree("currentstatistics", "sessionsown"))
	require.EqualValues(t, live, tree("totalstatistics", "relayedpackets"), "packets of ended calls are lost")
	require.EqualValues(t, 1, tree("totalstatistics", "managedsessions"))
	require.EqualValues(t, 1, tree("totalstatistics", "regularterminatedsessions"))
	require.EqualValues(t, 1, tree("controlstatistics", "totaloffercount"))
}

func TestMediaThatIsNotRTP(t *testing.T) {
	d := startDaemon(t, nil)
	socket := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	a, b := socket(), socket()
	fax := func(c *net.UDPConn) string {
		return "v=0\r\no=fax 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" +
			fmt.Sprintf("m=image %d udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n", port(c))
	}
	to := func(body string) netip.AddrPort {
		n, err := strconv.Atoi(strings.Fields(line(body, "m=image"))[1])
		require.NoError(t, err)
		return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(n))
	}
	toB := d.offer(plain(ng.Request{CallID: "call", FromTag: "a", SDP: fax(a)}))
	require.Contains(t, toB, "udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n")
	toA := d.answer(plain(ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: fax(b)}))
	for _, way := range []struct {
		from, to *net.UDPConn
		at       netip.AddrPort
	}{{a, b, to(toA)}, {b, a, to(toB)}} {
		_, err := way.from.WriteToUDPAddrPort([]byte{0, 1, 2, 3}, way.at)
		require.NoError(t, err)
		buf := make([]byte, 100)
		require.NoError(t, way.to.SetReadDeadline(time.Now().Add(3*time.Second)))
		n, err := way.to.Read(buf)
		require.NoError(t, err)
		require.Equal(t, []byte{0, 1, 2, 3}, buf[:n])
	}
	d.delete(&ng.Request{CallID: "call"})
}
