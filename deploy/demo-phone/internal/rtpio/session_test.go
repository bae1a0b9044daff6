package rtpio

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/tone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, config Config) *Session {
	t.Helper()
	config.Address = netip.MustParseAddr("127.0.0.1")
	if config.Source == nil {
		config.Source = tone.NewPlayer(0)
	}
	s, err := Open(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Zero(t, s.Port()%2, "RTP is on an even port")
	return s
}

func towards(port uint16, codec string) Remote {
	address := netip.MustParseAddr("127.0.0.1")
	audio := uint8(8)
	if codec == "PCMU" {
		audio = 0
	}
	return Remote{
		RTP: netip.AddrPortFrom(address, port), RTCP: netip.AddrPortFrom(address, port+1),
		Audio: audio, Codec: codec, Event: 101, HasEvent: true, Send: true,
		Receive: map[uint8]string{0: "PCMU", 8: "PCMA", 101: eventName},
	}
}

func TestTwoSessionsHearEachOther(t *testing.T) {
	recording := filepath.Join(t.TempDir(), "a.wav")
	sink, err := CreateWav(recording)
	require.NoError(t, err)
	digits := make(chan byte, 8)
	a := open(t, Config{Source: tone.NewPlayer(440), Sink: sink, OnDigit: func(d byte) { digits <- d }})
	b := open(t, Config{Source: tone.NewPlayer(1000)})
	a.SetRemote(towards(b.Port(), "PCMA"))
	b.SetRemote(towards(a.Port(), "PCMU"))
	require.Equal(t, 2, b.SendDigits("5x#"))
	for _, want := range "5#" {
		select {
		case got := <-digits:
			require.Equal(t, byte(want), got)
		case <-time.After(3 * time.Second):
			t.Fatalf("digit %c did not arrive", want)
		}
	}
	require.Eventually(t, func() bool {
		sa, sb := a.Stats(), b.Stats()
		return math.Abs(sa.Frequency-1000) < 2 && math.Abs(sb.Frequency-440) < 2 && sa.RTCP.Received > 0 && sb.RTCP.Received > 0
	}, 5*time.Second, 50*time.Millisecond)
	stats := a.Stats()
	require.Zero(t, stats.Lost+stats.Stray+stats.Broken+stats.Unknown+stats.Duplicates)
	require.Equal(t, "5#", stats.Digits)
	require.NoError(t, a.Close())
	wav, err := os.ReadFile(recording)
	require.NoError(t, err)
	require.Equal(t, "RIFF", string(wav[:4]))
	require.Equal(t, len(wav)-wavHeader, int(binary.LittleEndian.Uint32(wav[40:])))
	pcm := make([]int16, tone.Rate/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(wav[len(wav)-2*len(pcm)+2*i:]))
	}
	hz, _ := tone.Dominant(pcm)
	require.InDelta(t, 1000, hz, 3)
}

func TestEchoSendsEveryPacketBack(t *testing.T) {
	echo := open(t, Config{Echo: true})
	caller := open(t, Config{Source: tone.NewPlayer(600)})
	echo.SetRemote(towards(caller.Port(), "PCMA"))
	caller.SetRemote(towards(echo.Port(), "PCMA"))
	caller.SendDigits("7")
	require.Eventually(t, func() bool {
		stats := caller.Stats()
		return math.Abs(stats.Frequency-600) < 3 && stats.Digits == "7" && stats.Lost == 0
	}, 4*time.Second, 50*time.Millisecond)
}

// raw is a peer that sends what it is told to.
func raw(t *testing.T) (*net.UDPConn, func(to *Session, sequence uint16, timestamp uint32)) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn, func(to *Session, sequence uint16, timestamp uint32) {
		packet := make([]byte, 12+160)
		packet[0], packet[1] = 0x80, 8
		binary.BigEndian.PutUint16(packet[2:], sequence)
		binary.BigEndian.PutUint32(packet[4:], timestamp)
		_, err := conn.WriteToUDP(packet, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(to.Port())})
		require.NoError(t, err)
	}
}

