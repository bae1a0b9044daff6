package app

import (
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

const cm80 = "AES_CM_128_HMAC_SHA1_80"

// securePairs are the ways that SRTP can go through: with the phones' own keys,
// and with one of ours on one side.
func securePairs(t *testing.T, run func(t *testing.T, d *daemon, a, b *phone)) {
	t.Helper()
	for name, suites := range map[string][2]string{"handed through": {cm80, cm80}, "ended": {cm80, ""}, "begun": {"", cm80}} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, nil)
			a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
			for i, p := range []*phone{a, b} {
				if suites[i] != "" {
					p.withSDES(suites[i])
				}
			}
			connectPhones(d, a, b, nil)
			run(t, d, a, b)
			d.delete(&ng.Request{CallID: "call"})
		})
	}
}

// reinvite lets a repeat its offer, changed or not.
func reinvite(d *daemon, a, b *phone) {
	d.t.Helper()
	offer := &ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: a.sdp(1), ICE: ng.ICERemove, TransportProtocol: ng.ProtocolRTPAVP}
	if b.suite != "" {
		offer.TransportProtocol, offer.DTLS = ng.ProtocolRTPSAVP, ng.DTLSOff
	}
	tag := b.told(d.offer(offer))
	a.told(d.answer(&ng.Request{CallID: "call", FromTag: "a", ToTag: "b", SDP: b.sdp(tag), ICE: ng.ICERemove}))
}

// packet is an RTP packet of the phone, protected if it speaks SRTP.
func (p *phone) packet(payload string) []byte {
	p.t.Helper()
	p.seq++
	pkt := append([]byte{0x80, 0, byte(p.seq >> 8), byte(p.seq)}, make([]byte, 8)...)
	binary.BigEndian.PutUint32(pkt[8:], p.ssrc)
	pkt = append(pkt, payload...)
	if p.out != nil {
		var err error
		pkt, err = p.out.EncryptRTP(nil, pkt, nil)
		require.NoError(p.t, err)
	}
	return pkt
}

// count returns how often a payload is heard within a while.
func (p *phone) count(payload string) int {
	n := 0
	for end := time.After(300 * time.Millisecond); ; {
		select {
		case got := <-p.payloads:
			if got == payload {
				n++
			}
		case <-end:
			return n
		}
	}
}

// TestKeysOfThePhonesAreHandedThrough: as in rtpengine each phone gets the
// other's key; and still nothing passes that does not authenticate.
func TestKeysOfThePhonesAreHandedThrough(t *testing.T) {
	d := startDaemon(t, nil)
	a, b := newPhone(t, "127.0.0.1").withSDES(cm80), newPhone(t, "127.0.0.1").withSDES(cm80)
	toB, toA := connectPhones(d, a, b, nil)
	require.Contains(t, toB, "a=crypto:1 "+cm80+" inline:"+base64.RawStdEncoding.EncodeToString(a.key)+"\r\n")
	require.Contains(t, toA, "a=crypto:1 "+cm80+" inline:"+base64.RawStdEncoding.EncodeToString(b.key)+"\r\n")
	talk(t, a, b)
	reports(t, a, b)

	before, arrived := d.query("call").RTP, b.datagrams.Load()
	require.NotZero(t, arrived)
	forged := a.packet("forged")
	forged[len(forged)-1] ^= 1
	stranger := newPhone(t, "127.0.0.1")
	for range 5 {
		_, err := stranger.rtp.WriteToUDPAddrPort(forged, a.toRTP)
		require.NoError(t, err)
	}
	eventually(t, 5*time.Second, "forgeries to count as errors", func() bool { return d.query("call").RTP.Errors >= before.Errors+5 })
	require.Equal(t, arrived, b.datagrams.Load(), "a forgery was sent on")
	talk(t, a, b) // and b goes on to be heard where a is
	d.delete(&ng.Request{CallID: "call"})
}

// TestReplayedSRTPIsNotHeard: neither at once nor after a re-INVITE that keeps
// the key.
func TestReplayedSRTPIsNotHeard(t *testing.T) {
	securePairs(t, func(t *testing.T, d *daemon, a, b *phone) {
		talk(t, a, b)
		from, to := a, b
		if a.suite == "" {
			from, to = b, a
		}
		recorded := from.packet("once")
		for range 3 {
			_, err := from.rtp.WriteToUDPAddrPort(recorded, from.toRTP)
			require.NoError(t, err)
		}
		require.Equal(t, 1, to.count("once"))
		reinvite(d, a, b)
		_, err := from.rtp.WriteToUDPAddrPort(recorded, from.toRTP)
		require.NoError(t, err)
		require.Zero(t, to.count("once"))
		talk(t, a, b)
	})
}

// TestRolloverAndHold: a call lives through the rollover of its sequence
// numbers, a hold with the same keys, a change of SSRC, and new keys, with
// which the rollover counter begins anew (RFC 3711 §3.3.1, RFC 4568 §7.1.4).
func TestRolloverAndHold(t *testing.T) {
	securePairs(t, func(t *testing.T, d *daemon, a, b *phone) {
		a.seq, b.seq = 65530, 65525
		for range 20 {
			talk(t, a, b)
		}
		require.Less(t, a.seq, uint16(65530), "rolled over")
		a.direction = "sendonly"
		reinvite(d, a, b)
		a.direction = "sendrecv"
		reinvite(d, a, b)
		talk(t, a, b)
		reports(t, a, b)

		a.ssrc, b.ssrc = a.ssrc+1, b.ssrc+1
		a.seq, b.seq = 100, 65535
		reinvite(d, a, b)
		talk(t, a, b)
		talk(t, a, b)

		for _, p := range []*phone{a, b} {
			if p.suite != "" {
				p.withSDES(p.suite)
			}
		}
		reinvite(d, a, b)
		talk(t, a, b)
		reports(t, a, b)
	})
}

// TestBrowserWithTheOtherFamily: the m= line is IPv4, the browser has but
// IPv6, and media goes from the port of the candidate it can reach.
func TestBrowserWithTheOtherFamily(t *testing.T) {
	both := func(s *settings.Settings) {
		for _, address := range []string{"::1"} {
			addr := netip.MustParseAddr(address)
			s.Network.Interfaces = append(s.Network.Interfaces, settings.Interface{Name: "default", Address: addr, Advertised: addr})
		}
	}
	for name, call := range map[string]func(d *daemon, b *browser, p *phone){
		"it calls":  func(d *daemon, b *browser, p *phone) { callPhone(d, b, p, nil) },
		"is called": callBrowser,
	} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, both)
			b, p := newIPv6Browser(t), newPhone(t, "127.0.0.1")
			call(d, b, p)
			talk(t, b, p)
			require.NotZero(t, d.query("call").RTP.Packets)
			d.delete(&ng.Request{CallID: "call"})
		})
	}
}
