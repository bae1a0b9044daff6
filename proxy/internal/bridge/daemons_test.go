//go:build integration

package bridge

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// SDP as a browser and as a phone write it, much shortened.
const (
	pageSDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 111 8 126\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n" +
		"a=candidate:1 1 udp 2122260223 127.0.0.1 40000 typ host\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n" +
		"a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n" +
		"a=setup:%s\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:126 telephone-event/8000\r\n"
	phoneSDP = "v=0\r\no=phone 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" +
		"m=audio %d RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)

// forEachDaemon runs f over Debian's rtpengine and over mediad.
func forEachDaemon(t *testing.T, f func(t *testing.T, f *fixture, client *ngclient.Client)) {
	t.Helper()
	mediad := filepath.Join(t.TempDir(), "mediad")
	out, err := exec.Command("go", "build", "-o", mediad, "github.com/tandem-sbc/tandem/mediad").CombinedOutput()
	require.NoError(t, err, string(out))
	for name, program := range map[string]string{"rtpengine": "rtpengine", "mediad": mediad} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
			require.NoError(t, err)
			address := conn.LocalAddr().String()
			require.NoError(t, conn.Close())
			cmd := exec.Command(program, "--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=4",
				"--interface=127.0.0.1", "--listen-ng="+address, "--port-min=46000", "--port-max=46199")
			require.NoError(t, cmd.Start(), "rtpengine of Debian is needed: integration/install.sh")
			t.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				_ = cmd.Wait()
			})
			client, err := ngclient.New(ngclient.Config{Nodes: []ngclient.NodeConfig{{Address: address, Weight: 1}},
				Interval: 200 * time.Millisecond, Deadline: 5 * time.Second, PingInterval: -1})
			require.NoError(t, err)
			t.Cleanup(func() { client.Close() })
			require.Eventually(t, func() bool { return client.Ping(t.Context()) == nil }, 10*time.Second, 50*time.Millisecond)
			fixture := newFixture(t)
			fixture.step.Media = client
			for _, p := range fixture.step.policy.Load().Profiles {
				p.iface = ""
			}
			f(t, fixture, client)
		})
	}
}

var audioPort = regexp.MustCompile(`m=audio (\d+) `)

// port is that of the audio line.
func port(t *testing.T, sdp string) string {
	t.Helper()
	m := audioPort.FindStringSubmatch(sdp)
	require.NotNil(t, m, sdp)
	require.NotEqual(t, "0", m[1])
	return m[1]
}

func forBrowser(t *testing.T, sdp string) {
	t.Helper()
	for _, want := range []string{"UDP/TLS/RTP/SAVPF", "a=candidate:", "a=ice-ufrag:", "a=fingerprint:", "a=rtcp-mux", "a=setup:"} {
		require.Contains(t, sdp, want)
	}
	require.NotContains(t, sdp, "a=crypto")
}

func forPhone(t *testing.T, sdp string) {
	t.Helper()
	require.Contains(t, sdp, " RTP/AVP ")
	for _, never := range []string{"a=candidate:", "a=ice-", "a=fingerprint:", "a=rtcp-mux", "a=setup:", "a=crypto"} {
		require.NotContains(t, sdp, never)
	}
}

func gone(t *testing.T, client *ngclient.Client) {
	t.Helper()
	require.Eventually(t, func() bool {
		calls, err := client.List(t.Context(), 10)
		return err == nil && len(calls) == 0
	}, 3*time.Second, 20*time.Millisecond, "the daemon keeps the call")
}

func browserOffer() string { return fmt.Sprintf(pageSDP, "actpass") }

func TestDaemonsCall(t *testing.T) {
	forEachDaemon(t, func(t *testing.T, f *fixture, client *ngclient.Client) {
		invite, err := f.send("INVITE", page, "", browserOffer(), phone)
		require.NoError(t, err)
		forPhone(t, invite.body(0))
		early := string(invite.respond(0, 183, "b", fmt.Sprintf(phoneSDP, 41000)).Body())
		forBrowser(t, early)
		require.Equal(t, early, string(invite.respond(0, 200, "b", fmt.Sprintf(phoneSDP, 41000)).Body()))
		invite.finish(0, request.Outcome{Code: 200})

		// A re-INVITE of the phone: the browser keeps its flags and its port.
		again, err := f.send("INVITE", phone, "a", fmt.Sprintf(phoneSDP, 41000)+"a=sendonly\r\n", page)
		require.NoError(t, err)
		forBrowser(t, again.body(0))
		require.Equal(t, port(t, early), port(t, again.body(0)))
		answer := again.respond(0, 200, "a", fmt.Sprintf(pageSDP, "active"))
		forPhone(t, string(answer.Body()))
		require.Equal(t, port(t, invite.body(0)), port(t, string(answer.Body())))
		again.finish(0, request.Outcome{Code: 200})

		// One that fails changes nothing.
		failed, err := f.send("INVITE", phone, "a", fmt.Sprintf(phoneSDP, 41200), page)
		require.NoError(t, err)
		failed.finish(0, request.Outcome{Code: 488, Last: true})
		state, err := client.Query(t.Context(), &ng.Request{CallID: "call"})
		require.NoError(t, err)
		require.NotNil(t, state.Call)
		require.Equal(t, 41000, state.Call.Tags["b"].Medias[0].Streams[0].Endpoint.Port, "the phone's port is the old one again")

		bye, err := f.send("BYE", page, "b", "", phone)
		require.NoError(t, err)
		bye.finish(0, request.Outcome{Code: 200})
		gone(t, client)
	})
}

