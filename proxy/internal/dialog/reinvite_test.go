package dialog

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// running enters a confirmed dialog between page "a", whose last request had number 5, and phone "p".
func running(k *Keeper, page, phone request.Connection) *Dialog {
	d := &Dialog{
		CallID: "call", Confirmed: true, cseq: 5, since: time.Now(), expires: time.Now().Add(time.Hour),
		A: Leg{Tag: "a", Identity: "<sip:a@b>;tag=a", Profile: "webrtc", Conn: page, Contact: "sip:alice@x.invalid", CSeq: 5},
		B: Leg{Tag: "p", Identity: "<sip:c@d>;tag=p", Profile: "sip", Conn: phone, Contact: "sip:bob@192.0.2.2", Routes: []string{"<sip:up.example;lr>"}},
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.enter(d)
	return d
}

// A re-INVITE made here takes a number of its direction; what that side sends later goes out above it, and comes back as it
// was numbered (RFC 3261 §12.2.1.1).
func TestRequestsOfTheSidesMoveUpBehindOurs(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	k := newKeeper(t, place{"w1": page, "udp:192.0.2.2:5060/l": phone}, "key")
	var sent []*request.Request
	k.send = func(_ context.Context, r *request.Request) { sent = append(sent, r) }
	running(k, page, phone)
	var code int
	var wait time.Duration
	ask := func() error {
		return k.Reinvite(t.Context(), "call", 0, "a", "p", "v=0", func(_ context.Context, c int, after time.Duration) { code, wait = c, after })
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	invite := sent[0]
	if seq, _ := request.CSeq(invite.Msg); seq != 6 || string(invite.Msg.Body()) != "v=0" || invite.Profile != "webrtc" ||
		request.Header(invite.Msg, "Contact") != "<sip:alice@x.invalid>" || request.Header(invite.Msg, "Route") != "<sip:up.example;lr>" ||
		invite.Targets[0].Profile != "sip" {
		t.Fatalf("sent:\n%s", invite.Msg)
	}

	// While it waits, an offer of a side is glare; all else goes on.
	glare := received(t, phone, "INVITE", "p", "a", "")
	_, err := k.Handle(t.Context(), glare)
	if status(err) != 491 {
		t.Errorf("offer of the phone while ours is under way: %v", err)
	}

	for range 2 { // the phone repeats its answer until it gets ACK
		if err := invite.Responder.Send(request.NewResponse(invite.Original, 200, "OK")); err != nil {
			t.Fatal(err)
		}
	}
	acks := 0
	for _, r := range sent[1:] {
		if r.Msg.Method == sip.ACK {
			acks++
			if seq, _ := request.CSeq(r.Msg); seq != 6 {
				t.Errorf("ACK with number %d", seq)
			}
		}
	}
	if acks != 2 || code != 200 {
		t.Errorf("%d ACK, status %d", acks, code)
	}

	info := received(t, page, "INFO", "a", "p", "RAck: 1 6 INVITE\r\n")
	info.Msg.ReplaceHeader(&sip.CSeqHeader{SeqNo: 6, MethodName: sip.INFO})
	info.Original.ReplaceHeader(&sip.CSeqHeader{SeqNo: 6, MethodName: sip.INFO})
	if _, err := k.Handle(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	if seq, _ := request.CSeq(info.Msg); seq != 7 || request.Header(info.Msg, "RAck") != "1 7 INVITE" {
		t.Errorf("INFO goes out as %d, RAck %q", seq, request.Header(info.Msg, "RAck"))
	}
	res := request.NewResponse(info.Msg, 200, "OK")
	for _, o := range info.Observers {
		if err := o.Incoming(t.Context(), info, &request.Branch{}, res); err != nil {
			t.Fatal(err)
		}
	}
	if seq, _ := request.CSeq(res); seq != 6 {
		t.Errorf("its response comes back as %d", seq)
	}
	// A late ACK of what was before ours keeps its number.
	ack := received(t, page, "ACK", "a", "p", "")
	if _, err := k.Handle(t.Context(), ack); err != nil {
		t.Fatal(err)
	}
	if seq, _ := request.CSeq(ack.Msg); seq != 5 {
		t.Errorf("old ACK goes out as %d", seq)
	}

	if err := ask(); err != nil {
		t.Fatal(err)
	}
	refusal := request.NewResponse(sent[len(sent)-1].Original, 500, "Busy")
	refusal.AppendHeader(sip.NewHeader("Retry-After", "3;duration=5"))
	if err := sent[len(sent)-1].Responder.Send(refusal); err != nil {
		t.Fatal(err)
	}
	if code != 500 || wait != 3*time.Second {
		t.Errorf("status %d, Retry-After %s", code, wait)
	}
}

func TestReinviteWaitsItsTurn(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	k := newKeeper(t, place{"w1": page, "udp:192.0.2.2:5060/l": phone}, "key")
	k.send = func(context.Context, *request.Request) {}
	d := running(k, page, phone)
	ask := func() error {
		return k.Reinvite(t.Context(), "call", 0, "p", "a", "v=0", func(context.Context, int, time.Duration) {})
	}
	theirs := received(t, phone, "INVITE", "p", "a", "")
	if _, err := k.Handle(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	for _, o := range theirs.Observers {
		if err := o.Outgoing(t.Context(), theirs, &request.Branch{Msg: theirs.Msg}); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(); !errors.Is(err, request.ErrBusy) {
		t.Errorf("while an INVITE is under way: %v", err)
	}
	for _, o := range theirs.Observers {
		o.Finished(t.Context(), theirs, &request.Branch{}, request.Outcome{Code: 200})
	}
	d.closing = true
	if err := ask(); !errors.Is(err, request.ErrNoDialog) {
		t.Errorf("in a call that ends: %v", err)
	}
	d.closing = false
	if err := ask(); err != nil {
		t.Error(err)
	}
	if err := ask(); !errors.Is(err, request.ErrBusy) {
		t.Errorf("while one of ours is under way: %v", err)
	}
}
