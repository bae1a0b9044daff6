package bridge

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is a media daemon that writes down what it is asked and answers an
// SDP that names the command and what went in.
type daemon struct {
	mu    sync.Mutex
	asked []ng.Request
	fail  map[ng.Command]error
	hold  chan struct{} // deletes wait for it if not nil

	released []string
	failures []error // of the next commands, before fail is looked at
}

func (d *daemon) ask(command ng.Command, req *ng.Request) (*ng.SDPReply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := *req
	r.Command = command
	d.asked = append(d.asked, r)
	if len(d.failures) > 0 {
		err := d.failures[0]
		if d.failures = d.failures[1:]; err != nil {
			return nil, err
		}
	}
	if err := d.fail[command]; err != nil {
		return nil, err
	}
	return &ng.SDPReply{SDP: fmt.Sprintf("v=0 %s#%d(%s)", command, len(d.asked), req.SDP)}, nil
}

func (d *daemon) Offer(_ context.Context, req *ng.Request) (*ng.SDPReply, error) {
	return d.ask(ng.CommandOffer, req)
}

func (d *daemon) Answer(_ context.Context, req *ng.Request) (*ng.SDPReply, error) {
	return d.ask(ng.CommandAnswer, req)
}

func (d *daemon) Delete(ctx context.Context, req *ng.Request) (*ng.CallReply, error) {
	d.mu.Lock()
	hold := d.hold
	d.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	_, err := d.ask(ng.CommandDelete, req)
	return &ng.CallReply{}, err
}

func (d *daemon) PlayDTMF(_ context.Context, req *ng.Request) error {
	_, err := d.ask(ng.CommandPlayDTMF, req)
	return err
}

func (d *daemon) ReleaseCall(callID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.released = append(d.released, callID)
}

// lines describes the commands: what it is, whose SDP to whom, and the profile.
func (d *daemon) lines() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, r := range d.asked {
		line := fmt.Sprintf("%s %s>%s", r.Command, r.FromTag, r.ToTag)
		if r.SDP != "" {
			line += " " + r.SDP + " " + string(r.TransportProtocol)
		}
		if r.ViaBranch != "" {
			line += " " + r.ViaBranch
		}
		out = append(out, line)
	}
	return out
}

// fixture is a step over a daemon.
type fixture struct {
	t      *testing.T
	daemon *daemon
	step   *Step
	n      int
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, daemon: &daemon{fail: make(map[ng.Command]error)}}
	profiles := make(map[string]*Profile)
	for name, words := range map[string]string{
		"webrtc": "UDP/TLS/RTP/SAVPF ICE=force SDES-off rtcp-mux-offer generate-mid",
		"sip":    "RTP/AVP ICE=remove DTLS=passive SDES-off rtcp-mux-demux",
		"srtp":   "RTP/SAVP ICE=remove DTLS=off SDES-no-NULL_HMAC_SHA1_80 SDES-no-NULL_HMAC_SHA1_32 rtcp-mux-demux",
	} {
		p, err := Compile(words, map[string]string{"webrtc": "out", "sip": "in"}[name], name == "webrtc", map[string]Digits{"sip": DigitsRTP, "srtp": DigitsInfo}[name])
		require.NoError(t, err)
		profiles[name] = p
	}
	f.step = New(Config{Media: f.daemon, Policy: Policy{Profiles: profiles, MaxCalls: 3, Timeout: time.Second}, Log: zap.NewNop()})
	t.Cleanup(f.step.Close)
	return f
}

// leg is a side of a call.
type leg struct{ tag, profile string }

var (
	page  = leg{"a", "webrtc"}
	phone = leg{"b", "sip"}
)

// transaction is a request on its way, by one or more branches.
type transaction struct {
	f        *fixture
	r        *request.Request
	branches []*request.Branch
}

func (f *fixture) message(from, to, body string) string {
	f.n++
	text := fmt.Sprintf("Via: SIP/2.0/UDP h;branch=z9hG4bK%d\r\nFrom: <sip:x@h>;tag=%s\r\nTo: <sip:y@h>", f.n, from)
	if to != "" {
		text += ";tag=" + to
	}
	text += "\r\nCall-ID: call\r\nCSeq: 1 X\r\n"
	if body != "" {
		contentType, content, found := strings.Cut(body, "|")
		if !found {
			contentType, content = typeSDP, body
		}
		text += "Content-Type: " + contentType + "\r\n"
		return text + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(content), content)
	}
	return text + "Content-Length: 0\r\n\r\n"
}

