//go:build integration

package kamailio

import (
	"path/filepath"
	"testing"
	"time"
)

const twoNodes = `MEDIA_NODES="udp:127.0.0.1:2223 udp:127.0.0.1:2224"`

// callee is where calls to nobody go: SIPp's.
const callee = `CALLEE="sip:` + calleeHost + `:5062"`

// TestForks has two phones of one account: each branch makes an offer of its own.
func TestForks(t *testing.T) {
	for _, branch := range []string{"via-branch=1", "via-branch=auto"} {
		t.Run(branch, func(t *testing.T) {
			s := newSite(t)
			media := s.media(t, "mediad", 2223, "--delete-delay=0")
			answer := branch
			if branch == "via-branch=1" { // the branch is in the second Via of a reply
				answer = "via-branch=2"
			}
			s.kamailio(t, config(t), `OFFER="replace-origin `+branch+`"`, `ANSWER="replace-origin `+answer+`"`)
			alice := s.phone(t, "alice", callerHost, map[string]string{"alice": "tone"})
			silent := s.phone(t, "silent", thirdHost, map[string]string{"bob": "silence,no-answer"})
			bob := s.phone(t, "bob", calleeHost, map[string]string{"bob": "tone,ring=400ms"})
			must(t, alice.CallFrom("alice", "bob"))
			must(t, silent.Until(5*time.Second, "ringing"))
			must(t, alice.Until(5*time.Second, "established"))
			talks(t, alice, bob)
			relayedBy(t, media, alice, bob)
			must(t, silent.Until(5*time.Second, "ended"))
			must(t, alice.Hold("sendonly"))
			must(t, alice.Resume())
			talks(t, alice, bob)
			must(t, alice.Hangup())
			must(t, bob.Until(5*time.Second, "ended"))
			media.idle(t, 3*time.Second)
		})
	}
}

// TestLoadLimit drains one node: its calls go to the other.
func TestLoadLimit(t *testing.T) {
	s := newSite(t)
	drained := s.media(t, "drained", 2223, "--max-sessions=0", "--delete-delay=0")
	other := s.media(t, "other", 2224, "--delete-delay=0")
	s.kamailio(t, config(t), twoNodes, callee)
	const calls = 12 // each falls to the drained node with one half
	s.sipp(t, calls, 12)
	if n := drained.managed(t); n != 0 {
		t.Errorf("the drained node has had %d calls", n)
	}
	if n := other.managed(t); n != calls {
		t.Errorf("the other node has had %d calls, want %d", n, calls)
	}
	if n := drained.total(t, "rejectedsessions"); n == 0 {
		t.Error("no call was offered to the drained node: this exam shows nothing")
	}
	if packets := other.total(t, "relayedpackets"); packets < calls*2*40 {
		t.Errorf("%d packets relayed in %d calls", packets, calls)
	}
	other.idle(t, 3*time.Second)
}

// TestNodeGoneAndBack ends one node: it is disabled, its new calls go to the
// other, and when it is back it is enabled again.
func TestNodeGoneAndBack(t *testing.T) {
	s := newSite(t)
	first := s.media(t, "first", 2223, "--delete-delay=0")
	second := s.media(t, "second", 2224, "--delete-delay=0")
	s.kamailio(t, config(t), twoNodes, callee)
	s.sipp(t, 10, 10)
	if a, b := first.managed(t), second.managed(t); a == 0 || b == 0 || a+b != 10 {
		t.Fatalf("10 calls were spread as %d and %d", a, b)
	}
	before := second.managed(t)
	must(t, first.Stop())
	s.sipp(t, 10, 10)
	if n := second.managed(t) - before; n != 10 {
		t.Errorf("with one node gone the other took %d of 10 calls", n)
	}
	first = s.media(t, "first", 2223, "--delete-delay=0")
	// The module looks again after rtpengine_disable_tout, and may then read from
	// its socket that the port was closed when it looked last.
	for range 4 {
		time.Sleep(2500 * time.Millisecond)
		if s.sipp(t, 10, 10); first.managed(t) > 0 {
			break
		}
	}
	if n := first.managed(t); n == 0 {
		t.Error("the node that is back got no call")
	}
	// A worker of Kamailio's that has not used the node since gives up its first
	// command, which may be a delete: only the node that stayed has to be idle.
	second.idle(t, 3*time.Second)
}

// TestNoNode refuses the call when no node takes it.
func TestNoNode(t *testing.T) {
	s := newSite(t)
	s.media(t, "drained", 2223, "--max-sessions=0")
	s.kamailio(t, config(t))
	alice := s.phone(t, "alice", callerHost, map[string]string{"alice": "tone"})
	s.phone(t, "bob", calleeHost, map[string]string{"bob": "tone"})
	must(t, alice.CallFrom("alice", "bob"))
	must(t, alice.Until(5*time.Second, "ended"))
	if call, err := alice.Last(); err != nil || call.Status < 500 {
		t.Errorf("the call ended with %d %s (%v)", call.Status, call.Reason, err)
	}
}

// config is the configuration of these exams.
func config(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("media.cfg")
	must(t, err)
	return path
}
