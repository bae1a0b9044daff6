package app

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// gateway is a plain party that sends what it is told, byte by byte.
type gateway struct {
	t         *testing.T
	rtp, rtcp *net.UDPConn
	ssrc      uint32
	seq       uint16
	to        net.Addr // for RTP
	toRTCP    net.Addr
}

func newGateway(t *testing.T, ssrc uint32) *gateway {
	return &gateway{t: t, rtp: listenLocal(t), rtcp: listenLocal(t), ssrc: ssrc}
}

func listenLocal(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	return c
}

func portOf(c *net.UDPConn) int { return c.LocalAddr().(*net.UDPAddr).Port }

func (g *gateway) sdp() string {
	return "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio " + strconv.Itoa(portOf(g.rtp)) +
		" RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=rtcp:" + strconv.Itoa(portOf(g.rtcp)) + "\r\n"
}

func (g *gateway) told(sdp string) {
	g.t.Helper()
	fields := strings.Fields(line(sdp, "m=audio"))
	require.GreaterOrEqual(g.t, len(fields), 2, sdp)
	p, err := strconv.Atoi(fields[1])
	require.NoError(g.t, err)
	local := net.IPv4(127, 0, 0, 1)
	g.to, g.toRTCP = &net.UDPAddr{IP: local, Port: p}, &net.UDPAddr{IP: local, Port: p + 1}
}

func (g *gateway) send(payloadType byte, timestamp uint32, payload ...byte) {
	g.seq++
	b := []byte{0x80, payloadType, byte(g.seq >> 8), byte(g.seq)}
	b = binary.BigEndian.AppendUint32(b, timestamp)
	b = binary.BigEndian.AppendUint32(b, g.ssrc)
	_, err := g.rtp.WriteTo(append(b, payload...), g.to)
	require.NoError(g.t, err)
}

// report sends a sender report of the time ntp, and a receiver report about the
// other one that refers to its report of the same time.
func (g *gateway) senderReport(ntp uint32) {
	b := []byte{0x80, 200, 0, 6}
	for _, v := range []uint32{g.ssrc, ntp >> 16, ntp << 16, 0, 1, 160} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	_, err := g.rtcp.WriteTo(b, g.toRTCP)
	require.NoError(g.t, err)
}

func (g *gateway) receiverReport(about, ntp uint32) {
	b := []byte{0x81, 201, 0, 7}
	for _, v := range []uint32{g.ssrc, about, 26<<24 | 1, 1, 160, ntp, 1} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	_, err := g.rtcp.WriteTo(b, g.toRTCP)
	require.NoError(g.t, err)
}

// connectGateways sets up a call between two and lets both be heard.
func connectGateways(d *daemon, offer *ng.Request) (a, b *gateway) {
	a, b = newGateway(d.t, 11), newGateway(d.t, 22)
	offer.CallID, offer.FromTag, offer.SDP = "call", "a", a.sdp()
	b.told(d.offer(offer))
	a.told(d.answer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: b.sdp()}))
	a.send(8, 0, 1, 2, 3)
	b.send(8, 0, 1, 2, 3)
	for _, g := range []*gateway{a, b} {
		_, err := g.rtp.Read(make([]byte, 100))
		require.NoError(d.t, err)
	}
	return a, b
}

func TestQuality(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := connectGateways(d, &ng.Request{})
	for _, g := range []*gateway{a, b} {
		g.senderReport(0x12345678)
	}
	for _, g := range []*gateway{a, b} {
		_, err := g.rtcp.Read(make([]byte, 100))
		require.NoError(t, err)
	}
	a.receiverReport(b.ssrc, 0x12345678)
	_, err := b.rtcp.Read(make([]byte, 100))
	require.NoError(t, err)
	b.receiverReport(a.ssrc, 0x12345678)
	_, err = a.rtcp.Read(make([]byte, 100))
	require.NoError(t, err)
	state := d.query("call")
	require.Len(t, state.SSRC, 2)
	require.Nil(t, state.SSRC[a.ssrc].AverageMOS, "A's report had no round-trip time of B's side")
	q := state.SSRC[b.ssrc]
	require.NotNil(t, q.AverageMOS)
	require.Equal(t, uint64(1), q.Packets)
	require.NotZero(t, q.Bytes)
	require.Equal(t, int64(1), q.CumulativeLoss)
	require.Equal(t, int64(1), q.AverageMOS.Samples)
	require.Equal(t, int64(20), q.AverageMOS.Jitter)
	require.Equal(t, int64(10), q.AverageMOS.PacketLoss)
	require.Greater(t, q.AverageMOS.RoundTripTime, q.AverageMOS.RoundTripTimeLeg)
	require.InDelta(t, 34, q.AverageMOS.MOS, 4)
	require.Equal(t, "PCMA/8000", state.Tags["a"].Medias[0].Codec)
	require.Equal(t, uint64(1), d.app.calls.Numbers().Quality.MOS.Samples)
	d.delete(&ng.Request{CallID: "call"})
	require.Eventually(t, func() bool { return d.app.calls.Numbers().Quality.MOS.Samples == 1 }, 5*time.Second, time.Millisecond,
		"what has ended still counts")
}

