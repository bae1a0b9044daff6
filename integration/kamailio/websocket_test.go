//go:build integration

package kamailio

import (
	"strings"
	"testing"
	"time"
)

// TestWebSocket reaches the media node by WebSocket, as Kamailio does with its
// module lwsc: all commands of a call come over listen-http.
func TestWebSocket(t *testing.T) {
	s := newSite(t)
	media := s.media(t, "mediad", 2223, "--delete-delay=0", "--listen-http=127.0.0.1:2225")
	kamailio := s.kamailio(t, config(t), "WEBSOCKET", `MEDIA_NODES="ws://127.0.0.1:2225"`)
	alice := s.phone(t, "alice", callerHost, map[string]string{"alice": "tone"})
	bob := s.phone(t, "bob", calleeHost, map[string]string{"bob": "tone"})
	must(t, alice.CallFrom("alice", "bob"))
	must(t, alice.Until(10*time.Second, "established"))
	talks(t, alice, bob)
	relayedBy(t, media, alice, bob)
	must(t, alice.Hangup())
	must(t, bob.Until(5*time.Second, "ended"))
	media.idle(t, 3*time.Second)
	if media.managed(t) == 0 {
		t.Error("no call has come by WebSocket")
	}
	if text := kamailio.Tail(100000); !strings.Contains(text, "ws://127.0.0.1:2225") {
		t.Error("Kamailio has not found the node")
	}
}
