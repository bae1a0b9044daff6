package conformance

import (
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// couple makes two parties that send to each other as if the daemon were not
// there; the attributes are those of their SDPs.
func couple(t *testing.T, a, b []string) (*party, *party) {
	t.Helper()
	p, err := newParty("127.0.0.1")
	require.NoError(t, err)
	t.Cleanup(p.close)
	q, err := newParty("127.0.0.1")
	require.NoError(t, err)
	t.Cleanup(q.close)
	p.own, p.remote, p.peer, p.control = a, b, q.address(), q.rtcp.conn.LocalAddr().(addrPorter).AddrPort()
	q.own, q.remote, q.peer, q.control = b, a, p.address(), p.rtcp.conn.LocalAddr().(addrPorter).AddrPort()
	return p, q
}

func exchange(t *testing.T, from, to *party, fields map[string]string) string {
	t.Helper()
	require.NoError(t, from.send(fields))
	kind := map[string]string{"kind": fields["kind"], "class": fields["class"]}
	got, err := to.receive(kind, 200*time.Millisecond)
	require.NoError(t, err)
	return got
}

func TestSRTPBetweenParties(t *testing.T) {
	for suite, key := range map[string]string{
		"AES_CM_128_HMAC_SHA1_80": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw", "AES_CM_128_HMAC_SHA1_32": "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNk|2^20",
		"AES_256_CM_HMAC_SHA1_80": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Ng==",
		"AEAD_AES_128_GCM":        "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3OA",
	} {
		p, q := couple(t, []string{"a=crypto:1 UNKNOWN inline:x", "a=crypto:2 " + suite + " inline:" + key}, []string{"a=crypto:2 " + suite + " inline:" + key})
		media := map[string]string{"kind": "srtp", "pt": "8", "seq": "1", "payload": "hello"}
		require.Equal(t, "srtp pt=8 marker=0 seq=1 ts=0 ssrc=0x0 payload=hello", exchange(t, p, q, media), suite)
		require.Equal(t, "srtcp type=201 ssrc=0x7", exchange(t, q, p, map[string]string{"kind": "srtcp", "ssrc": "7"}), suite)
		media["seq"], media["damage"] = "2", "1"
		require.Contains(t, exchange(t, p, q, media), "unauthenticated", suite)
		require.Contains(t, exchange(t, p, q, map[string]string{"kind": "srtp", "repeat": "1"}), "unauthenticated", suite)
		require.NoError(t, p.send(map[string]string{"kind": "rtp", "payload": "plain"}))
		got, err := q.receive(map[string]string{"kind": "srtp"}, time.Second)
		require.NoError(t, err)
		require.Contains(t, got, "unauthenticated", "plain text is none")
	}
	p, _ := couple(t, []string{"a=crypto:1 F8_128_HMAC_SHA1_80 inline:x"}, []string{"a=crypto:1 F8_128_HMAC_SHA1_80 inline:x"})
	require.ErrorIs(t, p.send(map[string]string{"kind": "srtp"}), errNoKeys)
	p.own = nil
	require.ErrorIs(t, p.send(map[string]string{"kind": "srtp"}), errNoKeys)
}

func TestSTUNBetweenParties(t *testing.T) {
	p, q := couple(t, []string{"a=ice-ufrag:one", "a=ice-pwd:passwordofthefirstparty"}, []string{"a=ice-ufrag:two", "a=ice-pwd:passwordofthesecondone"})
	for changed, want := range map[string]string{
		"":                   "stun class=request username=ok role=controlling integrity=ok fingerprint=ok",
		"role=controlled":    "stun class=request username=ok role=controlled integrity=ok fingerprint=ok",
		"password=wrong":     "stun class=request username=ok role=controlling integrity=wrong fingerprint=ok",
		"username=wrong":     "stun class=request username=wrong role=controlling integrity=ok fingerprint=ok",
		"username=none":      "stun class=request username=none role=controlling integrity=ok fingerprint=ok",
		"integrity=none":     "stun class=request username=ok role=controlling integrity=none fingerprint=ok",
		"fingerprint=none":   "stun class=request username=ok role=controlling integrity=ok fingerprint=none",
		"use-candidate=true": "stun class=request username=ok role=controlling integrity=ok fingerprint=ok",
	} {
		fields := map[string]string{"kind": "stun"}
		if changed != "" {
			step, err := Parse("x", lines("## t\nA sends stun "+changed))
			require.NoError(t, err)
			fields = step[0].Steps[0].Packet
		}
		require.Equal(t, want, exchange(t, p, q, fields), changed)
	}
	p.transaction[0]++
	require.Equal(t, "stun class=success integrity=ok fingerprint=ok mapped=ok transaction=wrong",
		exchange(t, q, p, map[string]string{"kind": "stun", "class": "success"}), "it answers another request")
	exchange(t, p, q, map[string]string{"kind": "stun"})
	require.Equal(t, "stun class=success integrity=ok fingerprint=ok mapped=ok transaction=ok",
		exchange(t, q, p, map[string]string{"kind": "stun", "class": "success"}))
	require.ErrorContains(t, p.send(map[string]string{"kind": "stun", "class": "success"}), "no STUN request")
	require.ErrorContains(t, p.send(map[string]string{"kind": "stun", "pt": "1"}), "unknown field")
}

func TestDTLSBetweenParties(t *testing.T) {
	p, q := couple(t, nil, nil)
	theirs, err := p.fingerprint()
	require.NoError(t, err)
	ours, err := q.fingerprint()
	require.NoError(t, err)
	p.own, q.own = []string{"a=setup:active", "a=fingerprint:" + theirs}, []string{"a=setup:passive", "a=fingerprint:" + ours}
	p.remote, q.remote = q.own, p.own
	server := make(chan string)
	go func() {
		text, err := q.connect(nil)
		if err != nil {
			text = err.Error()
		}
		server <- text
	}()
	got, err := p.connect(nil)
	require.NoError(t, err)
	require.Contains(t, got, "dtls result=ok role=client fingerprint=ok")
	require.Contains(t, <-server, "dtls result=ok role=server fingerprint=ok")
	require.Contains(t, exchange(t, p, q, map[string]string{"kind": "srtp", "payload": "secret"}), "payload=secret")
	require.Contains(t, exchange(t, q, p, map[string]string{"kind": "srtp", "payload": "back"}), "payload=back")
}

type addrPorter interface{ AddrPort() netip.AddrPort }

func lines(text string) io.Reader { return strings.NewReader(text) }
