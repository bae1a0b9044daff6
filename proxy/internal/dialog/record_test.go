package dialog

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// shelf is a store that can be full.
type shelf struct {
	mu   sync.Mutex
	kept map[uint64]Record
	err  error
}

func (s *shelf) Dialogs(context.Context) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Record
	for _, r := range s.kept {
		all = append(all, r)
	}
	return all, nil
}

func (s *shelf) KeepDialogs(_ context.Context, put []Record, drop []uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	for _, r := range put {
		s.kept[r.ID] = r
	}
	for _, id := range drop {
		delete(s.kept, id)
	}
	return nil
}

func (s *shelf) full(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *shelf) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept)
}

// sent are the requests that a keeper makes.
type sent []*request.Request

func (s *sent) send(_ context.Context, r *request.Request) { *s = append(*s, r) }

// of are those of a method.
func (s *sent) of(method sip.RequestMethod) (out []*request.Request) {
	for _, r := range *s {
		if r.Msg.Method == method {
			out = append(out, r)
		}
	}
	return out
}

func newStored(t *testing.T, p place, s Store, out *sent, log *zap.Logger) *Keeper {
	t.Helper()
	k := New(Config{Key: []byte("key"), Grace: -1, Store: s, Device: func(request.ConnectionID) request.Device {
		return request.Device{AoR: "sip:alice@b", Instance: "urn:1"}
	}}, p, p, p, out.send, log)
	t.Cleanup(k.Close)
	return k
}

// setUp makes a confirmed dialog as an INVITE and its 200 do: from page "a" with number 5 to phone "p" on a trunk.
func setUp(t *testing.T, k *Keeper, page, phone request.Connection) *request.Request {
	t.Helper()
	r := received(t, page, "INVITE", "a", "", "Record-Route: <sip:near.example;lr>\r\n")
	r.User = "alice@b"
	if _, err := k.Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	b := &request.Branch{ID: "z9hG4bKb", Msg: request.Clone(r.Msg), Conn: phone, Target: request.Target{Profile: "sip", Trunk: "carrier"}}
	for _, o := range r.Observers {
		if err := o.Outgoing(t.Context(), r, b); err != nil {
			t.Fatal(err)
		}
	}
	res := request.NewResponse(r.Original, 200, "OK")
	res.ReplaceHeader(sip.NewHeader("To", "<sip:c@d>;tag=p"))
	res.AppendHeader(sip.NewHeader("Contact", "<sip:bob@192.0.2.1>"))
	for _, o := range r.Observers {
		if err := o.Incoming(t.Context(), r, b, res); err != nil {
			t.Fatal(err)
		}
		o.Finished(t.Context(), r, b, request.Outcome{Code: 200})
	}
	if _, err := k.Handle(t.Context(), received(t, page, "ACK", "a", "p", "")); err != nil {
		t.Fatal(err)
	}
	return r
}

