package bridge

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// told takes what is answered upstream.
type told struct{ codes []int }

func (t *told) Send(res *sip.Response) error {
	t.codes = append(t.codes, res.StatusCode)
	return nil
}

// info sends INFO in the dialog; it returns what the step decided and what it answered.
func (f *fixture) info(from leg, to leg, body string) (request.Verdict, []int) {
	f.t.Helper()
	msg, err := sip.ParseMessage([]byte("INFO sip:y@h SIP/2.0\r\n" + f.message(from.tag, to.tag, body)))
	require.NoError(f.t, err)
	up := &told{}
	r := &request.Request{
		Msg: msg.(*sip.Request), Original: msg.(*sip.Request), InDialog: true, Profile: from.profile, Log: zap.NewNop(), Responder: up,
		Targets: []request.Target{{Profile: to.profile}},
	}
	v, err := f.step.Handle(f.t.Context(), r)
	require.NoError(f.t, err)
	return v, up.codes
}

const eventSDP = "v=0\r\nm=audio 1 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"

// agreed is a call of a page and a phone that said answer.
func agreed(t *testing.T, answer string) *fixture {
	f := newFixture(t)
	invite, err := f.send("INVITE", page, "", eventSDP, phone)
	require.NoError(t, err)
	invite.respond(0, 200, "b", answer)
	invite.finish(0, request.Outcome{Code: 200})
	return f
}

func TestInfoBecomesTelephoneEvents(t *testing.T) {
	f := agreed(t, eventSDP)
	for i, c := range []struct {
		body     string
		code     string
		duration int
	}{
		{"application/dtmf-relay|Signal=5\r\nDuration=160\r\n", "5", 160},
		{"application/dtmf-relay|Signal= *\nDuration= 90000\n", "*", 5000},
		{"Application/DTMF-Relay; x=y|signal=11", "#", 250},
		{"application/dtmf|d\r\n", "D", 250},
	} {
		v, codes := f.info(page, phone, c.body)
		require.Equal(t, request.Done, v, c.body)
		require.Equal(t, []int{200}, codes)
		asked := f.daemon.asked[2+i]
		require.Equal(t, ng.CommandPlayDTMF, asked.Command)
		require.Equal(t, []string{"a", c.code}, []string{asked.FromTag, asked.DTMF.Code}, c.body)
		require.Equal(t, c.duration, *asked.DTMF.Duration)
	}
	n := len(f.daemon.lines())
	for _, body := range []string{"", "application/dtmf|", "application/dtmf|55", "application/dtmf-relay|Duration=5", "application/media_control+xml|<x/>", "application/dtmf|16"} {
		v, codes := f.info(page, phone, body)
		require.Equal(t, request.Continue, v, body)
		require.Empty(t, codes)
	}
	v, _ := f.info(phone, page, "application/dtmf|5")
	require.Equal(t, request.Continue, v, "the page takes digits as they are sent")
	require.Len(t, f.daemon.lines(), n)
	f.daemon.fail[ng.CommandPlayDTMF] = ng.ReasonInternal
	v, codes := f.info(page, phone, "application/dtmf|5")
	require.Equal(t, request.Continue, v, "what the daemon can not do goes on as INFO")
	require.Empty(t, codes)
}

func TestInfoGoesOnWithoutEvents(t *testing.T) {
	f := agreed(t, "v=0\r\nm=audio 1 RTP/AVP 0\r\n")
	v, codes := f.info(page, phone, "application/dtmf|5")
	require.Equal(t, request.Continue, v, "the phone has not agreed to them")
	require.Empty(t, codes)
	v, _ = f.info(leg{"x", "webrtc"}, leg{"y", "sip"}, "application/dtmf|5")
	require.Equal(t, request.Continue, v)
}

func TestTelephoneEventsBecomeInfo(t *testing.T) {
	f := newFixture(t)
	d := &desk{f: f}
	f.step.Serve(d)
	d.mu.Lock()
	invite, err := f.send("INVITE", leg{"a", "srtp"}, "", eventSDP, phone)
	require.NoError(t, err)
	invite.respond(0, 200, "b", eventSDP)
	invite.finish(0, request.Outcome{Code: 200})
	d.mu.Unlock()
	for _, odd := range []string{"", "{", `{"type":"DTMF"}`, `{"type":"DTMF","callid":"call","source_tag":"b","event":16}`, `{"type":"x","callid":"call","source_tag":"b","event":1}`,
		`{"type":"DTMF","callid":"call","source_tag":"stranger","event":1}`, `{"type":"DTMF","callid":"other","source_tag":"b","event":1}`,
		`{"type":"DTMF","callid":"call","source_tag":"a","event":1,"duration":100}`} {
		f.step.Event([]byte(odd)) // the last one: the phone takes telephone events
	}
	f.step.Event([]byte(`{"callid":"call","source_tag":"b","tags":["a","b"],"type":"DTMF","timestamp":1,"source_ip":"h","event":11,"duration":160,"volume":10}`))
	require.Eventually(t, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.asked) > 0
	}, time.Second, time.Millisecond)
	time.Sleep(20 * time.Millisecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Equal(t, []string{"b>a application/dtmf-relay Signal=#\r\nDuration=160\r\n"}, d.asked)
}
