package app

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/srtp/v3"
	"github.com/stretchr/testify/require"
)

// party is a peer that sends and hears media.
type party interface {
	sendRTP(payload string)
	heard() <-chan string // payloads
}

// phone is a SIP phone's media: RTP and RTCP on two ports, or one with
// rtcp-mux; with SDES if it has a suite.
type phone struct {
	t         *testing.T
	addr      netip.Addr
	rtp, rtcp *net.UDPConn
	mux       bool
	direction string
	connect   string // c= address in place of addr
	ssrc      uint32
	seq       uint16

	toRTP, toRTCP netip.AddrPort // what it was told

	suite   string
	key     []byte
	theirs  []byte // key that in was made of
	in, out *srtp.Context

	payloads chan string
	reports  chan string

	datagrams atomic.Int64 // that arrived, whatever they were
}

func newPhone(t *testing.T, addr string) *phone {
	t.Helper()
	p := &phone{t: t, addr: netip.MustParseAddr(addr), payloads: make(chan string, 1000), reports: make(chan string, 1000)}
	var id [4]byte
	_, _ = rand.Read(id[:])
	p.ssrc = binary.BigEndian.Uint32(id[:])
	p.rtp, p.rtcp = p.listen(), p.listen()
	go p.hear(p.rtp)
	go p.hear(p.rtcp)
	return p
}

func (p *phone) listen() *net.UDPConn {
	p.t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.addr, 0)))
	require.NoError(p.t, err)
	p.t.Cleanup(func() { conn.Close() })
	return conn
}

// withSDES makes it a phone that speaks SRTP with a key of its own.
func (p *phone) withSDES(suite string) *phone {
	p.t.Helper()
	p.suite = suite
	keyLen, saltLen := p.lengths()
	p.key = make([]byte, keyLen+saltLen)
	_, _ = rand.Read(p.key)
	p.out = p.context(p.key)
	return p
}

func (p *phone) lengths() (key, salt int) {
	switch p.suite {
	case "AEAD_AES_256_GCM":
		return 32, 12
	case "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32":
		return 16, 14
	}
	p.t.Fatalf("phone does not know %s", p.suite)
	return 0, 0
}

func (p *phone) context(key []byte) *srtp.Context {
	p.t.Helper()
	profile := map[string]srtp.ProtectionProfile{
		"AEAD_AES_256_GCM":        srtp.ProtectionProfileAeadAes256Gcm,
		"AES_CM_128_HMAC_SHA1_80": srtp.ProtectionProfileAes128CmHmacSha1_80,
		"AES_CM_128_HMAC_SHA1_32": srtp.ProtectionProfileAes128CmHmacSha1_32,
	}[p.suite]
	n, _ := p.lengths()
	c, err := srtp.CreateContext(key[:n], key[n:], profile)
	require.NoError(p.t, err)
	return c
}

func port(c *net.UDPConn) int { return c.LocalAddr().(*net.UDPAddr).Port }

// sdp is the phone's description. tag numbers its crypto line.
func (p *phone) sdp(tag int) string {
	family, connect := "IP4", p.addr.String()
	if p.addr.Is6() {
		family = "IP6"
	}
	if p.connect != "" {
		connect = p.connect
	}
	proto := "RTP/AVP"
	if p.suite != "" {
		proto = "RTP/SAVP"
	}
	lines := []string{
		"v=0", fmt.Sprintf("o=phone 1 1 IN %s %s", family, p.addr), "s=call", fmt.Sprintf("c=IN %s %s", family, connect), "t=0 0",
		fmt.Sprintf("m=audio %d %s 0 101", port(p.rtp), proto), "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000",
		"a=x-unknown:kept as it is",
	}
	if p.mux {
		lines = append(lines, "a=rtcp-mux")
	} else {
		lines = append(lines, fmt.Sprintf("a=rtcp:%d", port(p.rtcp)))
	}
	if p.suite != "" {
		lines = append(lines, fmt.Sprintf("a=crypto:%d %s inline:%s", tag, p.suite, base64.RawStdEncoding.EncodeToString(p.key)))
	}
	if p.direction != "" {
		lines = append(lines, "a="+p.direction)
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// told takes over what a description says about where and how to send. It
// returns the tag of the crypto line that it has chosen.
func (p *phone) told(sdp string) (cryptoTag int) {
	p.t.Helper()
	require.Contains(p.t, sdp, "a=x-unknown:kept as it is\r\n")
	fields := strings.Fields(line(sdp, "m=audio"))
	require.GreaterOrEqual(p.t, len(fields), 3, sdp)
	number, err := strconv.Atoi(fields[1])
	require.NoError(p.t, err)
	addr, err := netip.ParseAddr(strings.Fields(line(sdp, "c="))[2])
	require.NoError(p.t, err)
	p.toRTP = netip.AddrPortFrom(addr, uint16(number))
	p.toRTCP = netip.AddrPortFrom(addr, uint16(number+1))
	if attribute := line(sdp, "a=rtcp:"); attribute != "" {
		n, err := strconv.Atoi(strings.Fields(strings.TrimPrefix(attribute, "a=rtcp:"))[0])
		require.NoError(p.t, err)
		p.toRTCP = netip.AddrPortFrom(addr, uint16(n))
	}
	if p.mux {
		require.Contains(p.t, sdp, "a=rtcp-mux")
		p.toRTCP = p.toRTP
	}
	if p.suite == "" {
		require.Equal(p.t, "RTP/AVP", fields[2])
		require.NotContains(p.t, sdp, "a=crypto")
		require.NotContains(p.t, sdp, "a=fingerprint")
		require.NotContains(p.t, sdp, "a=candidate")
		require.NotContains(p.t, sdp, "a=ice-")
		return 0
	}
	require.Equal(p.t, "RTP/SAVP", fields[2])
	for l := range strings.Lines(sdp) {
		f := strings.Fields(strings.TrimPrefix(l, "a=crypto:"))
		if !strings.HasPrefix(l, "a=crypto:") || f[1] != p.suite {
			continue
		}
		key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.Split(strings.TrimPrefix(f[2], "inline:"), "|")[0], "="))
		require.NoError(p.t, err)
		if !bytes.Equal(key, p.theirs) { // else the rollover counters go on
			p.in, p.theirs = p.context(key), key
		}
		n, err := strconv.Atoi(f[0])
		require.NoError(p.t, err)
		return n
	}
	p.t.Fatalf("no crypto line with %s in:\n%s", p.suite, sdp)
	return 0
}