func TestLossDuplicatesAndStrangersAreCounted(t *testing.T) {
	s := open(t, Config{})
	peer, send := raw(t)
	_, sendStray := raw(t)
	remote := towards(uint16(peer.LocalAddr().(*net.UDPAddr).Port), "PCMA")
	remote.Send = false
	s.SetRemote(remote)
	for _, sequence := range []uint16{65534, 65535, 2, 1, 2, 5} { // lost: 0, 3, 4
		send(s, sequence, uint32(sequence)*160)
	}
	sendStray(s, 6, 960)
	require.Eventually(t, func() bool { return s.Stats().Stray == 1 && s.Stats().Received == 5 }, 2*time.Second, 10*time.Millisecond)
	stats := s.Stats()
	require.EqualValues(t, 3, stats.Lost)
	require.EqualValues(t, 1, stats.Duplicates)
	require.Zero(t, stats.Sent, "the direction does not let it send")
}

func TestReportsAreValidRTCP(t *testing.T) {
	s := open(t, Config{Source: tone.NewPlayer(440)})
	peer, send := raw(t)
	remote := towards(uint16(peer.LocalAddr().(*net.UDPAddr).Port), "PCMA")
	remote.RTCP = remote.RTP // both to one socket, told apart by type
	s.SetRemote(remote)
	send(s, 10, 0)
	send(s, 12, 320)
	buffer := make([]byte, maxDatagram)
	require.NoError(t, peer.SetReadDeadline(time.Now().Add(3*time.Second)))
	for {
		n, err := peer.Read(buffer)
		require.NoError(t, err)
		if buffer[1] != senderReport {
			continue
		}
		packets, err := rtcp.Unmarshal(buffer[:n])
		require.NoError(t, err)
		require.NoError(t, rtcp.CompoundPacket(packets).Validate())
		sr := packets[0].(*rtcp.SenderReport)
		require.NotZero(t, sr.PacketCount)
		require.EqualValues(t, 1, sr.Reports[0].TotalLost)
		require.EqualValues(t, 12, sr.Reports[0].LastSequenceNumber)
		require.EqualValues(t, 85, sr.Reports[0].FractionLost)
		return
	}
}

func TestHoldStopsSending(t *testing.T) {
	a, b := open(t, Config{Source: tone.NewPlayer(440)}), open(t, Config{})
	b.SetRemote(towards(a.Port(), "PCMA"))
	for name, change := range map[string]func(*Remote){
		"direction": func(r *Remote) { r.Send = false },
		"old hold":  func(r *Remote) { r.RTP = netip.AddrPortFrom(netip.IPv4Unspecified(), r.RTP.Port()) },
	} {
		a.SetRemote(towards(b.Port(), "PCMA"))
		require.Eventually(t, func() bool { return b.Stats().Received > 0 }, 2*time.Second, 10*time.Millisecond, name)
		held := towards(b.Port(), "PCMA")
		change(&held)
		a.SetRemote(held)
		before := a.Stats().Sent
		time.Sleep(5 * frameTime)
		require.Equal(t, before, a.Stats().Sent, name)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x80\x08\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01payload"))
	f.Add([]byte("\xb1\x08\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01cccc\xbe\xde\x00\x01xxxxpad\x03"))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		if p, ok := parse(datagram); ok && len(p.payload) > len(datagram)-12 {
			t.Fatal("payload longer than the datagram")
		}
		var r receiver
		r.takeReports(datagram, 1, time.Now())
	})
}

func TestDigitsAreBounded(t *testing.T) {
	s := open(t, Config{})
	s.SetRemote(towards(9, "PCMA"))
	require.LessOrEqual(t, s.SendDigits(strings.Repeat("1", 4*maxDigits)), maxDigits)
}