// send passes a request to each of the targets. An initial one has no to leg.
func (f *fixture) send(method string, from leg, toTag, body string, targets ...leg) (*transaction, error) {
	f.t.Helper()
	msg, err := sip.ParseMessage([]byte(method + " sip:y@h SIP/2.0\r\n" + f.message(from.tag, toTag, body)))
	require.NoError(f.t, err)
	req := msg.(*sip.Request)
	tr := &transaction{f: f, r: &request.Request{
		Msg: req, Original: req, InDialog: toTag != "", Profile: from.profile, Log: zap.NewNop(),
		Source: netip.MustParseAddrPort("192.0.2.1:5060"),
	}}
	for _, target := range targets {
		tr.r.Targets = append(tr.r.Targets, request.Target{Profile: target.profile})
	}
	v, err := f.step.Handle(f.t.Context(), tr.r)
	require.NoError(f.t, err)
	require.Equal(f.t, request.Continue, v)
	var failed error
	for i, target := range tr.r.Targets {
		b := &request.Branch{ID: fmt.Sprintf("branch%d", i), Msg: request.Clone(req), Target: target}
		tr.branches = append(tr.branches, b)
		for _, o := range tr.r.Observers {
			if err := o.Outgoing(f.t.Context(), tr.r, b); err != nil {
				failed = err
			}
		}
	}
	return tr, failed
}

// body is what branch i carries on.
func (tr *transaction) body(i int) string { return string(tr.branches[i].Msg.Body()) }

// respond passes a response of branch i and returns what goes upstream.
func (tr *transaction) respond(i, code int, toTag, body string) *sip.Response {
	tr.f.t.Helper()
	msg, err := sip.ParseMessage([]byte(fmt.Sprintf("SIP/2.0 %d X\r\n", code) + tr.f.message(tr.r.FromTag(), toTag, body)))
	require.NoError(tr.f.t, err)
	res := msg.(*sip.Response)
	for _, o := range tr.r.Observers {
		require.NoError(tr.f.t, o.Incoming(tr.f.t.Context(), tr.r, tr.branches[i], res))
	}
	return res
}

func (tr *transaction) finish(i int, o request.Outcome) {
	for _, observer := range tr.r.Observers {
		observer.Finished(tr.f.t.Context(), tr.r, tr.branches[i], o)
	}
}

// settled waits until the daemon was asked these commands.
func (f *fixture) settled(want ...string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return len(f.daemon.lines()) >= len(want) }, time.Second, time.Millisecond, "%v", want)
	require.Equal(f.t, want, f.daemon.lines())
}

const (
	browserWay = " UDP/TLS/RTP/SAVPF"
	phoneWay   = " RTP/AVP"
)

func TestCall(t *testing.T) {
	f := newFixture(t)
	invite, err := f.send("INVITE", page, "", "v=offer", phone)
	require.NoError(t, err)
	require.Equal(t, "v=0 offer#1(v=offer)", invite.body(0))
	require.Equal(t, "20", invite.branches[0].Msg.ContentLength().Value())

	early := invite.respond(0, 183, "b", "v=answer")
	require.Equal(t, "v=0 answer#2(v=answer)", string(early.Body()))
	again := invite.respond(0, 183, "b", "v=answer")
	require.Equal(t, early.Body(), again.Body())
	final := invite.respond(0, 200, "b", "v=answer")
	require.Equal(t, early.Body(), final.Body(), "the browser has taken the 183's SDP as final")
	repeated := invite.respond(0, 200, "b", "v=answer")
	require.Equal(t, early.Body(), repeated.Body())
	invite.finish(0, request.Outcome{Code: 200})
	_, err = f.send("ACK", page, "b", "", phone)
	require.NoError(t, err)

	bye, err := f.send("BYE", phone, "a", "", page)
	require.NoError(t, err)
	_, err = f.send("BYE", page, "b", "", phone) // crosses
	require.NoError(t, err)
	bye.finish(0, request.Outcome{Code: 200})
	f.settled("offer a> v=offer"+phoneWay, "answer a>b v=answer"+browserWay, "answer a>b v=answer"+browserWay, "delete b>")
	require.Eventually(t, func() bool { return f.step.Calls() == 0 }, time.Second, time.Millisecond)

	first, last := f.daemon.asked[0], f.daemon.asked[1]
	require.Equal(t, [2]string{"out", "in"}, first.Direction)
	require.Equal(t, [2]string{"in", "out"}, last.Direction)
	require.Equal(t, ng.ICERemove, first.ICE)
	require.Equal(t, ng.ICEForce, last.ICE)
	require.Equal(t, ng.DTLSPassive, first.DTLS)
	require.Equal(t, "192.0.2.1", first.ReceivedFrom.String())
	require.Equal(t, 0, *f.daemon.asked[3].DeleteDelay)
}

