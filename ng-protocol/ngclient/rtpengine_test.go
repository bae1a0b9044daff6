//go:build integration

package ngclient

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// rtpengine starts Debian's rtpengine on free ports and returns its ng address.
func rtpengine(t *testing.T, extra ...string) string {
	t.Helper()
	path, err := exec.LookPath("rtpengine")
	if err != nil {
		t.Fatal("this test needs Debian's package rtpengine-daemon: ", err)
	}
	addr := closedPort(t)
	_, port, _ := net.SplitHostPort(closedPort(t))
	low, _ := strconv.Atoi(port)
	low = min(low, 60000) &^ 1
	log, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{
		"--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=5",
		"--interface=127.0.0.1", "--listen-ng=" + addr,
		fmt.Sprintf("--port-min=%d", low), fmt.Sprintf("--port-max=%d", low+200),
	}, extra...)
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("rtpengine says:\n%s", text)
		}
	})
	return addr
}

// phone is a UDP socket and the SDP that names it.
type phone struct {
	conn *net.UDPConn
	port int
}

func newPhone(t *testing.T) phone {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return phone{conn, conn.LocalAddr().(*net.UDPAddr).Port}
}

func (p phone) sdp() string {
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 8\r\n", p.port)
}

// audioPort is the port of the first m= line.
func audioPort(t *testing.T, sdp string) int {
	t.Helper()
	var port int
	_, rest, ok := strings.Cut(sdp, "m=audio ")
	if !ok {
		t.Fatalf("no audio in %q", sdp)
	}
	if _, err := fmt.Sscan(rest, &port); err != nil {
		t.Fatal(err)
	}
	return port
}

