package legacy

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is a handler that knows calls by name only and notes what it is told.
type daemon struct {
	calls map[string]bool
	told  []*ng.Request
}

func (d *daemon) Handle(_ context.Context, req *ng.Request) ng.Reply {
	d.told = append(d.told, req)
	switch req.Command {
	case ng.CommandOffer:
		if req.CallID == "panic" {
			panic("on purpose")
		}
		d.calls[req.CallID] = true
	case ng.CommandDelete:
		if !d.calls[req.CallID] {
			return ng.Fail(ng.ReasonNoMatchingTags)
		}
		delete(d.calls, req.CallID)
		return &ng.CallReply{}
	default:
		if !d.calls[req.CallID] {
			return ng.Fail(ng.ReasonUnknownCallID)
		}
	}
	if req.Command == ng.CommandQuery {
		return &ng.CallReply{Call: &ng.CallState{
			LastSignal: time.Now().Unix() - 100,
			RTP:        ng.Counters{Packets: 17}, RTCP: ng.Counters{Packets: 5},
			Tags: map[string]*ng.TagState{"ft": {Medias: []ng.MediaState{{Streams: []ng.StreamState{{LastPacket: time.Now().Unix() - 10}}}}}},
		}}
	}
	return &ng.SDPReply{SDP: "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n"}
}

func newInterpreter() (*Interpreter, *daemon) {
	d := &daemon{calls: make(map[string]bool)}
	return New(Config{Handler: d, SilentTimeout: func() time.Duration { return time.Hour }, Log: zap.NewNop()}), d
}

var client = netip.MustParseAddrPort("127.0.0.1:9")

func (i *Interpreter) say(text string) string {
	return string(i.Handle(context.Background(), []byte(text), client))
}

// The answers are those of rtpengine 10.5 to the same datagrams, but for the
// ports and addresses of this daemon.
func TestCommands(t *testing.T) {
	i, _ := newInterpreter()
	for n, c := range []struct{ command, want string }{
		{"V", "20040107"},
		{"v", "20040107"},
		{"VX 1", "20040107"},
		{"VF 20040107", "1"},
		{"VF 20050322", "1"},
		{"VF 20060704", "1"},
		{"VF 20081102", "0"},
		{"VF", "0"}, // rtpengine crashes
		{"U call 10.0.0.1 5000 ft;1", "30000 192.0.2.1 4"},
		{"l call 10.0.0.1 5000 ft;1 tt;1\r\n", "30000 192.0.2.1 4"},
		{"L nocall 10.0.0.1 5000 ft;1 tt;1", "0 0.0.0.0"},
		{"U call 10.0.0.1 5000 ft", "5000 10.0.0.1"},
		{"U call host 5000 ft;1", "5000 host"},
		{"U call 10.0.0.1 5000", "5000 10.0.0.1"},
		{"U call 10.0.0.1 5000 ft;x", "5000 10.0.0.1"},
		{"U call 10.0.0.1 5000 ft;1 tt;1 more", "5000 10.0.0.1"},
		{"U call 999.0.0.1 5000 ft;1", "E8"},
		{"U call 10.0.0.1 99999 ft;1", "E8"},
		{"U call 10.0.0.1 5000 ft;33", "E8"},
		{"U panic 10.0.0.1 5000 ft;1", "E8"},
		{"U call", "E8"},
		{"U", "E8"},
		{"Q call ft tt", "3590 17 5 0 0"},
		{"Q call other tt", "E8"},
		{"Q call", "E8"},
		{"Q nocall ft tt", "E8"},
		{"D call", "E8"},
		{"D call;branch ft;1 tt;1", "0"},
		{"D call ft tt", "E8"},
		{"R call ft", "E8"},
		{"X", "E8"},
	} {
		require.Equal(t, fmt.Sprintf("k%d %s\n", n, c.want), i.say(fmt.Sprintf("k%d %s", n, c.command)), c.command)
	}
	require.Equal(t, "cookie E8\n", i.say("cookie"))
	for _, silent := range []string{"", "\n", " V", "\tV"} {
		require.Empty(t, i.say(silent), "%q", silent)
	}
}

func TestWhatTheDaemonIsTold(t *testing.T) {
	i, d := newInterpreter()
	i.say("1 UEIr call;b 2001:db8::1 5000 ft;1")
	i.say("2 LIE call 10.0.0.2 6000 ft;1 tt;1")
	i.say("3 UE call 10.0.0.2 6000 ft;1")
	offer, answer := d.told[0], d.told[1]
	require.Equal(t, ng.CommandOffer, offer.Command)
	require.Equal(t, [2]string{"external", "internal"}, offer.Direction)
	require.Equal(t, "call", offer.CallID)
	require.Equal(t, "ft", offer.FromTag)
	require.Equal(t, client, offer.Peer)
	require.Contains(t, offer.SDP, "c=IN IP6 2001:db8::1\r\n")
	require.Contains(t, offer.SDP, "m=audio 5000 RTP/AVP ")
	require.Equal(t, ng.CommandAnswer, answer.Command)
	require.Equal(t, [2]string{"internal", "external"}, answer.Direction)
	require.Equal(t, "tt", answer.ToTag)
	require.Equal(t, [2]string{}, d.told[2].Direction)
}

func TestRepetitionsDoNothingTwice(t *testing.T) {
	i, d := newInterpreter()
	first := i.say("c U call 10.0.0.1 5000 ft;1")
	require.Equal(t, first, i.say("c U call 10.0.0.1 5000 ft;1"))
	require.Len(t, d.told, 1)
	require.Equal(t, "v 20040107\n", i.say("v V"))
	require.Equal(t, "v 0\n", i.say("v VF 1"), "versions are not kept")
}

func TestMediasOfACallEndTogether(t *testing.T) {
	i, d := newInterpreter()
	for n := range 3 {
		i.say(fmt.Sprintf("%d U call 10.0.0.1 5000 ft;%d", n, n+1))
	}
	require.Len(t, d.calls, 3)
	require.Equal(t, "q 3590 51 15 0 0\n", i.say("q Q call ft tt"))
	require.Equal(t, "d 0\n", i.say("d D call ft tt"))
	require.Empty(t, d.calls)
}

func TestMemoryIsBounded(t *testing.T) {
	now := time.Now()
	a := newAnswers(func() time.Time { return now })
	for n := range 5 * maxAnswers {
		a.put(fmt.Sprint(n), []byte("x"))
	}
	require.LessOrEqual(t, len(a.current)+len(a.previous), 2*maxAnswers)
	a.put("big", make([]byte, maxKept+1))
	_, ok := a.get("big")
	require.False(t, ok)
	a.put("c", []byte("x"))
	now = now.Add(keep + time.Second)
	_, ok = a.get("c")
	require.True(t, ok)
	now = now.Add(2 * keep)
	_, ok = a.get("c")
	require.False(t, ok)

	f := newFurther()
	for n := range 2 * maxFurther {
		f.note(fmt.Sprint(n), 2)
	}
	require.Len(t, f.calls, maxFurther)
}

func FuzzHandle(f *testing.F) {
	for _, s := range []string{"1 V", "1 UEI c;b 10.0.0.1 5000 f;1 t;1", "1 L c ::1 1 f;1", "1 D c f", "1 Q c f t", "1 VF 1", "x", " "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		i, _ := newInterpreter()
		answer := i.say(text)
		if answer != "" && (!strings.HasSuffix(answer, "\n") || strings.Count(answer, "\n") != 1) {
			t.Errorf("%q is answered with %q", text, answer)
		}
	})
}