func TestReinviteFromThePhoneKeepsTheBrowsersFlags(t *testing.T) {
	f := newFixture(t)
	hold, err := f.send("INVITE", phone, "a", "v=hold", page)
	require.NoError(t, err)
	hold.respond(0, 200, "a", "v=held")
	update, err := f.send("UPDATE", page, "b", "v=up", phone)
	require.NoError(t, err)
	update.respond(0, 200, "b", "v=down")
	f.settled("offer b>a v=hold"+browserWay, "answer b>a v=held"+phoneWay, "offer a>b v=up"+phoneWay, "answer a>b v=down"+browserWay)
}

func TestLateOffer(t *testing.T) {
	f := newFixture(t)
	invite, err := f.send("INVITE", phone, "", "", page)
	require.NoError(t, err)
	res := invite.respond(0, 200, "a", "v=offer")
	require.Equal(t, "v=0 offer#1(v=offer)", string(res.Body()))
	require.Equal(t, res.Body(), invite.respond(0, 200, "a", "v=offer").Body())
	ack, err := f.send("ACK", phone, "a", "v=answer", page)
	require.NoError(t, err)
	require.Equal(t, "v=0 answer#2(v=answer)", ack.body(0))
	again, err := f.send("ACK", phone, "a", "v=answer", page)
	require.NoError(t, err)
	require.Equal(t, ack.body(0), again.body(0))
	f.settled("offer a> v=offer"+phoneWay, "answer a>b v=answer"+browserWay)

	// Within the call, as for a session refresh by a 3PCC controller.
	again, err = f.send("INVITE", phone, "a", "", page)
	require.NoError(t, err)
	again.respond(0, 200, "a", "v=offer2")
	_, err = f.send("ACK", phone, "a", "v=answer2", page)
	require.NoError(t, err)
	require.Equal(t, []string{"offer a>b v=offer2" + phoneWay, "answer a>b v=answer2" + browserWay}, f.daemon.lines()[2:])
}

func TestReliableProvisional(t *testing.T) {
	f := newFixture(t)
	invite, err := f.send("INVITE", phone, "", "", page)
	require.NoError(t, err)
	invite.respond(0, 183, "a", "v=offer")
	prack, err := f.send("PRACK", phone, "a", "v=answer", page) // answers the 183
	require.NoError(t, err)
	prack.respond(0, 200, "a", "")
	prack, err = f.send("PRACK", phone, "a", "v=new", page) // offers anew
	require.NoError(t, err)
	prack.respond(0, 200, "a", "v=agreed")
	f.settled("offer a> v=offer"+phoneWay, "answer a>b v=answer"+browserWay, "offer b>a v=new"+browserWay, "answer b>a v=agreed"+phoneWay)
}

func TestFork(t *testing.T) {
	f := newFixture(t)
	invite, err := f.send("INVITE", page, "", "v=o", phone, page)
	require.NoError(t, err)
	invite.respond(0, 183, "b1", "v=p")
	invite.respond(1, 200, "b2", "v=q")
	invite.finish(1, request.Outcome{Code: 200})
	invite.finish(0, request.Outcome{Code: 487, Cancelled: true})
	f.settled("offer a> v=o"+phoneWay+" branch0", "offer a> v=o"+browserWay+" branch1",
		"answer a>b1 v=p"+browserWay+" branch0", "answer a>b2 v=q"+browserWay+" branch1", "delete a> branch0")
}

func TestAllBranchesFail(t *testing.T) {
	f := newFixture(t)
	invite, err := f.send("INVITE", page, "", "v=o", phone, phone)
	require.NoError(t, err)
	invite.finish(0, request.Outcome{Code: 486})
	invite.finish(1, request.Outcome{Code: 408, Local: true, Last: true})
	require.Eventually(t, func() bool { return len(f.daemon.lines()) == 4 }, time.Second, time.Millisecond)
	require.ElementsMatch(t, []string{"delete a> branch0", "delete a>"}, f.daemon.lines()[2:])
	require.Eventually(t, func() bool { return f.step.Calls() == 0 }, time.Second, time.Millisecond)
}

// The delete of an attempt that failed must not hit the next one under the same
// Call-ID.
func TestSecondAttemptWaitsForTheDelete(t *testing.T) {
	f := newFixture(t)
	f.daemon.hold = make(chan struct{})
	invite, err := f.send("INVITE", page, "", "v=1", phone)
	require.NoError(t, err)
	invite.finish(0, request.Outcome{Code: 407, Last: true})
	time.AfterFunc(50*time.Millisecond, func() { close(f.daemon.hold) })
	_, err = f.send("INVITE", page, "", "v=2", phone)
	require.NoError(t, err)
	f.settled("offer a> v=1"+phoneWay, "delete a>", "offer a> v=2"+phoneWay)
	require.Equal(t, 1, f.step.Calls())
}

