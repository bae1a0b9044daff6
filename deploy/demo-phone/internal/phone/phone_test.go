package phone

import (
	"context"
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/plainsdp"
	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/tone"
)

func TestMain(m *testing.M) {
	sip.UDPMTUSize = 65000
	goleak.VerifyTestMain(m)
}

func parseAll(t *testing.T, accounts ...string) []Account {
	t.Helper()
	var out []Account
	for _, text := range accounts {
		a, err := ParseAccount(text, Account{})
		require.NoError(t, err)
		out = append(out, a)
	}
	return out
}

// start runs a phone on loopback. A registrar stands for the outbound proxy; here it is simply the other phone.
func start(t *testing.T, change func(*Config), accounts ...string) *Phone {
	t.Helper()
	config := Config{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Expires: time.Minute, Domain: "example.org",
		Codecs: []string{"PCMA", "PCMU"}, Accounts: parseAll(t, accounts...), Log: zap.NewNop(),
	}
	if change != nil {
		change(&config)
	}
	p, err := Start(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func uri(p *Phone, user string) string { return "sip:" + user + "@" + p.Address().String() }

// newest is the newest call of p, once it is in state.
func newest(t *testing.T, p *Phone, state State) Snapshot {
	t.Helper()
	var last Snapshot
	require.Eventually(t, func() bool {
		calls := p.Calls()
		if len(calls) == 0 {
			return false
		}
		last = calls[len(calls)-1]
		return last.State == state
	}, 8*time.Second, 10*time.Millisecond, "no call became %s", state)
	return last
}

func hears(t *testing.T, p *Phone, hz float64) {
	t.Helper()
	require.Eventually(t, func() bool {
		calls := p.Calls()
		return math.Abs(calls[len(calls)-1].RTP.Frequency-hz) < 5
	}, 5*time.Second, 20*time.Millisecond, "%.0f Hz is not heard", hz)
}

func TestTwoPhonesHearEachOther(t *testing.T) {
	folder := t.TempDir()
	a := start(t, func(c *Config) { c.Record = folder; c.Codecs = []string{"PCMU"} }, "500:x:tone")
	b := start(t, nil, "601:x:tone,ring=100ms")
	call, err := a.Call("500", uri(b, "601"), false)
	require.NoError(t, err)
	newest(t, a, Established)
	hears(t, a, toneHz)
	hears(t, b, toneHz)
	require.Equal(t, 1, call.SendDigits("5"))
	require.Eventually(t, func() bool { return newest(t, b, Established).RTP.Digits == "5" }, 3*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool { return newest(t, a, Established).RTP.Received > 40 }, 3*time.Second, 20*time.Millisecond)
	require.NoError(t, call.Hangup(context.Background()))
	ended := newest(t, b, Ended)
	require.Equal(t, "hung up by the peer", ended.Reason)
	require.Equal(t, "PCMU", ended.Codec)
	require.Zero(t, ended.RTP.Lost)

	wav, err := os.ReadFile(newest(t, a, Ended).Recording)
	require.NoError(t, err)
	pcm := make([]int16, (len(wav)-44)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(wav[44+2*i:]))
	}
	hz, _ := tone.Dominant(pcm[:tone.Rate/2])
	require.InDelta(t, toneHz, hz, 2, "the recording has the peer's tone")
}

func TestOverIPv6(t *testing.T) {
	six := func(c *Config) { c.Listen = netip.MustParseAddrPort("[::1]:0") }
	a, b := start(t, six, "500:x:tone"), start(t, six, "601:x:tone")
	call, err := a.Call("500", uri(b, "601"), false)
	require.NoError(t, err)
	newest(t, a, Established)
	hears(t, a, toneHz)
	hears(t, b, toneHz)
	require.NoError(t, call.Hangup(context.Background()))
	require.Equal(t, 200, newest(t, b, Ended).Status)
}

func TestEchoComesBack(t *testing.T) {
	a, b := start(t, nil, "500:x:tone"), start(t, nil, "600:x:echo")
	_, err := a.Call("500", uri(b, "600"), false)
	require.NoError(t, err)
	newest(t, a, Established)
	hears(t, a, toneHz)
}

func TestLateOfferIsAnsweredInTheACK(t *testing.T) {
	a, b := start(t, nil, "500:x:tone"), start(t, nil, "601:x:tone")
	_, err := a.Call("500", uri(b, "601"), true)
	require.NoError(t, err)
	newest(t, a, Established)
	hears(t, a, toneHz)
	hears(t, b, toneHz)
}

func TestHoldAndResumeFromEitherSide(t *testing.T) {
	a, b := start(t, nil, "500:x:tone"), start(t, nil, "601:x:tone")
	outgoing, err := a.Call("500", uri(b, "601"), false)
	require.NoError(t, err)
	newest(t, a, Established)
	hears(t, b, toneHz)
	incoming, err := b.Find("")
	require.NoError(t, err)
	for _, side := range []struct {
		holder   *Call
		held     *Phone
		receives plainsdp.Direction
	}{{outgoing, b, plainsdp.RecvOnly}, {incoming, a, plainsdp.RecvOnly}} {
		require.Eventually(t, func() bool {
			return side.holder.Hold(context.Background(), plainsdp.SendOnly) == nil
		}, 2*time.Second, 20*time.Millisecond)
		require.EqualValues(t, side.receives, newest(t, side.held, Established).Media)
		time.Sleep(100 * time.Millisecond)
		before := newest(t, side.held, Established).RTP.Sent
		time.Sleep(200 * time.Millisecond)
		require.Equal(t, before, newest(t, side.held, Established).RTP.Sent, "a held phone goes on sending")
		require.True(t, side.holder.Snapshot().LocalHold)
		require.NoError(t, side.holder.Hold(context.Background(), plainsdp.Inactive))
		require.EqualValues(t, plainsdp.Inactive, newest(t, side.held, Established).Media)
		require.NoError(t, side.holder.Resume(context.Background()))
		require.EqualValues(t, plainsdp.SendRecv, newest(t, side.held, Established).Media)
		hears(t, a, toneHz)
		hears(t, b, toneHz)
	}
}

func TestCallBack(t *testing.T) {
	// Each phone is the other's outbound proxy, so that addresses of record are found.
	var b *Phone
	a := start(t, nil, "500:x:tone")
	b = start(t, func(c *Config) { c.Registrar = a.Address().String() }, "602:x:callback")
	_, err := a.Call("500", uri(b, "602"), false)
	require.NoError(t, err)
	first := newest(t, a, Ended)
	require.Equal(t, "hung up by the peer", first.Reason)
	back := newest(t, a, Established)
	require.Equal(t, "incoming", back.Direction)
	require.Equal(t, "sip:602@example.org", back.Peer)
	hears(t, a, toneHz)
}

func TestUnansweredCalls(t *testing.T) {
	for name, c := range map[string]struct {
		callee string
		cancel bool
		status int
	}{
		"busy":            {"601:x:tone,busy", false, 486},
		"cancelled":       {"601:x:tone,no-answer", true, 487},
		"cancelled early": {"601:x:tone,ring=10s,early-media", true, 487},
		"unknown user":    {"602:x:tone", false, 404},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := start(t, nil, "500:x:tone"), start(t, nil, c.callee)
			call, err := a.Call("500", uri(b, "601"), false)
			require.NoError(t, err)
			if c.cancel {
				require.Eventually(t, func() bool { s := call.Snapshot().State; return s == Ringing || s == Early }, 2*time.Second, 5*time.Millisecond)
				require.NoError(t, call.Hangup(context.Background()))
				require.Equal(t, "cancelled by the peer", newest(t, b, Ended).Reason)
			}
			require.Equal(t, c.status, newest(t, a, Ended).Status)
		})
	}
}

