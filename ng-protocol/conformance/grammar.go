package conformance

// choice is a key and values that clients put there. The tables below are what
// the fuzzers draw from: keys and flags of rtpengine's documentation that need
// no decoded audio.
type choice struct {
	key    string
	weight int // how often it is drawn, relative to the others
	values []any
}

// offerKeys are keys of offer and answer.
func offerKeys() []choice {
	list := func(words ...any) any { return words }
	return []choice{
		{"ICE", 12, []any{"remove", "force", "force-relay", "default", "optional", "bogus"}},
		{"ICE-lite", 2, []any{"off", "forward", "backward", "both"}},
		{"transport-protocol", 10, []any{"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF", "accept", "RTP/XYZ"}},
		{"transport protocol", 1, []any{"RTP/AVP", "RTP/SAVP"}},
		{"DTLS", 4, []any{"off", "no", "disable", "passive", "active"}},
		{"DTLS-reverse", 2, []any{"off", "passive", "active"}},
		{"DTLS-fingerprint", 2, []any{"sha-1", "sha-256", "sha-512", "md5"}},
		{"SDES", 6, []any{
			list("off"), list("no"), list("disable"), list("no-AES_CM_128_HMAC_SHA1_80"), list("no-AEAD_AES_256_GCM", "no-AEAD_AES_128_GCM"), list("pad"),
			list("lifetime"), list("static"), list("prefer"), list("unencrypted_srtp"), list("unencrypted_srtcp"), list("unauthenticated_srtp"),
			list("encrypted_srtp", "encrypted_srtcp", "authenticated_srtp"),
		}},
		{"OSRTP", 3, []any{list("offer"), list("accept")}},
		{"rtcp-mux", 8, []any{list("offer"), list("require"), list("demux"), list("accept"), list("reject"), list("offer", "require"), list("accept", "demux")}},
		{"replace", 8, []any{
			list("origin"), list("session-connection"), list("origin", "session-connection"), list("sdp-version"), list("username"), list("session-name"),
			list("zero-address"), list("SDP version"), list("session name", "username"),
		}},
		{"direction", 4, []any{list("pub", "priv"), list("priv", "pub"), list("priv", "priv"), list("pub")}},
		{"interface", 1, []any{"priv"}},
		{"address family", 3, []any{"IP4", "IP6", "IP7"}},
		{"media address", 3, []any{"203.0.113.5", "2001:db8::5", "nonsense"}},
		{"received-from", 2, []any{list("IP4", "127.0.0.8"), list("IP6", "::1"), list()}},
		{"media echo", 2, []any{"blackhole", "forward", "backwards", "both"}},
		{"label", 1, []any{"caller", "7"}},
		{"via-branch", 2, []any{"br1", "br2"}},
		{"TOS", 1, []any{184, "46"}},
		{"generate RTCP", 1, []any{"on", "off"}},
		{"supports", 1, []any{list("load limit")}},
		{"sip-message-type", 1, []any{"sip_request", "sip_reply"}},
		{"sip-code", 1, []any{180, 183, 200}},
		{"delete delay", 1, []any{0, 30}},
		{"endpoint-learning", 1, []any{"off", "immediate", "delayed", "heuristic"}},
		{"T.38", 2, []any{list("stop"), list("no-ECM"), list("FEC")}},
		{"codec", 10, nil},
		{"flags", 18, nil},
		{"nonsense", 1, []any{"x", list("x"), map[string]any{"a": "b"}, 7}},
	}
}

// offerFlags are entries of the list "flags".
func offerFlags() []any {
	return []any{
		"trust address", "trust-address", "SIP source address", "strict source", "media handover", "asymmetric", "symmetric", "force", "port latching", "no port latching",
		"no rtcp attribute", "no-rtcp-attribute", "full rtcp attribute", "full-rtcp-attribute", "generate mid", "generate-mid",
		"original sendrecv", "original-sendrecv", "loop protect", "loop-protect", "always include rtcp", "pad crypto", "pad-crypto", "unidirectional", "bidirectional", "directional",
		"trickle ICE", "trickle-ICE", "reject ICE", "reject-ICE", "static codecs", "reuse codecs", "no codec renegotiation", "single codec", "allow no codec media",
		"allow asymmetric codecs", "reset", "early media", "debug", "NAT wait", "pierce NAT", "RTCP mirror", "record call", "no redis update", "media echo",
		"generate RTCP", "generate-RTCP", "to-tag", "all", "fragment", "port-latching", "endpoint-learning-off", "WebRTC-unknown",
		"SDES-off", "SDES-no-AES_CM_128_HMAC_SHA1_32", "SDES-pad", "SDES-lifetime",
		"OSRTP-offer", "OSRTP-accept",
		"codec-strip-PCMU", "codec-strip-all", "codec-offer-PCMA", "codec-except-PCMU", "codec-ignore-PCMA", "codec-strip-G722", "codec-strip-telephone-event", "T.38-stop",
		"ICE-force", "block DTMF", "DTLS-off", "inject-nonsense", "replace-nonsense",
	}
}

// codecNames are names for the dictionary "codec".
func codecNames() []any {
	return []any{
		"PCMU", "PCMA", "pcmu", "G722", "G729", "opus", "opus/48000/2", "opus/48000", "telephone-event", "telephone-event/8000", "telephone-event/48000", "CN", "GSM", "speex/16000",
		"speex", "iLBC", "AMR", "AMR-WB", "VP8", "H264", "x-unknown", "all", "full", "PCMU/8000", "PCMA/16000",
	}
}

// payload is one format of an m= line.
type payload struct {
	number string
	lines  []string
}

