//go:build integration

package kamailio

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestRawFlags sends a script's flags in both ways in which Kamailio's module puts
// them on the wire: parsed by the module (the only way of 5.6), and as one string
// under rtpp-flags, which newer ones do when the branch is a parameter of its own.
func TestRawFlags(t *testing.T) {
	s := newSite(t)
	n := s.media(t, "mediad", 2223, "-i", proxyHost, "--delete-delay=0")
	for i, c := range []struct {
		raw    string
		parsed map[string]any
	}{
		{"replace-origin replace-session-connection", map[string]any{"replace": []string{"origin", "session-connection"}}},
		{"trust-address replace-origin RTP/AVP ICE=remove rtcp-mux-demux", map[string]any{
			"flags": []string{"trust-address"}, "replace": []string{"origin"}, "transport-protocol": "RTP/AVP", "ICE": "remove", "rtcp-mux": []string{"demux"},
		}},
		{"UDP/TLS/RTP/SAVPF ICE=force rtcp-mux-offer DTLS=passive SDES-off generate-mid", map[string]any{
			"flags": []string{"generate-mid"}, "SDES": []string{"off"}, "transport-protocol": "UDP/TLS/RTP/SAVPF", "ICE": "force",
			"rtcp-mux": []string{"offer"}, "DTLS": "passive",
		}},
		{"SRTP AVPF SDES-no-AEAD_AES_256_GCM address-family=IP4", map[string]any{
			"SDES": []string{"no-AEAD_AES_256_GCM"}, "transport-protocol": "RTP/SAVPF", "address-family": "IP4",
		}},
		{"RTP SIP-source-address media-address=192.0.2.5 codec-strip-PCMU", map[string]any{
			"flags": []string{"SIP-source-address", "codec-strip-PCMU"}, "transport-protocol": "RTP/AVP", "media-address": "192.0.2.5",
		}},
	} {
		received := map[string]any{"received-from": []string{"IP4", callerHost}, "supports": []string{"load limit"}, "sip-message-type": "sip_request"}
		parsed := n.sdp(t, fmt.Sprintf("parsed-%d", i), received, c.parsed)
		raw := n.sdp(t, fmt.Sprintf("raw-%d", i), received, map[string]any{"rtpp-flags": c.raw})
		if parsed != raw {
			t.Errorf("%s\nparsed by the module:\n%s\nparsed by mediad:\n%s", c.raw, parsed, raw)
		}
		if i > 0 && parsed == n.sdp(t, fmt.Sprintf("none-%d", i), received, nil) {
			t.Errorf("%s: the flags change nothing", c.raw)
		}
	}
	// The branch as a parameter of its own.
	one := n.sdp(t, "forked", map[string]any{"via-branch": "z9hG4bKone", "rtpp-flags": "replace-origin"})
	two := n.sdp(t, "forked", map[string]any{"via-branch": "z9hG4bKtwo", "rtpp-flags": "replace-origin"})
	if one != two {
		t.Errorf("two branches differ:\n%s\n%s", one, two)
	}
	reply, err := n.Ask(map[string]any{"command": "query", "call-id": "forked"})
	must(t, err)
	if tags, _ := reply["tags"].(map[string]any); len(tags) != 3 {
		t.Errorf("an offer to two branches has tags %v", tags)
	}
	// A delete of one branch with to-tag, which only counts with the flag.
	for _, branch := range []string{"z9hG4bKone", "z9hG4bKtwo"} {
		reply, err := n.Ask(map[string]any{"command": "delete", "call-id": "forked", "from-tag": "a", "to-tag": "b", "via-branch": branch, "rtpp-flags": "delete-delay=0"})
		if err != nil || reply["result"] != "ok" {
			t.Errorf("delete of %s: %v (%v)", branch, reply, err)
		}
	}
}

var random = regexp.MustCompile(`\b3[0-9]{4}\b|inline:\S+|(ice-ufrag|ice-pwd|fingerprint|tls-id|candidate):\S+( [0-9A-F:]{20,})?`)

// sdp makes an offer and returns its SDP without what is random.
func (n *node) sdp(t *testing.T, call string, keys ...map[string]any) string {
	t.Helper()
	command := map[string]any{"command": "offer", "call-id": call, "from-tag": "a", "sdp": strings.ReplaceAll(`v=0
o=- 1 1 IN IP4 10.9.0.2
s=-
c=IN IP4 10.9.0.2
t=0 0
m=audio 2000 RTP/AVP 8 0
a=rtcp-mux
`, "\n", "\r\n")}
	for _, k := range keys {
		for key, value := range k {
			command[key] = value
		}
	}
	reply, err := n.Ask(command)
	must(t, err)
	text, _ := reply["sdp"].(string)
	if reply["result"] != "ok" || text == "" {
		t.Fatalf("%v: %v", command, reply)
	}
	return random.ReplaceAllString(text, "*")
}
