//go:build integration

package nodes

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// TestChromiumFollowsToAnotherNode: pages of both libraries take the re-INVITE of the proxy, with ICE and DTLS anew.
func TestChromiumFollowsToAnotherNode(t *testing.T) {
	folder, err := filepath.Abs(filepath.Join("..", "browser"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := filepath.Abs(filepath.Join("..", "out", "nodes"))
	if err != nil {
		t.Fatal(err)
	}
	browser, err := harness.StartBrowser(folder, out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := browser.Stop(); err != nil {
			t.Error(err)
		}
	})
	for i, library := range []string{"jssip", "sipjs"} {
		s := newSite(t, library, 30+i, [2]string{"mediad", "rtpengine"}, "")
		page, err := browser.OpenPage(library, library, harness.PageUser, "wss://"+s.host+":18443/ws", 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := page.Call("line"); err != nil {
			t.Fatal(err)
		}
		hears := func(since time.Time, limit time.Duration) error {
			before, err := page.Stats()
			if err != nil {
				return err
			}
			return harness.Eventually(limit, func() error {
				now, err := page.Stats()
				if err == nil && now.Received < before.Received+10 {
					err = fmt.Errorf("the page has received %d packets, then %d", before.Received, now.Received)
				}
				if quiet := s.callee.silent(since); err == nil && (len(quiet) > 0 || len(s.callee.live()) != 1) {
					err = fmt.Errorf("the phone hears nothing")
				}
				return err
			})
		}
		if err := hears(time.Time{}, 10*time.Second); err != nil {
			t.Fatalf("%s: %v", library, err)
		}
		victim := 0
		if s.spread()[1] > 0 {
			victim = 1
		}
		s.kill(victim)
		lost := s.lostAt(1)
		if err := hears(lost, time.Until(lost.Add(backIn))); err != nil {
			messages, _ := page.Messages()
			for _, m := range messages[max(0, len(messages)-4):] {
				t.Logf("sent by the page: %v\n%s", m.Sent, m.Text)
			}
			t.Fatalf("%s: daemon %d killed: %v", library, victim+1, err)
		}
		t.Logf("%s: media both ways %s after the loss was seen", library, time.Since(lost))
		s.startMedia(victim)
		if err := page.Hangup(); err != nil {
			t.Error(err)
		}
		s.end()
		if err := page.Close(); err != nil {
			t.Error(err)
		}
	}
}
