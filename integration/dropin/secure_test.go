//go:build integration

package dropin

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/pion/srtp/v3"
)

// Keys of RFC 4568 that the parties use.
const (
	keyA = "DVM+BTeYX2UI1LaA9bgXrcBEDBxoItA9/39fSoRF"
	keyB = "WnD4ZTGQoEnqWXFfwVVHyPF8bNhc4Fk3dmHUsuvN"
)

// srtp4 is an SDP of a phone with SDES.
func srtp4(host string, port int, lines ...string) string {
	return fmt.Sprintf(`
v=0
o=- 1545997027 1 IN IP4 %[1]s
s=tester
t=0 0
m=audio %[2]d RTP/SAVP 0
c=IN IP4 %[1]s
a=sendrecv
%[3]s
`, host, port, strings.Join(lines, "\n"))
}

// sealer encrypts with a key in the form of a=crypto's inline parameter, opener
// decrypts.
func (t *talk) context(inline string) *srtp.Context {
	inline, _, _ = strings.Cut(strings.TrimPrefix(inline, "inline:"), "|")
	raw, err := base64.StdEncoding.DecodeString(inline)
	if err != nil || len(raw) != 30 {
		t.stop("key %q: %v", inline, err)
	}
	c, err := srtp.CreateContext(raw[:16], raw[16:], srtp.ProtectionProfileAes128CmHmacSha1_80)
	if err != nil {
		t.stop("srtp: %v", err)
	}
	return c
}

func seal(c *srtp.Context) func([]byte) []byte {
	return func(b []byte) []byte {
		out, err := c.EncryptRTP(nil, b, nil)
		if err != nil {
			return nil
		}
		return out
	}
}

func open(c *srtp.Context) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return c.DecryptRTP(nil, b, nil) }
}

// aes128 are the fields of the a=crypto line of AES_CM_128_HMAC_SHA1_80.
func (d description) aes128(media int) []string {
	for _, line := range d.media[media].lines {
		fields := strings.Fields(strings.TrimPrefix(line, "a=crypto:"))
		if strings.HasPrefix(line, "a=crypto:") && len(fields) > 2 && fields[1] == "AES_CM_128_HMAC_SHA1_80" {
			return fields
		}
	}
	return make([]string, 3)
}

func (d description) crypto(media int) string { return d.aes128(media)[2] }

func (d description) cryptoTag(media int) string { return d.aes128(media)[0] }