// audioPayloads are formats of audio media; static ones come with and without
// the rtpmap that they do not need (RFC 3551 §6).
func audioPayloads() []payload {
	return []payload{
		{"0", nil}, {"8", nil}, {"0", []string{"a=rtpmap:0 PCMU/8000"}}, {"8", []string{"a=rtpmap:8 PCMA/8000"}}, {"9", nil}, {"9", []string{"a=rtpmap:9 G722/8000"}},
		{"18", nil}, {"18", []string{"a=rtpmap:18 G729/8000", "a=fmtp:18 annexb=no"}}, {"3", nil}, {"13", nil}, {"4", nil}, {"5", nil}, {"15", nil}, {"13", []string{"a=rtpmap:13 CN/8000"}},
		{"96", []string{"a=rtpmap:96 opus/48000/2", "a=fmtp:96 minptime=10;useinbandfec=1"}}, {"111", []string{"a=rtpmap:111 opus/48000/2"}},
		{"97", []string{"a=rtpmap:97 speex/16000"}}, {"98", []string{"a=rtpmap:98 iLBC/8000", "a=fmtp:98 mode=30"}}, {"99", []string{"a=rtpmap:99 AMR-WB/16000", "a=fmtp:99 octet-align=1"}},
		{"100", []string{"a=rtpmap:100 X-UNKNOWN/8000"}}, {"101", []string{"a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15"}}, {"101", []string{"a=rtpmap:101 telephone-event/8000"}},
		{"102", []string{"a=rtpmap:102 telephone-event/48000"}}, {"103", nil}, {"104", []string{"a=rtpmap:104 G726-32/8000"}}, {"105", []string{"a=rtpmap:105 CN/16000"}}, {"106", []string{"a=rtpmap:106 L16/16000/2"}},
	}
}

func videoPayloads() []payload {
	return []payload{
		{"34", nil}, {"96", []string{"a=rtpmap:96 VP8/90000", "a=rtcp-fb:96 nack pli"}}, {"97", []string{"a=rtpmap:97 H264/90000", "a=fmtp:97 profile-level-id=42e01f"}},
		{"98", []string{"a=rtpmap:98 rtx/90000", "a=fmtp:98 apt=96"}}, {"31", nil}, {"99", []string{"a=rtpmap:99 VP9/90000", "a=rtcp-fb:99 ccm fir", "a=rtcp-fb:* nack"}},
	}
}

// sdesLines are crypto attributes (RFC 4568) with keys of the right lengths.
func sdesLines() []string {
	return []string{
		"AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw", "AES_CM_128_HMAC_SHA1_32 inline:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNk",
		"AES_CM_128_HMAC_SHA1_80 inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk|2^31|1:1", "AES_CM_128_HMAC_SHA1_80 inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk|2^20",
		"AES_256_CM_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Ng==", "AEAD_AES_128_GCM inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3OA==",
		"AEAD_AES_256_GCM inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ=", "F8_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw",
		"NULL_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw", "AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw UNENCRYPTED_SRTCP",
		"AES_192_CM_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg=", "UNKNOWN_SUITE inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw",
	}
}

const certificateHash = "sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3C:4D:5E:6F:70:81:92:A3:B4:C5:D6:E7"

// sessionLines may stand before the first m= line, in the order of RFC 8866 §5.
func sessionLines() []string {
	return []string{"i=info", "u=http://example.com/", "e=a@example.com", "p=+1 2", "b=AS:256", "b=CT:64"}
}

// attributes are of any level.
func attributes() []string {
	return []string{
		"a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive", "a=x-unknown", "a=x-unknown:value with blanks", "a=tool:test", "a=ptime:20", "a=ptime:30", "a=maxptime:60",
		"a=label:1", "a=rtcp-mux", "a=rtcp-rsize", "a=rtcp:{P+1}", "a=rtcp:{P}", "a=rtcp:{P+1} IN IP4 {P.ip}", "a=silenceSupp:off - - - -", "a=ssrc:1234 cname:abc",
		"a=mid:0", "a=mid:audio", "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level", "a=setup:actpass", "a=setup:active", "a=setup:passive", "a=fingerprint:" + certificateHash,
		"a=tls-id:abcdefghijklmnopqrstuvwxyz", "a=group:BUNDLE 0 1", "a=ice-options:trickle", "a=ice-lite", "a=end-of-candidates", "a=msid:a b", "a=rtcp-fb:* nack", "a=charset:UTF-8", "a=direction:active",
		"a=rtpmap:0 PCMU/8000", "a=fmtp:0 nothing", "a=content:main", "a=rtcp-xr:rcvr-rtt=all", "a=candidate:1 1 UDP 2130706431 {P.ip} {P} typ host", "a=sqn: 0", "a=",
	}
}

// mediaTypes are m= lines: type, protocols, and formats where they are no RTP payloads.
type mediaType struct {
	name      string
	protocols []string
	formats   []string
	lines     []string
}

func otherMedia() []mediaType {
	return []mediaType{
		{"image", []string{"udptl", "UDPTL"}, []string{"t38"}, []string{"a=T38FaxVersion:0", "a=T38MaxBitRate:14400", "a=T38FaxRateManagement:transferredTCF", "a=T38FaxUdpEC:t38UDPRedundancy"}},
		{"message", []string{"TCP/MSRP", "TCP/TLS/MSRP"}, []string{"*"}, []string{"a=accept-types:text/plain", "a=path:msrp://example.com:7654/abc;tcp"}},
		{"application", []string{"UDP/BFCP", "TCP/BFCP"}, []string{"webrtc-datachannel", "*"}, []string{"a=sctp-port:5000"}},
		{"text", []string{"RTP/AVP"}, []string{"98"}, []string{"a=rtpmap:98 t140/1000"}},
	}
}