// sendRTP sends n packets of 20 ms and returns how many arrived at to.
func sendRTP(t *testing.T, from, to phone, port int, ssrc byte, n int) int {
	t.Helper()
	arrived := 0
	buf := make([]byte, 1500)
	for i := range n {
		packet := make([]byte, 12+160)
		copy(packet, []byte{0x80, 8, byte(i >> 8), byte(i), 0, 0, byte(i * 160 >> 8), byte(i * 160), 0xf0, 0, 0, ssrc})
		if _, err := from.conn.WriteToUDP(packet, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err != nil {
			t.Fatal(err)
		}
		to.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := to.conn.Read(buf); err == nil {
			arrived++
		}
	}
	return arrived
}

// The client drives Debian's rtpengine through a whole call and reads its query
// reply into the types.
func TestRTPEngine(t *testing.T) {
	for name, format := range map[string]ng.Format{"bencode": ng.FormatBencode, "json": ng.FormatJSON} {
		t.Run(name, func(t *testing.T) { wholeCall(t, rtpengine(t), format) })
	}
}

func wholeCall(t *testing.T, addr string, format ng.Format) {
	c := connect(t, func(cfg *Config) {
		cfg.Format, cfg.Interval, cfg.Deadline = format, 200*time.Millisecond, 10*time.Second
	}, addr)
	ctx := t.Context()
	if err := c.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	caller, callee := newPhone(t), newPhone(t)
	req := ng.Request{
		CallID: "whole-call@example.com", FromTag: "f", Label: "caller", SIPMessageType: ng.SIPMessageRequest,
		TransportProtocol: ng.ProtocolRTPAVP, ICE: ng.ICERemove, DTLS: ng.DTLSOff, SDES: ng.SDES{Off: true},
		RTCPMux: ng.RTCPMuxDemux, Replace: ng.ReplaceOrigin, Flags: ng.FlagsOf(ng.FlagTrustAddress),
		EndpointLearning: ng.LearningImmediate, TOS: new(184),
	}
	offer := req
	offer.SDP = caller.sdp()
	offered, err := c.Offer(ctx, &offer)
	if err != nil {
		t.Fatal(err)
	}
	answer := req
	answer.ToTag, answer.SDP, answer.Label, answer.SIPMessageType = "t", callee.sdp(), "", ng.SIPMessageReply
	answered, err := c.Answer(ctx, &answer)
	if err != nil {
		t.Fatal(err)
	}
	toCallee, toCaller := audioPort(t, answered.SDP), audioPort(t, offered.SDP)
	if n := sendRTP(t, caller, callee, toCallee, 1, 20); n != 20 {
		t.Errorf("%d of 20 packets reached the callee", n)
	}
	if n := sendRTP(t, callee, caller, toCaller, 2, 10); n != 10 {
		t.Errorf("%d of 10 packets reached the caller", n)
	}
	if calls, err := c.List(ctx, 0); err != nil || !slices.Equal(calls, []string{req.CallID}) {
		t.Errorf("%v %v", calls, err)
	}
	state := queried(t, c, req.CallID, 30)
	checkState(t, state, caller, callee, toCaller, toCallee)

	if _, err := c.Delete(ctx, &ng.Request{CallID: req.CallID, FromTag: "f", DeleteDelay: new(0)}); err != nil {
		t.Fatal(err)
	}
	if calls, err := c.List(ctx, 0); err != nil || len(calls) != 0 {
		t.Errorf("%v %v", calls, err)
	}
	if _, err := c.Query(ctx, &ng.Request{CallID: req.CallID}); !errors.Is(err, ng.ReasonUnknownCallID) {
		t.Error(err)
	}
	r, err := c.Delete(ctx, &ng.Request{CallID: req.CallID, FromTag: "f"})
	if err != nil || r.Warning != string(ng.ReasonNoMatchingTags) || r.Call != nil {
		t.Errorf("%+v %v", r, err)
	}
	stats, err := c.Statistics(ctx)
	current, _ := stats[addr].Get("currentstatistics").(ng.Dict)
	if err != nil || current.Get("sessionstotal") != int64(0) {
		t.Errorf("%v %v", current, err)
	}
}

// queried waits until the daemon has counted all packets.
func queried(t *testing.T, c *Client, callID string, packets uint64) *ng.CallState {
	t.Helper()
	var state *ng.CallState
	eventually(t, "packets counted", func() bool {
		r, err := c.Query(t.Context(), &ng.Request{CallID: callID})
		if err != nil || r.Call == nil {
			t.Fatalf("%+v %v", r, err)
		}
		state = r.Call
		return state.RTP.Packets >= packets
	})
	return state
}

func checkState(t *testing.T, state *ng.CallState, caller, callee phone, toCaller, toCallee int) {
	t.Helper()
	if state.RTP.Packets != 30 || state.RTP.Bytes == 0 || state.RTP.Errors != 0 || state.RTCP.Packets != 0 {
		t.Errorf("totals %+v %+v", state.RTP, state.RTCP)
	}
	if age := time.Since(time.Unix(state.Created, 0)); age < 0 || age > time.Minute || state.LastSignal < state.Created {
		t.Errorf("created %d, last signal %d", state.Created, state.LastSignal)
	}
	if len(state.Tags) != 2 {
		t.Fatalf("%d tags", len(state.Tags))
	}
	for tag, want := range map[string]struct {
		peer    string
		remote  phone
		local   int
		packets uint64
		ssrc    uint32
	}{
		"f": {"t", caller, toCallee, 20, 0xf0000001},
		"t": {"f", callee, toCaller, 10, 0xf0000002},
	} {
		s := state.Tags[tag]
		if s == nil || s.Tag != tag || len(s.Medias) != 1 || len(s.Medias[0].Streams) != 2 {
			t.Fatalf("tag %s: %+v", tag, s)
		}
		if len(s.Subscriptions) != 1 || s.Subscriptions[0] != (ng.Subscription{Tag: want.peer, Type: "offer/answer"}) {
			t.Errorf("tag %s: subscriptions %+v", tag, s.Subscriptions)
		}
		m := s.Medias[0]
		if m.Index != 1 || m.Type != "audio" || m.Protocol != "RTP/AVP" || !slices.Contains(m.Flags, "send") {
			t.Errorf("tag %s: media %+v", tag, m)
		}
		rtp, rtcp := m.Streams[0], m.Streams[1]
		endpoint := ng.EndpointState{Family: "IPv4", Address: "127.0.0.1", Port: want.remote.port}
		if rtp.LocalPort != want.local || rtcp.LocalPort != want.local+1 || rtp.Endpoint != endpoint || rtp.AdvertisedEndpoint != endpoint {
			t.Errorf("tag %s: ports %d %d, endpoints %+v %+v", tag, rtp.LocalPort, rtcp.LocalPort, rtp.Endpoint, rtp.AdvertisedEndpoint)
		}
		if rtp.Stats.Packets != want.packets || rtp.SSRC != want.ssrc || !slices.Contains(rtp.Flags, "RTP") || !slices.Contains(rtcp.Flags, "RTCP") {
			t.Errorf("tag %s: stream %+v", tag, rtp)
		}
	}
	if state.Tags["f"].Label != "caller" {
		t.Errorf("label %q", state.Tags["f"].Label)
	}
}

// A full rtpengine refuses; the client goes to the next one.
func TestRTPEngineFull(t *testing.T) {
	full, free := rtpengine(t, "--max-sessions=0"), rtpengine(t)
	c := connect(t, func(cfg *Config) { cfg.Interval, cfg.Deadline = 200*time.Millisecond, 10*time.Second }, full, free)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	call := callOn(t, c, full, "call")
	offer := newCall(call)
	offer.SDP = newPhone(t).sdp()
	_, err := c.Nodes()[0].Do(t.Context(), &ng.Request{Command: ng.CommandOffer, CallID: call, FromTag: "f", SDP: offer.SDP, Supports: []string{ng.SupportsLoadLimit}})
	if !errors.Is(err, ng.ReasonSessionLimit) {
		t.Fatal(err)
	}
	if _, err := c.Offer(t.Context(), offer); err != nil {
		t.Fatal(err)
	}
	if calls, err := c.Nodes()[1].List(t.Context(), 0); err != nil || !slices.Equal(calls, []string{call}) {
		t.Errorf("%v %v", calls, err)
	}
}

// Spellings that this package writes or documents are understood by rtpengine:
// the effect shows in the SDP.
func TestRTPEngineUnderstandsFlags(t *testing.T) {
	c := connect(t, func(cfg *Config) { cfg.Interval, cfg.Deadline = 200*time.Millisecond, 10*time.Second }, rtpengine(t))
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		req           ng.Request
		with, without []string
	}{
		"webrtc": {ng.Request{
			TransportProtocol: ng.ProtocolTLSSAVPF, ICE: ng.ICEForce, RTCPMux: ng.RTCPMuxOffer | ng.RTCPMuxRequire,
			DTLS: ng.DTLSPassive, SDES: ng.SDES{Off: true}, Flags: ng.FlagsOf(ng.FlagGenerateMID), DTLSFingerprint: "sha-256",
		}, []string{"UDP/TLS/RTP/SAVPF", "a=candidate:", "a=rtcp-mux", "a=fingerprint:sha-256", "a=mid:"}, []string{"a=crypto"}},
		"sdes": {ng.Request{
			TransportProtocol: ng.ProtocolRTPSAVP, ICE: ng.ICERemove, DTLS: ng.DTLSOff,
			SDES: ng.SDES{Pad: true, Lifetime: true},
		}, []string{"RTP/SAVP", "AES_CM_128_HMAC_SHA1_32", "==|2^31"}, []string{"a=fingerprint", "a=candidate"}},
		"sdes without": {ng.Request{
			TransportProtocol: ng.ProtocolRTPSAVP, DTLS: ng.DTLSOff, SDES: ng.SDES{No: []string{"AES_CM_128_HMAC_SHA1_80"}},
		}, []string{"AES_CM_128_HMAC_SHA1_32"}, []string{"AES_CM_128_HMAC_SHA1_80"}},
		"address": {ng.Request{MediaAddress: "192.0.2.77", Replace: ng.ReplaceOrigin, Flags: ng.FlagsOf(ng.FlagNoRTCPAttribute)},
			[]string{"c=IN IP4 192.0.2.77", "o=- 1 1 IN IP4 192.0.2.77"}, []string{"a=rtcp:"}},
		"full rtcp": {ng.Request{Flags: ng.FlagsOf(ng.FlagFullRTCPAttribute)}, []string{" IN IP4 127.0.0.1\r\n", "a=rtcp:"}, nil},
		"loop":      {ng.Request{Flags: ng.FlagsOf(ng.FlagLoopProtect)}, []string{"a=rtpengine:"}, nil},
		"codec":     {ng.Request{Codec: ng.Codec{Transcode: []string{"PCMU"}, Mask: []string{"PCMA"}}}, []string{"RTP/AVP 0\r\n"}, nil},
	} {
		req := tc.req
		req.CallID, req.FromTag, req.SDP = name, "f", newPhone(t).sdp()
		r, err := c.Offer(t.Context(), &req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range tc.with {
			if !strings.Contains(r.SDP, w) {
				t.Errorf("%s: no %q in\n%s", name, w, r.SDP)
			}
		}
		for _, w := range tc.without {
			if strings.Contains(r.SDP, w) {
				t.Errorf("%s: %q in\n%s", name, w, r.SDP)
			}
		}
	}
}