func TestFailedReinviteIsRolledBack(t *testing.T) {
	f := newFixture(t)
	invite, err := f.send("INVITE", page, "", "v=o1", phone)
	require.NoError(t, err)
	invite.respond(0, 200, "b", "v=a1")
	invite.finish(0, request.Outcome{Code: 200})
	again, err := f.send("INVITE", phone, "a", "v=o2", page)
	require.NoError(t, err)
	again.finish(0, request.Outcome{Code: 488, Last: true})
	want := []string{"offer a> v=o1" + phoneWay, "answer a>b v=a1" + browserWay, "offer b>a v=o2" + browserWay,
		"offer a>b v=o1" + phoneWay, "answer a>b v=a1" + browserWay}
	f.settled(want...)
	// 481 and 408 leave nothing to go back to; nothing is deleted before BYE.
	for _, code := range []int{481, 408} {
		again, err = f.send("INVITE", phone, "a", "v=o3", page)
		require.NoError(t, err)
		again.finish(0, request.Outcome{Code: code, Last: true})
		want = append(want, "offer b>a v=o3"+browserWay)
		f.settled(want...)
	}
}

func TestDaemonFails(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{ngclient.ErrTimeout, 503}, {ngclient.ErrNoNode, 503}, {ng.ReasonOutOfPorts, 503},
		{ng.ReasonSDPParse, 488}, {ng.ReasonInternal, 500},
	} {
		f := newFixture(t)
		f.daemon.fail[ng.CommandOffer] = fmt.Errorf("node: %w", c.err)
		invite, err := f.send("INVITE", page, "", "v=o", phone)
		var e *request.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, c.code, e.Code, c.err)
		invite.finish(0, request.Outcome{Code: c.code, Local: true, Last: true})
		f.settled("offer a> v=o"+phoneWay, "delete a>")
	}
	f := newFixture(t)
	f.daemon.fail[ng.CommandAnswer] = ngclient.ErrTimeout
	invite, err := f.send("INVITE", page, "", "v=o", phone)
	require.NoError(t, err)
	res := invite.respond(0, 200, "b", "v=inner")
	require.Empty(t, res.Body(), "the phone's own SDP must not get out")
	require.Nil(t, res.ContentType())
}

// Two forks have answered: the BYE of one leaves the media, that of the last one ends them.
func TestMediaOutliveTheFirstFork(t *testing.T) {
	f := newFixture(t)
	invite, err := f.send("INVITE", page, "", "v=o", phone)
	require.NoError(t, err)
	invite.respond(0, 200, "b", "v=a")
	invite.finish(0, request.Outcome{Code: 200})
	want := []string{"offer a> v=o" + phoneWay, "answer a>b v=a" + browserWay}
	bye, err := f.send("BYE", page, "c", "")
	require.NoError(t, err)
	bye.r.Shared = true
	branch := &request.Branch{ID: "branch0", Msg: request.Clone(bye.r.Msg)}
	for _, o := range bye.r.Observers {
		require.NoError(t, o.Outgoing(t.Context(), bye.r, branch))
		o.Finished(t.Context(), bye.r, branch, request.Outcome{Code: 200})
	}
	f.settled(want...)
	last, err := f.send("BYE", page, "b", "", phone)
	require.NoError(t, err)
	last.finish(0, request.Outcome{Code: 200})
	f.settled(append(want, "delete a>")...)
}

// A daemon that is gone does not hold up the BYE.
func TestDeadDaemonAndBye(t *testing.T) {
	f := newFixture(t)
	f.daemon.hold = make(chan struct{})
	defer close(f.daemon.hold)
	_, err := f.send("INVITE", page, "", "v=o", phone)
	require.NoError(t, err)
	began := time.Now()
	_, err = f.send("BYE", page, "b", "", phone)
	require.NoError(t, err)
	require.Less(t, time.Since(began), 500*time.Millisecond)
	_, err = f.send("INVITE", phone, "a", "v=x", page)
	var e *request.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 481, e.Code, "no new media for a call that is over")
}

func TestCallsAreBounded(t *testing.T) {
	f := newFixture(t)
	for i := range 3 {
		_, err := f.step.enter(fmt.Sprint(i))
		require.NoError(t, err)
	}
	_, err := f.send("INVITE", page, "", "v=o", phone)
	var e *request.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 503, e.Code)
	require.Empty(t, f.daemon.lines())
}

func TestProfileWordsAreChecked(t *testing.T) {
	_, err := Compile("RTP/AVP ICE=remvoe", "", false, DigitsAsSent)
	require.ErrorIs(t, err, ErrFlags)
	_, err = Compile("RTP/AVP codec-srtip-opus", "", false, DigitsAsSent)
	require.ErrorIs(t, err, ErrFlags, "the misspelt codec flag of so many scripts")
	_, err = Compile("RTP/AVP codec-mask-all always-transcode codec-transcode-PCMU SIP-source-address", "", false, DigitsAsSent)
	require.NoError(t, err)
}
