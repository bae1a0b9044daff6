package app

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// hammerTime is how long TestHammer goes on. MEDIAD_HAMMER makes it longer and
// MEDIAD_HAMMER_SEED another one, by hand.
const (
	hammerTime = 3 * time.Second
	hammerSeed = 20260314
)

// hammer sends commands as raw dictionaries, which may hold anything, and
// packets to whatever port it is told.
type hammer struct {
	t      *testing.T
	number int
	r      *rand.Rand
	conn   net.Conn
	media  net.PacketConn
	bodies []string
	low    int // ports of the daemon
	count  int
	ok     map[string]int
}

// TestHammer sends nearly every command with any keys in any order to a few calls, with
// packets of strangers and reloads in between. Refusals are fine; a panic, a
// deadlock, or ports and goroutines left over are not.
func TestHammer(t *testing.T) {
	length, seed := hammerTime, uint64(hammerSeed)
	if text := os.Getenv("MEDIAD_HAMMER"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err)
		seed = rand.Uint64()
	}
	if text := os.Getenv("MEDIAD_HAMMER_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("seed %d", seed)
	d := startDaemon(t, func(s *settings.Settings) {
		twoInterfaces(s)
		s.Limits.Timeout = time.Hour
		s.Media.RTCPInterval = 50 * time.Millisecond
	})
	bodies := hammerBodies(t)
	before := runtime.NumGoroutine()
	deadline := time.Now().Add(length)
	var wg sync.WaitGroup
	hammers := make([]*hammer, 4)
	for i := range hammers {
		conn, err := net.Dial("udp", d.app.NG()[0].String())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		hammers[i] = &hammer{
			t: t, number: i, r: rand.New(rand.NewPCG(seed, uint64(i))), conn: conn, media: listenLocal(t), bodies: bodies,
			low: d.config.Network.PortMin, ok: make(map[string]int),
		}
		wg.Go(func() {
			for time.Now().Before(deadline) && !t.Failed() {
				hammers[i].command()
				hammers[i].packets(5)
			}
		})
	}
	wg.Go(func() {
		for n := 0; time.Now().Before(deadline); n++ {
			if err := d.app.Reload(d.again(func(s *settings.Settings) { s.Limits.Timeout += time.Duration(n) })); err != nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	wg.Wait()
	succeeded := make(map[string]int)
	for _, h := range hammers {
		for c, n := range h.ok {
			succeeded[c] += n
		}
	}
	t.Log("succeeded: ", succeeded)
	require.Zero(t, d.app.front.ng.Counters().Panics)
	for _, command := range hammerCommands {
		if ng.Command(command) != ng.CommandDelete && !t.Failed() {
			require.NotZero(t, succeeded[command], "%s never succeeds: the test reaches nothing", command)
		}
	}
	for _, id := range d.list() {
		d.delete(&ng.Request{CallID: id})
	}
	require.Empty(t, d.list())
	eventually(t, 5*time.Second, "the goroutines of calls have ended", func() bool { return runtime.NumGoroutine() <= before+2 })
}

func hammerBodies(t *testing.T) []string {
	plain, secured := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.2").withSDES("AES_CM_128_HMAC_SHA1_80")
	web := newBrowser(t).offer(nil)
	media := strings.Replace(plain.sdp(0), line(plain.sdp(0), "m="), "m=audio 0 RTP/AVP 0", 1)
	return []string{
		plain.sdp(0), secured.sdp(1), newPhone(t, "127.0.0.1").withSDES("AEAD_AES_256_GCM").sdp(2),
		web, web, strings.ReplaceAll(web, "a=setup:actpass", "a=setup:active"), newBrowser(t).offer(nil), media,
		plain.sdp(0) + "m=video 4000 RTP/AVP 96\r\nm=image 4002 udptl t38\r\n",
		plain.sdp(0) + "a=inactive\r\n", strings.Replace(plain.sdp(0), "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1),
		"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", web[:len(web)/2], "m=\r\n", "",
		line(web, "a=ice-ufrag") + "\r\n" + line(web, "a=ice-pwd") + "\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n" +
			"a=candidate:1 1 UDP 2130706431 127.0.0.1 4000 typ host\r\na=end-of-candidates\r\n",
	}
}

var hammerCommands = []string{
	"offer", "answer", "delete", "query", "publish", "subscribe request", "subscribe answer", "unsubscribe", "connect", "mesh",
	"create", "create answer", "inject start", "inject stop", "block media", "unblock media", "silence media", "unsilence media",
	"block DTMF", "unblock DTMF", "start forwarding", "stop forwarding", "list", "statistics", "cli",
}

func (h *hammer) pick(words ...string) string { return words[h.r.IntN(len(words))] }

func (h *hammer) tag() string { return h.pick("a", "b", "c", "d", "e") }

// value is anything that a dictionary may hold.
func (h *hammer) value(depth int) any {
	switch n := h.r.IntN(9); {
	case n == 0 && depth > 0:
		out := make([]any, h.r.IntN(4))
		for i := range out {
			out[i] = h.value(depth - 1)
		}
		return out
	case n == 1 && depth > 0:
		return map[string]any{h.pick(
			"from", "to", "strip", "offer", "mask", "except", "set", "accept", "consume", "transcode", "audio", "video", "global", "none",
			"add", "remove", "substitute",
		): h.value(depth - 1)}
	case n == 2:
		return h.r.IntN(400) - 100
	case n == 3:
		return h.tag()
	}
	return h.pick("", "on", "off", "force", "remove", "require", "demux", "start", "stop", "both", "backwards", "passive", "all", "default",
		"PCMU", "opus", "RTP/SAVP", "IP6", "127.0.0.1", "priv", "pub", "fragment", "directional", "audio", "call 1",
		"x\r\nm=audio 4 RTP/AVP 0", "round-robin-calls", "no such thing", "\x00", "PCMU/8000/1/64000", "telephone-event", "session-name")
}

// hammerKeys come with any value.
var hammerKeys = []string{
	"label", "set-label", "to-label", "from-label", "address", "all", "interface", "from-interface", "media address", "received from",
	"replace", "direction", "codec", "sdp-attr", "ICE", "ICE-lite", "DTLS", "DTLS-reverse", "SDES", "OSRTP", "rtcp-mux", "ptime", "TOS",
	"endpoint-learning", "address family", "transport protocol", "rtpp-flags", "record call", "metadata", "sip-code", "delete delay",
	"supports", "template", "sdp-media-remove", "bundle", "xmlrpc-callback", "DTMF-security", "limit", "instance", "calls", "source-call-id",
}

var hammerFlags = []string{
	"trickle ICE", "reset", "port-latching", "no-port-latching", "SIP-source-address", "symmetric", "asymmetric", "strict-source",
	"media-handover", "directional", "bidirectional", "all", "unsubscribe", "fragment", "RTCP-mirror", "SIPREC", "generate-RTCP", "pierce-NAT",
	"NAT-wait", "WebRTC", "loop-protect", "fatal", "fast", "provisional", "egress", "allow-transcoding", "single-codec",
	"reuse-codecs", "original-sendrecv", "no-rtcp-attribute", "full-rtcp-attribute", "unidirectional", "discard-recording", "pad crypto",
}

// request makes up a command.
func (h *hammer) request() map[string]any {
	r := h.r
	command := hammerCommands[r.IntN(len(hammerCommands))]
	if r.IntN(2) == 0 { // there is nothing to do without parties
		command = h.pick("offer", "offer", "answer", "answer", "publish", "subscribe request", "subscribe answer", "create", "create answer")
	}
	m := map[string]any{"command": command, "call-id": fmt.Sprint("call ", r.IntN(4)), "from-tag": h.tag()}
	if r.IntN(4) != 0 {
		m["to-tag"] = h.tag()
	}
	switch command {
	case "offer", "answer", "publish", "subscribe answer", "create answer":
		m["sdp"] = h.bodies[r.IntN(len(h.bodies))]
	case "mesh":
		m["tags"] = []any{map[string]any{"from": h.tag(), "to": []any{h.tag(), h.tag()}}, map[string]any{"from": h.tag(), "to": h.value(1)}}
	case "delete":
		if r.IntN(3) == 0 {
			delete(m, "from-tag")
		}
		if r.IntN(2) == 0 {
			m["delete delay"] = r.IntN(3)
		}
	case "cli":
		m["body"] = h.pick("list sessions all", "list sessions call 1", "list totals", "list interfaces", "list jsonstats", "terminate call 2",
			"params", "set timeout 3600", "list "+h.tag())
	}
	if r.IntN(3) == 0 {
		m["source-tag"], m["from-tags"] = h.tag(), []any{h.tag(), h.tag()}
	} else if strings.HasPrefix(command, "inject") {
		m["source-tag"] = h.tag()
	}
	h.meet(m)
	h.decorate(m)
	return m
}

// meet lets calls meet by a tag that each has of its own.
func (h *hammer) meet(m map[string]any) {
	r := h.r
	other := fmt.Sprint("call ", r.IntN(4))
	switch m["command"] {
	case "offer", "publish", "create":
		if r.IntN(3) == 0 {
			m["from-tag"] = fmt.Sprint("of ", m["call-id"])
		}
	case "connect":
		m["from-tag"], m["to-tag"], m["to-call-id"] = fmt.Sprint("of ", m["call-id"]), "of "+other, other
	case "inject start":
		m["source-tag"], m["source-call-id"] = "of "+other, other
	}
}

// decorate adds keys and flags.
func (h *hammer) decorate(m map[string]any) {
	r := h.r
	if r.IntN(3) == 0 {
		m["via-branch"] = h.pick("br1", "br2")
	}
	if r.IntN(2) == 0 {
		m["transport-protocol"] = h.pick("RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF", "RTP/AVPF")
	}
	if r.IntN(2) == 0 {
		m["ICE"] = h.pick("remove", "force", "optional", "force-relay", "default")
	}
	if r.IntN(3) == 0 {
		m["media echo"] = h.pick("blackhole", "forward", "backwards", "both")
	}
	if r.IntN(5) == 0 {
		m["drop-traffic"] = h.pick("start", "stop")
	}
	if r.IntN(4) == 0 {
		m["direction"] = []any{h.pick("priv", "pub"), h.pick("priv", "pub")}
	}
	flags := make([]any, r.IntN(4))
	for i := range flags {
		flags[i] = h.pick(hammerFlags...)
	}
	m["flags"] = flags
	if r.IntN(3) == 0 {
		for range r.IntN(4) {
			m[hammerKeys[r.IntN(len(hammerKeys))]] = h.value(2)
		}
	}
}

// command sends one command and waits for the reply.
func (h *hammer) command() {
	m := h.request()
	body, err := json.Marshal(m)
	require.NoError(h.t, err)
	h.count++
	cookie := fmt.Sprintf("%d-%d ", h.number, h.count) // one reply is kept for each, whoever asks
	if _, err = h.conn.Write(append([]byte(cookie), body...)); err != nil {
		h.t.Error(err)
		return
	}
	_ = h.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 1<<16)
	for {
		n, err := h.conn.Read(buf)
		if err != nil {
			h.t.Errorf("no reply to %s: %v", body, err)
			return
		}
		text, ours := strings.CutPrefix(string(buf[:n]), cookie)
		if !ours {
			continue
		}
		if !strings.Contains(text, `"result":"error"`) {
			h.ok[m["command"].(string)]++
		} else if strings.Contains(strings.ToLower(text), "internal") {
			h.t.Errorf("%s\nfor %s", text, body)
		}
		return
	}
}

// packets sends RTP, RTCP, STUN and rubbish to some of the daemon's ports.
func (h *hammer) packets(n int) {
	for range n {
		pkt := make([]byte, 12+h.r.IntN(200))
		for i := range pkt {
			pkt[i] = byte(h.r.Uint32())
		}
		switch h.r.IntN(4) {
		case 0, 1:
			pkt[0], pkt[1] = 0x80, byte(h.pick("\x00", "\x08", "\x65", "\xc8", "\xc9")[0])
			copy(pkt[8:], []byte{0, 0, 0, byte(h.r.IntN(4))})
		case 2:
			copy(pkt, []byte{0, 1, 0, byte(len(pkt)-20) &^ 3, 0x21, 0x12, 0xa4, 0x42})
		}
		for _, addr := range []string{"127.0.0.1", "127.0.0.2"} {
			to := netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(h.low+h.r.IntN(testPorts)))
			_, _ = h.media.WriteTo(pkt, net.UDPAddrFromAddrPort(to))
		}
	}
}