// After a restart the proxy can end a call of the earlier run on both sides, without a message from either: with numbers above
// those of each direction, tags, route sets, and its limits count it.
func TestOwnByeAfterRestart(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	at := place{"w1": page, "udp:192.0.2.2:5060/l": phone}
	store := &shelf{kept: map[uint64]Record{}}
	first := newStored(t, at, store, &sent{}, zap.NewNop())
	setUp(t, first, page, phone)
	info := received(t, phone, "INFO", "p", "a", "")
	info.Msg.ReplaceHeader(&sip.CSeqHeader{SeqNo: 77, MethodName: sip.INFO})
	if _, err := first.Handle(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	if err := first.flush(); err != nil || store.count() != 1 {
		t.Fatalf("%d records, %v", store.count(), err)
	}

	var out sent
	delete(at, "w1") // the page's connection ended with the run
	k := newStored(t, at, store, &out, zap.NewNop())
	var device request.Device
	var was request.ConnectionID
	if err := k.Load(t.Context(), func(d request.Device, id request.ConnectionID) { device, was = d, id }); err != nil {
		t.Fatal(err)
	}
	if device.Instance != "urn:1" || was != "w1" {
		t.Errorf("device %+v was at %q", device, was)
	}
	if n := k.TrunkCalls("carrier"); n != 1 {
		t.Errorf("%d calls of the trunk", n)
	}
	again := newLine("w2", request.WSS)
	k.Move(was, again)
	if !k.End("call") || k.End("nothing") {
		t.Error("a call that is there and one that is not")
	}
	byes := out.of(sip.BYE)
	if len(byes) != 2 {
		t.Fatalf("%d BYE", len(byes))
	}
	for i, want := range []struct {
		above            uint32
		from, to, routes string
		conn             request.Connection
	}{
		{5, "<sip:a@b>;tag=a", "<sip:c@d>;tag=p", "", nil},
		{77, "<sip:c@d>;tag=p", "<sip:a@b>;tag=a", "<sip:near.example;lr>", again},
	} {
		m := byes[i].Msg
		seq, _ := request.CSeq(m)
		if seq <= want.above || request.Header(m, "From") != want.from || request.Header(m, "To") != want.to || request.Header(m, "Route") != want.routes {
			t.Errorf("BYE %d:\n%s", i, m)
		}
		if got := byes[i].Targets[0]; got.Conn != want.conn {
			t.Errorf("BYE %d goes to %+v", i, got)
		}
	}
	if byes[0].Targets[0].Trunk != "carrier" {
		t.Error("a challenge of the trunk could not be answered")
	}
	if k.End("call") {
		t.Error("ended twice")
	}
	for _, r := range byes {
		for _, o := range r.Observers {
			o.Finished(t.Context(), r, &request.Branch{}, request.Outcome{Code: 200})
		}
	}
	if err := k.flush(); err != nil || store.count() != 0 {
		t.Errorf("%d records are left, %v", store.count(), err)
	}
	if n := k.TrunkCalls("carrier"); n != 0 {
		t.Errorf("%d calls of the trunk are left", n)
	}
}

// A store that fails holds nothing up and loses nothing; the log says it once, and again when it works.
func TestFullDisk(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	at := place{"w1": page, "udp:192.0.2.2:5060/l": phone}
	store := &shelf{kept: map[uint64]Record{}, err: errors.New("disk full")}
	core, logs := observer.New(zap.InfoLevel)
	k := newStored(t, at, store, &sent{}, zap.New(core))
	setUp(t, k, page, phone)
	told := func(text string) int {
		return len(slices.DeleteFunc(logs.All(), func(e observer.LoggedEntry) bool { return !strings.HasPrefix(e.Message, text) }))
	}
	until(t, func() bool { return told("dialogs are not kept") > 0 })
	time.Sleep(flushEvery + 200*time.Millisecond) // it has tried again
	if n := told("dialogs are not kept"); n != 1 {
		t.Errorf("told %d times", n)
	}
	store.full(nil)
	until(t, func() bool { return told("dialogs are kept again") == 1 && store.count() == 1 })
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

// A call between two writes costs the disk nothing, and what is pending at the end is written.
func TestShortCallsAreNotWritten(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	store := &shelf{kept: map[uint64]Record{}}
	k := newStored(t, place{"w1": page, "udp:192.0.2.2:5060/l": phone}, store, &sent{}, zap.NewNop())
	setUp(t, k, page, phone)
	k.mu.Lock()
	for d := range k.dialogs {
		k.drop(d)
	}
	k.mu.Unlock()
	if put, drop, _ := k.unwritten(); len(put)+len(drop) != 0 {
		t.Errorf("%d and %d to write", len(put), len(drop))
	}
	running(k, page, phone)
	k.mu.Lock()
	for d := range k.dialogs {
		k.changed(d)
	}
	k.mu.Unlock()
	k.Close()
	if store.count() != 1 {
		t.Errorf("%d records after Close", store.count())
	}
}

// A page that comes back learns that its call has ended meanwhile.
func TestMissedByeIsDelivered(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	var out sent
	k := newStored(t, place{"w1": page, "udp:192.0.2.2:5060/l": phone}, &shelf{kept: map[uint64]Record{}}, &out, zap.NewNop())
	setUp(t, k, page, phone)
	close(page.open)
	bye := received(t, phone, "BYE", "p", "a", "")
	if _, err := k.Handle(t.Context(), bye); err != nil {
		t.Fatal(err)
	}
	for _, o := range bye.Observers {
		o.Finished(t.Context(), bye, &request.Branch{}, request.Outcome{Code: 480, Local: true})
	}
	again := newLine("w2", request.WSS)
	k.Move("w1", again)
	byes := out.of(sip.BYE)
	if len(byes) != 1 || byes[0].Targets[0].Conn != request.Connection(again) || request.Header(byes[0].Msg, "From") != "<sip:c@d>;tag=p" {
		t.Fatalf("%d BYE", len(byes))
	}
	if n := k.TrunkCalls("carrier"); n != 0 {
		t.Error("the call still counts")
	}
}
