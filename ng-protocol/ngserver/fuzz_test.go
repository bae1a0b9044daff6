package ngserver

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// FuzzDatagram: any datagram is answered at most once with a reply that a client
// can read, under its own cookie, or dropped; the server survives.
func FuzzDatagram(f *testing.F) {
	for _, pattern := range []string{"../testdata/requests/*.ng", "../testdata/replies/*.ng"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatalf("%s: %d files, %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			message, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(message)
		}
	}
	for _, message := range []string{"", " ", "c", "c ", "c d", "c {", "c d1:a99999999:xe", "c\x00 d7:command4:pinge"} {
		f.Add([]byte(message))
	}
	s := serve(f, func(_ context.Context, req *ng.Request) ng.Reply {
		switch {
		case req.Command == ng.CommandPing:
			return &ng.Pong{}
		case req.CallID == "":
			return ng.Fail(ng.ReasonNoCallID)
		}
		return &ng.SDPReply{SDP: req.SDP}
	})
	conn := dial(f, s)
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) > 60000 {
			return
		}
		cookie, _, err := ng.SplitCookie(message)
		before := s.Counters()
		if _, err := conn.Write(message); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			silentlyDropped(t, s, before)
			return
		}
		got, body, err := ng.SplitCookie([]byte(receive(t, conn)))
		if err != nil || string(got) != string(cookie) {
			t.Fatalf("cookie %q, want %q, %v", got, cookie, err)
		}
		if _, err := ng.DecodeReply(ng.CommandOffer, body); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
	})
}

func silentlyDropped(t *testing.T, s *Server, before Counters) {
	t.Helper()
	deadline := time.Now().Add(wait)
	for c := before; c.Received == before.Received || c.Dropped == before.Dropped; c = s.Counters() {
		if time.Now().After(deadline) {
			t.Fatalf("%+v, before %+v", c, before)
		}
		runtime.Gosched()
	}
}
