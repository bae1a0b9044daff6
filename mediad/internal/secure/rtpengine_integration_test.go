//go:build integration

package secure

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// original is Debian's rtpengine, which has all suites of its own.
type original struct {
	conn   net.Conn
	cookie int
}

// startOriginal returns nil if rtpengine is not installed outside of CI.
func startOriginal(t *testing.T) *original {
	t.Helper()
	path, err := exec.LookPath("rtpengine")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("rtpengine is not installed")
		}
		t.Log("rtpengine is not installed: nothing compared")
		return nil
	}
	probe, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	listen := probe.LocalAddr().String()
	require.NoError(t, probe.Close())
	cmd := exec.Command(path, "--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=3",
		"--interface=127.0.0.1", "--listen-ng="+listen, "--port-min=50000", "--port-max=52000")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	conn, err := net.Dial("udp", listen)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	o := &original{conn: conn}
	require.Eventually(t, func() bool {
		reply, err := o.command(map[string]any{"command": "ping"})
		return err == nil && reply["result"] == "pong"
	}, 10*time.Second, 50*time.Millisecond, "rtpengine does not answer ping")
	return o
}

func (o *original) command(object map[string]any) (map[string]any, error) {
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	o.cookie++
	cookie := fmt.Sprintf("secure%d ", o.cookie)
	if _, err := o.conn.Write(append([]byte(cookie), body...)); err != nil {
		return nil, err
	}
	buffer := make([]byte, 65536)
	_ = o.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	n, err := o.conn.Read(buffer)
	if err != nil {
		return nil, err
	}
	reply := map[string]any{}
	return reply, json.Unmarshal([]byte(strings.TrimPrefix(string(buffer[:n]), cookie)), &reply)
}

// phone is a pair of sockets of a party.
type phone struct {
	rtp, rtcp     *net.UDPConn
	toRTP, toRTCP *net.UDPAddr
}

func newPhone(t *testing.T) *phone {
	t.Helper()
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	return &phone{rtp: listen(), rtcp: listen()}
}

func (p *phone) body(profile, attributes string) string {
	port := func(c *net.UDPConn) int { return c.LocalAddr().(*net.UDPAddr).Port }
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d %s 8\r\na=rtcp:%d\r\n%s",
		port(p.rtp), profile, port(p.rtcp), attributes)
}

var mediaPort, rtcpPort = regexp.MustCompile(`m=audio (\d+)`), regexp.MustCompile(`a=rtcp:(\d+)`)

// learn takes the ports that the daemon has told the party.
func (p *phone) learn(t *testing.T, body string) {
	t.Helper()
	port := func(r *regexp.Regexp) *net.UDPAddr {
		m := r.FindStringSubmatch(body)
		require.NotNil(t, m, body)
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: n}
	}
	p.toRTP, p.toRTCP = port(mediaPort), port(rtcpPort)
}

func exchange(t *testing.T, from *net.UDPConn, to *net.UDPAddr, at *net.UDPConn, pkt []byte) []byte {
	t.Helper()
	_, err := from.WriteToUDP(pkt, to)
	require.NoError(t, err)
	buffer := make([]byte, 2000)
	require.NoError(t, at.SetReadDeadline(time.Now().Add(3*time.Second)))
	n, _, err := at.ReadFromUDP(buffer)
	require.NoError(t, err)
	return buffer[:n]
}

// TestInteroperation: a plain party talks through rtpengine to one that is secured by us, with each suite and each session parameter,
// in both directions, RTP over a rollover and RTCP.
func TestInteroperation(t *testing.T) {
	o := startOriginal(t)
	if o == nil {
		return
	}
	for _, suite := range Suites() {
		if suite.facts().cipher == cipherNull {
			continue // rtpengine 10.5 dies of the first packet
		}
		for _, parameters := range []string{"", "UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "MKI"} {
			if parameters != "" && parameters != "MKI" && suite.facts().cipher == cipherGCM {
				continue // AEAD has encryption and tag in one; rtpengine does not know what to do with these
			}
			t.Run(suite.String()+" "+parameters, func(t *testing.T) { interoperate(t, o, suite, parameters) })
		}
	}
}

func interoperate(t *testing.T, o *original, suite Suite, parameters string) {
	plain, secured := newPhone(t), newPhone(t)
	call := "interoperation-" + suite.String() + parameters
	offer, err := o.command(map[string]any{"command": "offer", "call-id": call, "from-tag": "a",
		"transport-protocol": "RTP/SAVP", "DTLS": "off", "sdp": plain.body("RTP/AVP", "")})
	require.NoError(t, err)
	require.Equal(t, "ok", offer["result"])
	defer func() { _, _ = o.command(map[string]any{"command": "delete", "call-id": call, "from-tag": "a"}) }()
	body := offer["sdp"].(string)
	secured.learn(t, body)
	line := regexp.MustCompile(`a=crypto:(\d+) ` + suite.String() + ` (inline:\S+)`).FindStringSubmatch(body)
	require.NotNil(t, line, "rtpengine offers each suite")
	theirs, err := ParseInline(suite, line[2])
	require.NoError(t, err)
	own, err := NewKey(suite)
	require.NoError(t, err)
	if parameters == "MKI" {
		own.MKI, parameters = []byte{0, 0, 1, 2}, ""
	}
	// Parameters hold for the one who names them: rtpengine keeps to its own line.
	own.UnencryptedSRTP = parameters == "UNENCRYPTED_SRTP"
	own.UnencryptedSRTCP = parameters == "UNENCRYPTED_SRTCP"
	own.UnauthenticatedSRTP = parameters == "UNAUTHENTICATED_SRTP"
	answer, err := o.command(map[string]any{"command": "answer", "call-id": call, "from-tag": "a", "to-tag": "b",
		"sdp": secured.body("RTP/SAVP", "a=crypto:"+line[1]+" "+suite.String()+" "+own.Inline(false)+" "+parameters+"\r\n")})
	require.NoError(t, err)
	require.Equal(t, "ok", answer["result"])
	plain.learn(t, answer["sdp"].(string))
	in, err := NewInbound(theirs)
	require.NoError(t, err)
	out, err := NewOutbound(own)
	require.NoError(t, err)

	for _, seq := range []uint16{65534, 65535, 0, 1} {
		protected, err := out.ProtectRTP(nil, packet(t, 7, seq))
		require.NoError(t, err)
		got := exchange(t, secured.rtp, secured.toRTP, plain.rtp, protected)
		require.Equal(t, packet(t, 7, seq), got, "from us, sequence %d", seq)

		got = exchange(t, plain.rtp, plain.toRTP, secured.rtp, packet(t, 9, seq))
		got, err = in.UnprotectRTP(nil, got)
		require.NoError(t, err, "to us, sequence %d", seq)
		require.Equal(t, packet(t, 9, seq), got)
	}
	for range 2 {
		protected, err := out.ProtectRTCP(nil, report(t, 7))
		require.NoError(t, err)
		require.Equal(t, report(t, 7), exchange(t, secured.rtcp, secured.toRTCP, plain.rtcp, protected), "RTCP from us")
		got := exchange(t, plain.rtcp, plain.toRTCP, secured.rtcp, report(t, 9))
		got, err = in.UnprotectRTCP(nil, got)
		require.NoError(t, err, "RTCP to us")
		require.Equal(t, report(t, 9), got)
	}
}
