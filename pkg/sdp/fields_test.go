package sdp

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOrigin(t *testing.T) {
	o, ok := ParseOrigin("John Q. Public 0123 45678901234567890123 IN IP4 192.0.2.1")
	require.True(t, ok)
	require.Equal(t, Origin{"John Q. Public", "0123", "45678901234567890123", Address{"IN", "IP4", "192.0.2.1"}}, o)
	require.Equal(t, "John Q. Public 0123 45678901234567890123 IN IP4 192.0.2.1", o.String())
	_, ok = ParseOrigin("- 1 IN IP4 192.0.2.1")
	require.False(t, ok)
}

func TestConnection(t *testing.T) {
	for _, c := range []struct {
		value, ip string
	}{
		{"IN IP4 192.0.2.1", "192.0.2.1"},
		{"IN IP6 2001:db8::1", "2001:db8::1"},
		{" IN  IP4\t192.0.2.1 ", "192.0.2.1"},
		{"IN IP6 ::ffff:192.0.2.1", "192.0.2.1"},
		{"IN IP4 224.2.1.1/127", ""},
		{"IN IP4 phone.example.com", ""},
		{"IN IP6 fe80::1%eth0", ""},
	} {
		a, ok := ParseConnection(c.value)
		require.True(t, ok, c.value)
		ip, ok := a.IP()
		require.Equal(t, c.ip != "", ok, c.value)
		if ok {
			require.Equal(t, netip.MustParseAddr(c.ip), ip)
		}
	}
	_, ok := ParseConnection("IN IP4")
	require.False(t, ok)
	require.Equal(t, "IN IP4 192.0.2.1", AddressOf(netip.MustParseAddr("::ffff:192.0.2.1")).String())
	require.Equal(t, "IN IP6 fe80::1", AddressOf(netip.MustParseAddr("fe80::1%1")).String())
}

func TestMedia(t *testing.T) {
	for _, value := range []string{
		"audio 4000 RTP/AVP 0 8 101", "video 4002/2 RTP/AVP 96", "image 0 udptl t38",
		"message 7 TCP/MSRP *", "application 9 UDP/DTLS/SCTP webrtc-datachannel", "audio 1 RTP/AVP",
	} {
		m, ok := ParseMedia(value)
		require.True(t, ok, value)
		require.Equal(t, value, m.String())
	}
	for _, value := range []string{"", "audio", "audio 1", "audio x RTP/AVP 0", "audio 65536 RTP/AVP 0", "audio -1 RTP/AVP 0", "audio 1/0 RTP/AVP 0", "audio 1/x RTP/AVP 0"} {
		_, ok := ParseMedia(value)
		require.False(t, ok, value)
	}
}

func TestDirection(t *testing.T) {
	d, err := Parse([]byte("v=0\r\na=sendonly\r\nm=audio 1 RTP/AVP 0\r\na=Inactive\r\na=recvonly \r\nm=audio 1 RTP/AVP 0\r\na=sendonly:x\r\n"))
	require.NoError(t, err)
	dir, ok := d.Session().Direction()
	require.True(t, ok)
	require.Equal(t, SendOnly, dir)
	dir, ok = d.Medias()[0].Direction()
	require.True(t, ok, "attribute names are case-sensitive")
	require.Equal(t, RecvOnly, dir)
	_, ok = d.Medias()[1].Direction()
	require.False(t, ok)
	require.Equal(t, SendOnly, RecvOnly.Reverse())
	require.Equal(t, RecvOnly, SendOnly.Reverse())
	require.Equal(t, Inactive, Inactive.Reverse())
	require.Equal(t, "inactive", Inactive.String())
}

func TestCandidate(t *testing.T) {
	for _, value := range []string{
		"1467250027 1 udp 2122260223 192.0.2.10 51234 typ host generation 0 network-id 1",
		"435653019 1 tcp 1518280447 192.0.2.10 9 typ host tcptype active generation 0",
		"842163049 1 udp 1677729535 198.51.100.9 60001 typ srflx raddr 0.0.0.0 rport 0 generation 0",
		"1 2 udp 2130706430 d6fb8c2a-1111-4e1e-9f6a-1c5a0b3b0c8b.local 5001 typ host",
		"1 1 udp 1 2001:db8::1 5001 typ relay raddr 192.0.2.1 rport 9",
	} {
		c, ok := ParseCandidate(value)
		require.True(t, ok, value)
		require.Equal(t, value, c.String())
	}
	c, ok := ParseCandidate("1 1 UDP 2130706431 198.51.100.1 4000 TYP Host")
	require.True(t, ok)
	require.Equal(t, "udp", c.Transport)
	at, ok := c.AddrPort()
	require.True(t, ok)
	require.Equal(t, netip.MustParseAddrPort("198.51.100.1:4000"), at)
	for _, value := range []string{
		"", "1 1 udp 1 192.0.2.1 5 typ", "1 0 udp 1 192.0.2.1 5 typ host", "1 1 udp 4294967296 192.0.2.1 5 typ host",
		"1 1 udp 1 192.0.2.1 65536 typ host", "1 1 udp 1 192.0.2.1 5 foo host", "1 256 udp 1 192.0.2.1 5 typ host",
		"123456789012345678901234567890123 1 udp 1 192.0.2.1 5 typ host", "1 1 udp 1 192.0.2.1 5 typ host raddr 1.2.3.4 rport x",
	} {
		_, ok := ParseCandidate(value)
		require.False(t, ok, value)
	}
}