// line returns the first line with the prefix.
func line(sdp, prefix string) string {
	for l := range strings.Lines(sdp) {
		if strings.HasPrefix(l, prefix) {
			return strings.TrimRight(l, "\r\n")
		}
	}
	return ""
}

func (p *phone) heard() <-chan string { return p.payloads }

func (p *phone) sendRTP(payload string) {
	p.t.Helper()
	p.seq++
	pkt := append([]byte{0x80, 0, byte(p.seq >> 8), byte(p.seq)}, make([]byte, 8)...)
	binary.BigEndian.PutUint32(pkt[4:], uint32(p.seq)*160)
	binary.BigEndian.PutUint32(pkt[8:], p.ssrc)
	pkt = append(pkt, payload...)
	if p.out != nil {
		var err error
		pkt, err = p.out.EncryptRTP(nil, pkt, nil)
		require.NoError(p.t, err)
	}
	_, err := p.rtp.WriteToUDPAddrPort(pkt, p.toRTP)
	require.NoError(p.t, err)
}

// sendReport sends an RTCP BYE with a reason, which is easy to tell.
func (p *phone) sendReport(text string) {
	p.t.Helper()
	for len(text)%4 != 3 {
		text += " "
	}
	pkt := []byte{0x81, 203, 0, byte(2 + len(text)/4), 0, 0, 0, 0, byte(len(text))}
	binary.BigEndian.PutUint32(pkt[4:], p.ssrc)
	pkt = append(pkt, text...)
	if p.out != nil {
		var err error
		pkt, err = p.out.EncryptRTCP(nil, pkt, nil)
		require.NoError(p.t, err)
	}
	from := p.rtcp
	if p.mux {
		from = p.rtp
	}
	_, err := from.WriteToUDPAddrPort(pkt, p.toRTCP)
	require.NoError(p.t, err)
}

// hear sorts what comes in. Packets that do not authenticate count as not
// heard.
func (p *phone) hear(conn *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		p.datagrams.Add(1)
		pkt := append([]byte(nil), buf[:n]...)
		control := len(pkt) > 1 && pkt[1] >= 192 && pkt[1] <= 223
		if control != (conn == p.rtcp) && !p.mux {
			continue // on the wrong port
		}
		if p.suite != "" {
			if p.in == nil {
				continue
			}
			if control {
				pkt, err = p.in.DecryptRTCP(nil, pkt, nil)
			} else {
				pkt, err = p.in.DecryptRTP(nil, pkt, nil)
			}
			if err != nil {
				continue
			}
		}
		switch {
		case control && len(pkt) > 9:
			p.reports <- strings.TrimRight(string(pkt[9:]), " ")
		case !control && len(pkt) > 12:
			p.payloads <- string(pkt[12:])
		}
	}
}

// talk checks that media goes both ways between two parties.
func talk(t *testing.T, a, b party) {
	t.Helper()
	oneWay(t, a, b)
	oneWay(t, b, a)
}

// oneWay sends until the other side has heard it, as a phone would.
func oneWay(t *testing.T, from, to party) {
	t.Helper()
	word := "word " + rand.Text()
	deadline := time.After(10 * time.Second)
	for {
		from.sendRTP(word)
		again := time.After(20 * time.Millisecond)
		for waiting := true; waiting; {
			select {
			case got := <-to.heard():
				if got == word {
					return
				}
			case <-again:
				waiting = false
			case <-deadline:
				t.Fatalf("%T does not hear %T", to, from)
			}
		}
	}
}

// silent checks that nothing gets through.
func silent(t *testing.T, from, to party) {
	t.Helper()
	word := "word " + rand.Text()
	for range 5 {
		from.sendRTP(word)
		time.Sleep(10 * time.Millisecond)
	}
	end := time.After(200 * time.Millisecond)
	for {
		select {
		case got := <-to.heard():
			require.NotEqual(t, word, got, "heard what must not be")
		case <-end:
			return
		}
	}
}

// reports checks that RTCP goes both ways between two phones. It repeats them,
// because the second component may need longer to connect than the first.
func reports(t *testing.T, a, b *phone) {
	t.Helper()
	for _, d := range [][2]*phone{{a, b}, {b, a}} {
		text := "report " + rand.Text()
		heard := func() bool {
			d[0].sendReport(text)
			select {
			case got := <-d[1].reports:
				return got == text
			case <-time.After(50 * time.Millisecond):
				return false
			}
		}
		eventually(t, 5*time.Second, "RTCP", heard)
	}
}