func TestEarlyMediaIsHeardBeforeTheAnswer(t *testing.T) {
	a, b := start(t, nil, "500:x:tone"), start(t, nil, "601:x:tone,ring=10s,early-media")
	_, err := a.Call("500", uri(b, "601"), false)
	require.NoError(t, err)
	newest(t, a, Early)
	hears(t, a, toneHz)
	call, err := b.Find("")
	require.NoError(t, err)
	require.NoError(t, call.Hangup(context.Background()))
	require.Equal(t, 480, newest(t, a, Ended).Status)
}

func TestCloseHangsUpAndFreesThePorts(t *testing.T) {
	a, b := start(t, nil, "500:x:tone"), start(t, nil, "601:x:tone")
	_, err := a.Call("500", uri(b, "601"), false)
	require.NoError(t, err)
	port := newest(t, a, Established).RTPPort
	require.NoError(t, a.Close())
	require.Equal(t, "hung up by the peer", newest(t, b, Ended).Reason)
	for _, n := range []uint16{port, port + 1, a.Address().Port()} {
		socket, err := net.ListenPacket("udp", netip.AddrPortFrom(a.Address().Addr(), n).String())
		require.NoError(t, err)
		require.NoError(t, socket.Close())
	}
}

func TestParseAccount(t *testing.T) {
	a, err := ParseAccount("600:a:b:echo,ring=2s,early-media", Account{Busy: true})
	require.NoError(t, err)
	require.Equal(t, Account{User: "600", Password: "a:b", Behaviour: Echo, Ring: 2 * time.Second, EarlyMedia: true, Busy: true}, a)
	for _, bad := range []string{"", "600", "600:echo", ":x:echo", "600:x:sing", "600:x:echo,loud", "600:x:echo,ring=fast"} {
		_, err := ParseAccount(bad, Account{})
		require.Error(t, err, bad)
	}
}
