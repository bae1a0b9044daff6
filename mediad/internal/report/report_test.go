package report

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

var at = time.Unix(1795520271, 570468000)

func listen(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	return c
}

func addrOf(c net.PacketConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func read(t *testing.T, r io.Reader) string {
	t.Helper()
	buf := make([]byte, 65536)
	n, err := r.Read(buf)
	require.NoError(t, err)
	return string(buf[:n])
}

func start(t *testing.T, cfg Config) *Reporter {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	r, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// TestEvent compares with what rtpengine 10.5 sent for the same event.
func TestEvent(t *testing.T) {
	c := listen(t)
	var notified ng.Dict
	var line string
	r := start(t, Config{
		Events: addrOf(c), Notify: func(d ng.Dict) { notified = d }, Event: func(s string) { line = s },
	})
	r.Event(Event{
		CallID: "dkgdmuhwea", Tag: "ft", Tags: []string{"tt", "ft"}, Source: netip.MustParseAddr("127.0.0.1"), At: at,
		Code: 5, Volume: 10, Duration: 80 * time.Millisecond,
	})
	want := `{"callid":"dkgdmuhwea","source_tag":"ft","tags":["tt","ft"],"type":"DTMF","timestamp":1795520271,` +
		`"source_ip":"127.0.0.1","event":5,"duration":80,"volume":10}`
	require.Equal(t, want, read(t, c))
	require.NoError(t, r.Close())
	require.Equal(t, want, line)
	wire, err := notified.MarshalBencode()
	require.NoError(t, err)
	require.Equal(t, "d6:notify6:onDTMF4:datad4:tagsl2:tt2:fte6:callid10:dkgdmuhwea10:source_tag2:ft4:type4:DTMF9:source_ip9:127.0.0.1"+
		"9:timestampi1795520271e5:eventi5e8:durationi80e6:volumei10eee", string(wire))
}

// receiverReport was sent through rtpengine 10.5, which sent the HEP message below.
var receiverReport, _ = hex.DecodeString("81c900071ad8" + "01bc" + "c3256d51" + "0b000000" + "00006d68" + "00000bde" + "f58f471a" + "00000000")

func TestHomer(t *testing.T) {
	c := listen(t)
	r := start(t, Config{Homer: Homer{Address: addrOf(c), CaptureID: 77}})
	r.Control("xbaebjxeyj", receiverReport, netip.MustParseAddrPort("127.0.0.1:55173"), netip.MustParseAddrPort("127.0.0.1:24363"), at)
	got := read(t, c)
	body := `{ "ssrc":450363836,"type":201,"report_count":1,"report_blocks":[{"source_ssrc":3274009937,"highest_seq_no":28008,` +
		`"fraction_lost":11,"ia_jitter":3038,"packets_lost":0,"lsr":4119807770,"dlsr":0}] }`
	want := "HEP3" + string([]byte{0, byte(6 + 7 + 7 + 8 + 8 + 10 + 10 + 7 + 10 + 10 + 10 + 16 + 6 + len(body))}) +
		"\x00\x00\x00\x01\x00\x07\x02\x00\x00\x00\x02\x00\x07\x11\x00\x00\x00\x07\x00\x08\xd7\x85\x00\x00\x00\x08\x00\x08_+" +
		"\x00\x00\x00\t\x00\nk\x05w\x0f\x00\x00\x00\n\x00\n\x00\x08\xb4d\x00\x00\x00\x0b\x00\x07\x05\x00\x00\x00\x0c\x00\n\x00\x00\x00M" +
		"\x00\x00\x00\x03\x00\n\x7f\x00\x00\x01\x00\x00\x00\x04\x00\n\x7f\x00\x00\x01\x00\x00\x00\x11\x00\x10xbaebjxeyj" +
		"\x00\x00\x00\x0f\x00" + string([]byte{byte(6 + len(body))}) + body
	size := len(want)
	want = want[:4] + string([]byte{byte(size >> 8), byte(size)}) + want[6:]
	require.Equal(t, want, got)
}

func TestHomerOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	r := start(t, Config{Homer: Homer{Address: l.Addr().(*net.TCPAddr).AddrPort(), TCP: true, NG: true, NoRTCP: true, NGProtocol: 0x3d}})
	src, dst := netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:2")
	r.Control("x", receiverReport, src, dst, at) // not wanted
	r.Message("x", []byte("d7:command4:pinge"), src, dst, at)
	c, err := l.Accept()
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	got := read(t, c)
	require.Contains(t, got, "\x00\x00\x00\x0b\x00\x07\x3d")
	require.Contains(t, got, "\x00\x00\x00\x05\x00\x16"+string(src.Addr().AsSlice()))
	require.True(t, strings.HasSuffix(got, "d7:command4:pinge"))
}

// TestRTCPAsJSON holds objects that rtpengine 10.5 made of the same packets.
func TestRTCPAsJSON(t *testing.T) {
	const sr = "80c80006000000051122334455667788" + "0000004d" + "00000064" + "00003e80"
	const srJSON = `"sender_information":{"ntp_timestamp_sec":287454020,"ntp_timestamp_usec":1432778632,"octets":16000,` +
		`"rtp_timestamp":77, "packets":100},"ssrc":5,"type":200,"report_count":0,"report_blocks":[]`
	for _, c := range []struct{ packet, want string }{
		{"80c9000100000005", `{ "ssrc":5,"type":201,"report_count":0,"report_blocks":[] }`},
		{sr, "{ " + srJSON + " }"},
		{sr + sr, "{ " + srJSON + "," + srJSON + " }"},
		{sr + "81ca0002" + "00000005" + "01016300", "{ " + srJSON + `,"sdes_report_count":1,"sdes_information": [ ` +
			`{"sdes_chunk_ssrc":5,"type":1,"text":"c"}] }`},
		{"82ca0009" + "00000005" + "0107" + hex.EncodeToString([]byte(`cn"a\me`)) + "02034eff01" + "00" + "00" + "00000006" + "01017800" + "00000000" + "00000000" + "00000000",
			`{ "sdes_report_count":2,"sdes_information": [ {"sdes_chunk_ssrc":5,"type":1,"text":"cn\"a\\me"},` +
				`{"sdes_chunk_ssrc":5,"type":2,"text":"N__"},{"sdes_chunk_ssrc":6,"type":1,"text":"x"}] }`},
		{"81cb000100000005", ""},         // BYE
		{"81ce00020000000500000006", ""}, // PLI
		{"80c9000200000005", ""},         // longer than the datagram
		{"", ""},
	} {
		pkt, err := hex.DecodeString(c.packet)
		require.NoError(t, err)
		require.Equal(t, c.want, string(rtcpJSON(pkt)), c.packet)
	}
}

func TestRTCPLine(t *testing.T) {
	require.Equal(t, "version=2, padding=0, count=1, payloadtype=201, length=7, ssrc=450363836, ssrc=3274009937, fraction_lost=11, "+
		"packet_loss=0, last_seq=28008, jitter=3038, last_sr=4119807770, delay_since_last_sr=0", rtcpLine(receiverReport))
}

// TestRecord compares with the line that rtpengine 10.5 wrote, but for the relay's own addresses, which it has forgotten by then.
func TestRecord(t *testing.T) {
	lines := make(chan string, 1)
	r := start(t, Config{CDR: func(s string) { lines <- s }})
	begin, end := time.Unix(1795521719, 907452000), time.Unix(1795521722, 647349000)
	local, peer := netip.MustParseAddrPort("127.0.0.1:28300"), netip.MustParseAddrPort("127.0.0.1:57160")
	r.Record(&Record{
		CallID: "dt\njm", CreatedFrom: "127.0.0.1:55747", LastSignal: begin,
		Legs: []Leg{
			{Start: begin, End: end, Termination: "REGULAR", Tag: "ft", Peer: "tt", Role: "FROM_TAG", Medias: []Media{{
				Index: 1, PayloadType: 101, RTP: Stream{Endpoint: peer, Local: local, Packets: 11, Bytes: 956, Last: end},
			}}},
			{Start: begin, End: end, Termination: "REGULAR", Role: "UNKNOWN", Medias: []Media{{
				Index: 1, PayloadType: -1, RTCP: &Stream{Last: begin}, RTP: Stream{Last: begin},
			}}},
		},
	})
	const nothing = "ml1_midx1_%_endpoint_ip=, ml1_midx1_%_endpoint_port=0, ml1_midx1_%_local_relay_ip=0.0.0.0, ml1_midx1_%_local_relay_port=0, " +
		"ml1_midx1_%_relayed_packets=0, ml1_midx1_%_relayed_bytes=0, ml1_midx1_%_relayed_errors=0, ml1_midx1_%_last_packet=1795521719, " +
		"ml1_midx1_%_in_tos_tclass=0, "
	require.Equal(t, "ci=dt_jm, created_from=127.0.0.1:55747, last_signal=1795521719, tos=0, ml0_start_time=1795521719.907452, "+
		"ml0_end_time=1795521722.647349, ml0_duration=2.739897, ml0_termination=REGULAR, ml0_local_tag=ft, "+
		"ml0_local_tag_type=FROM_TAG, ml0_remote_tag=tt, payload_type=101, ml0_midx1_rtp_endpoint_ip=127.0.0.1, "+
		"ml0_midx1_rtp_endpoint_port=57160, ml0_midx1_rtp_local_relay_ip=127.0.0.1, ml0_midx1_rtp_local_relay_port=28300, "+
		"ml0_midx1_rtp_relayed_packets=11, ml0_midx1_rtp_relayed_bytes=956, ml0_midx1_rtp_relayed_errors=0, "+
		"ml0_midx1_rtp_last_packet=1795521722, ml0_midx1_rtp_in_tos_tclass=0, ml1_start_time=1795521719.907452, "+
		"ml1_end_time=1795521722.647349, ml1_duration=2.739897, ml1_termination=REGULAR, ml1_local_tag=(null), "+
		"ml1_local_tag_type=UNKNOWN, ml1_remote_tag=(null), payload_type=unknown, "+
		strings.ReplaceAll(nothing, "%", "rtp")+strings.ReplaceAll(nothing, "%", "rtcp"), <-lines)
}

// TestSlowReceiver: who hands over a report never waits.
func TestSlowReceiver(t *testing.T) {
	gate := make(chan struct{})
	r := start(t, Config{Event: func(string) { <-gate }, RTCP: func(string) {}})
	for range queueLength + 10 {
		r.Event(Event{})
		r.Control("x", receiverReport, netip.AddrPort{}, netip.AddrPort{}, at)
	}
	require.Greater(t, r.Lost(), uint64(queueLength))
	close(gate)
}

func TestNobodyWantsToKnow(t *testing.T) {
	var none *Reporter
	r := start(t, Config{})
	for _, r := range []*Reporter{none, r} {
		r.Event(Event{})
		r.Control("x", receiverReport, netip.AddrPort{}, netip.AddrPort{}, at)
		r.Message("x", nil, netip.AddrPort{}, netip.AddrPort{}, at)
		r.Record(&Record{})
		require.Zero(t, r.Lost())
		require.NoError(t, r.Close())
		require.False(t, r.Records())
	}
	require.Empty(t, r.queue)
}

// FuzzRTCP describes packets that lie about their lengths. Reports are valid JSON but for the repeated keys, which JSON allows.
func FuzzRTCP(f *testing.F) {
	f.Add(receiverReport)
	f.Add([]byte("\x82\xca\x00\x03\x00\x00\x00\x05\x01\xffab\x00\x00\x00\x06"))
	f.Add([]byte("\x9f\xc8\x00\x06\x00\x00\x00\x05"))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		_ = rtcpLine(pkt)
		if text := rtcpJSON(pkt); text != nil && !json.Valid(text) {
			t.Fatalf("%x: %s", pkt, text)
		}
	})
}