func TestReportsOfOurOwn(t *testing.T) {
	d := startDaemon(t, func(s *settings.Settings) { s.Media.RTCPInterval = 100 * time.Millisecond })
	a, b := connectGateways(d, &ng.Request{GenerateRTCP: ng.SwitchOn})
	a.receiverReport(b.ssrc, 1) // goes no further
	stop := time.After(5 * time.Second)
	got := make(chan []byte, 10)
	go func() {
		buf := make([]byte, 200)
		n, err := b.rtcp.Read(buf)
		if err == nil {
			got <- buf[:n]
		}
	}()
	for i := uint32(1); ; i++ {
		select {
		case pkt := <-got:
			require.Equal(t, byte(200), pkt[1])
			require.Equal(t, a.ssrc, binary.BigEndian.Uint32(pkt[4:]))
			require.Equal(t, b.ssrc, binary.BigEndian.Uint32(pkt[28:]), "with a block about what B sends")
			d.delete(&ng.Request{CallID: "call"})
			return
		case <-stop:
			t.Fatal("no report")
		case <-time.After(20 * time.Millisecond):
			a.send(8, 160*i, 1, 2, 3)
		}
	}
}

func TestReportsGoOnInSilence(t *testing.T) {
	d := startDaemon(t, func(s *settings.Settings) { s.Media.RTCPInterval = 100 * time.Millisecond })
	a, b := connectGateways(d, &ng.Request{GenerateRTCP: ng.SwitchOn})
	buf := make([]byte, 200)
	for _, g := range []*gateway{a, b} { // nobody says anything more
		n, err := g.rtcp.Read(buf)
		require.NoError(t, err)
		require.Equal(t, byte(200), buf[1])
		require.Greater(t, n, 28)
	}
	d.delete(&ng.Request{CallID: "call"})
}

func TestEventsAndHomer(t *testing.T) {
	events, homer := listenLocal(t), listenLocal(t)
	d := startDaemon(t, func(s *settings.Settings) {
		s.Control.NGTCP = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		s.Export.DTMF, s.Export.DTMFOverNGTCP = events.LocalAddr().(*net.UDPAddr).AddrPort(), true
		s.Export.Homer, s.Export.HomerNG = homer.LocalAddr().(*net.UDPAddr).AddrPort(), true
	})
	client, err := net.Dial("tcp", d.app.NGTCP()[0].String())
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	require.NoError(t, client.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = client.Write([]byte("x d7:command4:pinge"))
	require.NoError(t, err)
	buf := make([]byte, 4096)
	_, err = client.Read(buf)
	require.NoError(t, err)

	a, b := connectGateways(d, &ng.Request{})
	for _, end := range []byte{0, 0x80, 0x80, 0x80} {
		a.send(101, 160, 5, end|10, 2, 128)
	}
	n, err := events.Read(buf)
	require.NoError(t, err)
	require.Regexp(t, `^\{"callid":"call","source_tag":"a","tags":\["b","a"\],"type":"DTMF","timestamp":\d+,"source_ip":"127.0.0.1",`+
		`"event":5,"duration":80,"volume":10\}$`, string(buf[:n]))
	n, err = client.Read(buf)
	require.NoError(t, err)
	require.Regexp(t, `^\w{16} d6:notify6:onDTMF4:datad4:tagsl1:b1:ae6:callid4:call.*5:eventi5e8:durationi80e6:volumei10eee$`, string(buf[:n]))

	a.senderReport(0x12345678)
	_, err = b.rtcp.Read(buf)
	require.NoError(t, err)
	var captured []string
	for range 5 { // offer, its reply, answer, its reply, report
		n, err = homer.Read(buf)
		require.NoError(t, err)
		captured = append(captured, string(buf[:n]))
	}
	require.Contains(t, captured[0], "\x00\x00\x00\x0b\x00\x07\x3d")
	require.Contains(t, captured[0], "\x00\x00\x00\x11\x00\x0acall")
	require.Contains(t, captured[0], "5:offer")
	require.Contains(t, captured[3], "6:result2:ok")
	require.Contains(t, captured[4], `"ssrc":11,"type":200`)
	d.delete(&ng.Request{CallID: "call"})
}