var secureCalls = []conversation{
	{"sdes-to-plain", func(t *talk) {
		a, b := t.phones()
		towardsB := t.offer(srtp4(party4, 2000, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+keyA), keys{"transport-protocol": "RTP/AVP"})
		towardsA := t.answer(bareAnswer4)
		sealA, openA := seal(t.context(keyA)), open(t.context(towardsA.crypto(0)))
		for n := range 3 {
			a.send(towardsA.rtp(0), sealA(audio(0, n, 0x1234).bytes()))
			b.expect()
			b.send(towardsB.rtp(0), audio(0, n, 0x5678).bytes())
			a.expect(openA)
		}
	}},
	{"plain-to-sdes", func(t *talk) {
		a, b := t.phones()
		towardsB := t.offer(bare4, keys{"transport-protocol": "RTP/SAVP"})
		towardsA := t.answer(srtp4(other4, 2002, "a=crypto:"+towardsB.cryptoTag(0)+" AES_CM_128_HMAC_SHA1_80 inline:"+keyB), keys{"transport-protocol": "RTP/AVP"})
		sealB, openB := seal(t.context(keyB)), open(t.context(towardsB.crypto(0)))
		for n := range 3 {
			a.send(towardsA.rtp(0), audio(0, n, 0x1234).bytes())
			b.expect(openB)
			b.send(towardsB.rtp(0), sealB(audio(0, n, 0x5678).bytes()))
			a.expect()
		}
		t.ask("query", nil)
	}},
	{"sdes-to-sdes", func(t *talk) {
		a, b := t.phones()
		towardsB := t.offer(srtp4(party4, 2000, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+keyA))
		towardsA := t.answer(srtp4(other4, 2002, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+keyB))
		sealA, sealB := seal(t.context(keyA)), seal(t.context(keyB))
		openA, openB := open(t.context(towardsA.crypto(0))), open(t.context(towardsB.crypto(0)))
		for n := range 3 {
			a.send(towardsA.rtp(0), sealA(audio(0, n, 0x1234).bytes()))
			b.expect(openB)
			b.send(towardsB.rtp(0), sealB(audio(0, n, 0x5678).bytes()))
			a.expect(openA)
		}
	}},
	{"sdes-forged", func(t *talk) {
		a, b := t.phones()
		t.offer(srtp4(party4, 2000, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+keyA), keys{"transport-protocol": "RTP/AVP"})
		towardsA := t.answer(bareAnswer4)
		forged := seal(t.context(keyA))(audio(0, 0, 0x1234).bytes())
		forged[len(forged)-1] ^= 1
		a.send(towardsA.rtp(0), forged)
		b.quiet()
		seal := seal(t.context(keyA))
		first := seal(audio(0, 1, 0x1234).bytes())
		a.send(towardsA.rtp(0), first)
		b.expect()
		a.send(towardsA.rtp(0), first)
		b.short()
	}},
	{"sdes-suites", func(t *talk) {
		t.offer(srtp4(party4, 2000,
			"a=crypto:1 AEAD_AES_256_GCM inline:"+strings.Repeat("A", 59)+"=",
			"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:"+keyA,
			"a=crypto:3 F8_128_HMAC_SHA1_80 inline:"+keyA,
			"a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:"+keyA+"|2^31|1:1 UNENCRYPTED_SRTCP"))
		t.answer(srtp4(other4, 2002, "a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:"+keyB))
	}},
	{"sdes-options", func(t *talk) {
		for _, sdes := range [][]string{{"off"}, {"no-AES_CM_128_HMAC_SHA1_80"}, {"unencrypted_srtp"}, {"unauthenticated_srtp", "unencrypted_srtcp"}, {"pad"}, {"lifetime"}, {"static"}, {"prefer"}} {
			t.offer(bare4, keys{"transport-protocol": "RTP/SAVP", "SDES": sdes})
			t.again()
		}
		t.offer(bare4, keys{"transport-protocol": "RTP/SAVP"}, flags("SDES-no-AEAD_AES_128_GCM", "SDES-no-AEAD_AES_256_GCM", "pad-crypto"))
		t.again()
		t.offer(bare4, keys{"transport-protocol": "RTP/SAVPF", "DTLS": "off"})
		t.again()
		t.offer(bare4, keys{"transport-protocol": "UDP/TLS/RTP/SAVP", "DTLS": "passive", "SDES": []string{"off"}})
	}},
	{"sdes-hold", func(t *talk) {
		a, b := t.phones()
		crypto := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA
		t.offer(srtp4(party4, 2000, crypto), keys{"transport-protocol": "RTP/AVP"})
		towardsA := t.answer(bareAnswer4)
		sealA := seal(t.context(keyA))
		a.send(towardsA.rtp(0), sealA(audio(0, 0, 0x1234).bytes()))
		b.expect()
		t.offer(srtp4(party4, 2000, crypto, "a=sendonly"), keys{"transport-protocol": "RTP/AVP", "to-tag": t.to})
		towardsA = t.answer(bareAnswer4 + "a=recvonly\n")
		a.send(towardsA.rtp(0), sealA(audio(0, 1, 0x9999).bytes())) // another source of sound, the same key
		b.expect()
		t.offer(srtp4(party4, 2000, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+keyB), keys{"transport-protocol": "RTP/AVP", "to-tag": t.to})
		towardsA = t.answer(bareAnswer4)
		a.send(towardsA.rtp(0), seal(t.context(keyB))(audio(0, 2, 0x1234).bytes()))
		b.expect()
	}},
	{"osrtp", func(t *talk) {
		t.offer(bare4, flags("OSRTP-offer"))
		t.answer(bareAnswer4)
		t.again()
		t.offer(bare4+"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+keyA+"\n", flags("OSRTP-accept"))
		t.answer(bareAnswer4)
		t.again()
		t.offer(bare4+"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+keyA+"\n", keys{"OSRTP": []string{"accept"}, "transport-protocol": "RTP/SAVP"})
		t.answer(srtp4(other4, 2002, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+keyB))
		t.again()
		t.offer(bare4 + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA + "\n")
		t.answer(bareAnswer4)
	}},
	{"sdes-wrong", func(t *talk) {
		for _, line := range []string{
			"a=crypto:1 NO_SUCH_SUITE inline:" + keyA, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:short", "a=crypto:1 AES_CM_128_HMAC_SHA1_80",
			"a=crypto:x AES_CM_128_HMAC_SHA1_80 inline:" + keyA, "a=nothing",
		} {
			t.ask("offer", keys{"from-tag": "a", "sdp": crlf(srtp4(party4, 2000, line))})
			t.again()
			t.ask("offer", keys{"from-tag": "a", "sdp": crlf(srtp4(party4, 2000, line)), "transport-protocol": "RTP/AVP"})
			t.again()
		}
	}},
}