func TestDaemonsLateOffer(t *testing.T) {
	forEachDaemon(t, func(t *testing.T, f *fixture, client *ngclient.Client) {
		invite, err := f.send("INVITE", phone, "", "", page)
		require.NoError(t, err)
		forPhone(t, string(invite.respond(0, 200, "a", browserOffer()).Body()))
		invite.finish(0, request.Outcome{Code: 200})
		ack, err := f.send("ACK", phone, "a", fmt.Sprintf(phoneSDP, 41000), page)
		require.NoError(t, err)
		forBrowser(t, ack.body(0))
		_, err = f.send("BYE", phone, "a", "", page)
		require.NoError(t, err)
		gone(t, client)
	})
}

func TestDaemonsFork(t *testing.T) {
	forEachDaemon(t, func(t *testing.T, f *fixture, client *ngclient.Client) {
		invite, err := f.send("INVITE", page, "", browserOffer(), phone, leg{"c", "webrtc"})
		require.NoError(t, err)
		forPhone(t, invite.body(0))
		forBrowser(t, invite.body(1))
		require.NotEqual(t, port(t, invite.body(0)), port(t, invite.body(1)), "branches have media of their own")
		early := string(invite.respond(0, 183, "b", fmt.Sprintf(phoneSDP, 41000)).Body())
		answered := string(invite.respond(1, 200, "c", fmt.Sprintf(pageSDP, "active")).Body())
		forBrowser(t, answered)
		require.Equal(t, port(t, early), port(t, answered), "the caller has one port")
		invite.finish(1, request.Outcome{Code: 200})
		invite.finish(0, request.Outcome{Code: 487, Cancelled: true})
		time.Sleep(100 * time.Millisecond) // for the delete of the loser
		state, err := client.Query(t.Context(), &ng.Request{CallID: "call"})
		require.NoError(t, err)
		require.NotNil(t, state.Call)
		require.Contains(t, state.Call.Tags, "c", "the winner is untouched by the loser's delete")
		require.True(t, strings.Contains(answered, "a=setup:"))
		_, err = f.send("BYE", page, "c", "", leg{"c", "webrtc"})
		require.NoError(t, err)
		gone(t, client)

		invite, err = f.send("INVITE", page, "", browserOffer(), phone, phone)
		require.NoError(t, err)
		invite.finish(0, request.Outcome{Code: 486})
		invite.finish(1, request.Outcome{Code: 486, Last: true})
		gone(t, client)
	})
}

func TestDaemonsSRTPPhone(t *testing.T) {
	srtp := leg{"d", "srtp"}
	sdes := strings.Replace(fmt.Sprintf(phoneSDP, 41000), "RTP/AVP", "RTP/SAVP", 1) +
		"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n"
	forSRTP := func(t *testing.T, sdp string) {
		t.Helper()
		require.Contains(t, sdp, " RTP/SAVP ")
		require.Contains(t, sdp, "a=crypto:")
		require.NotContains(t, sdp, "NULL_HMAC", "a suite without encryption")
		for _, never := range []string{"a=candidate:", "a=ice-", "a=fingerprint:", "a=rtcp-mux", "a=setup:"} {
			require.NotContains(t, sdp, never)
		}
	}
	forEachDaemon(t, func(t *testing.T, f *fixture, client *ngclient.Client) {
		invite, err := f.send("INVITE", page, "", browserOffer(), srtp)
		require.NoError(t, err)
		forSRTP(t, invite.body(0))
		forBrowser(t, string(invite.respond(0, 200, "d", sdes).Body()))
		_, err = f.send("BYE", page, "d", "", srtp)
		require.NoError(t, err)
		gone(t, client)

		f.step.forget(f.step.find("call"))
		invite, err = f.send("INVITE", srtp, "", sdes, page)
		require.NoError(t, err)
		forBrowser(t, invite.body(0))
		forSRTP(t, string(invite.respond(0, 200, "a", fmt.Sprintf(pageSDP, "active")).Body()))
		_, err = f.send("BYE", srtp, "a", "", page)
		require.NoError(t, err)
		gone(t, client)
	})
}