func TestCrypto(t *testing.T) {
	for _, value := range []string{
		"1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 FEC_ORDER=FEC_SRTP",
		"999999999 AEAD_AES_256_GCM inline:AAAA",
		"2 F8_128_HMAC_SHA1_80 inline:AAAA|1:4;inline:BBBB|2:4 WSH=64 UNENCRYPTED_SRTCP",
	} {
		c, ok := ParseCrypto(value)
		require.True(t, ok, value)
		require.Equal(t, value, c.String())
	}
	c, _ := ParseCrypto("7 aes_cm_128_hmac_sha1_80 inline:AAAA|2^20")
	require.Equal(t, Crypto{Tag: 7, Suite: "AES_CM_128_HMAC_SHA1_80", Inline: "AAAA", Rest: "|2^20", Params: []string{}}, c)
	for _, value := range []string{"", "1", "1 X", "x X inline:A", "+1 X inline:A", "-1 X inline:A", "1 X uri:A", "1 X inline:", "1 X inline:|2", "1234567890 X inline:A"} {
		_, ok := ParseCrypto(value)
		require.False(t, ok, value)
	}
}

func TestSmallAttributes(t *testing.T) {
	digest := strings.Repeat("ab:", 19) + "cd"
	f, ok := ParseFingerprint("SHA-1 " + digest)
	require.True(t, ok)
	require.Equal(t, "sha-1 "+strings.ToUpper(digest), f.String())
	for _, bad := range []string{"sha-1", "sha-256 " + digest, "sha-1 " + digest + ":00", "sha-1 zz:" + digest[3:], "md5 " + digest[:47], "sha-1 " + strings.ReplaceAll(digest, ":", "")} {
		_, ok = ParseFingerprint(bad)
		require.False(t, ok, bad)
	}

	for _, s := range []Setup{SetupActive, SetupPassive, SetupActPass, SetupHoldConn} {
		require.Equal(t, s, ParseSetup(" "+s.String()))
	}
	require.Equal(t, SetupAbsent, ParseSetup("both"))

	r, ok := ParseRTCP("53020 IN IP6 2001:db8::1")
	require.True(t, ok)
	require.Equal(t, RTCP{53020, Address{"IN", "IP6", "2001:db8::1"}}, r)
	_, ok = ParseRTCP("x")
	require.False(t, ok)

	g, ok := ParseGroup("BUNDLE 0 1")
	require.True(t, ok)
	require.Equal(t, Group{"BUNDLE", []string{"0", "1"}}, g)

	e, ok := ParseExtmap("1/sendonly urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on")
	require.True(t, ok)
	require.Equal(t, Extmap{1, "sendonly", "urn:ietf:params:rtp-hdrext:ssrc-audio-level"}, e)
}

func TestPayloads(t *testing.T) {
	d, err := Parse([]byte("v=0\r\nm=audio 1 RTP/AVP 111 0 9 101 127 300 x 0\r\na=rtcp-fb:111 nack\r\na=rtcp-fb:* x\r\na=rtcp-fb:111 nack pli\r\n" +
		"a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtpmap:9 broken/x\r\n"))
	require.NoError(t, err)
	require.Equal(t, []Payload{
		{111, "opus", 48000, 2, "minptime=10;useinbandfec=1", []string{"nack", "nack pli"}},
		{0, "PCMU", 8000, 1, "", nil},
		{9, "G722", 8000, 1, "", nil},
		{101, "telephone-event", 8000, 1, "0-15", nil},
		{127, "", 0, 1, "", nil},
		{0, "PCMU", 8000, 1, "", nil},
	}, d.Medias()[0].Payloads())
	require.Nil(t, d.Session().Payloads())
}
