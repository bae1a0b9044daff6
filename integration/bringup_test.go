//go:build bringup

package integration

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

func TestBringup(t *testing.T) {
	out, _ := filepath.Abs("out/bringup")
	host := "127.33.1.1"
	media, err := harness.StartMedia("rtpengine", "rtpengine", host, out)
	if err != nil { t.Fatal(err) }
	defer media.Stop()
	cfg, _ := filepath.Abs("kamailio/kamailio.cfg")
	k, err := harness.StartKamailio(cfg, host, media.Address, out)
	if err != nil { t.Fatal(err) }
	defer k.Stop()
	folder, _ := filepath.Abs("browser")
	b, err := harness.StartBrowser(folder, out)
	if err != nil { t.Fatal(err) }
	defer b.Stop()
	must := func(e error) { t.Helper(); if e != nil { t.Error(e) } }
	open := func(l string) *harness.Page {
		p, err := b.OpenPage(l, l, k.WSS, 10*time.Second)
		if err != nil { t.Fatal(err) }
		return p
	}
	j, s := open("jssip"), open("sipjs")
	st := func() { t.Helper(); a, _ := j.State(); c, _ := s.State(); t.Logf("j %+v s %+v idle: %v", a, c, media.Idle()) }
	until := func(p *harness.Page, w string) { t.Helper(); _, err := p.Until(6*time.Second, w); must(err) }
	call := func(a, c *harness.Page) {
		a.Reset(); c.Reset()
		must(a.Call(c.User)); until(c, "incoming")
	}
	call(j, s); must(j.Hangup()); until(s, "ended"); time.Sleep(300*time.Millisecond); st()
	call(s, j); must(s.Hangup()); until(j, "ended"); time.Sleep(300*time.Millisecond); st()
	call(j, s); must(s.Reject(486)); until(j, "ended"); time.Sleep(300*time.Millisecond); st()
	call(s, j); must(j.Reject(486)); until(s, "ended"); time.Sleep(300*time.Millisecond); st()
	call(j, s); until(j, "ended"); time.Sleep(300*time.Millisecond); st()
	call(s, j); must(j.Answer()); until(s, "confirmed"); time.Sleep(time.Second)
	must(j.Hold()); st(); must(j.Unhold()); st()
	must(s.Hold()); st(); must(s.Unhold()); st()
	must(j.Close()); until(s, "ended"); time.Sleep(300*time.Millisecond); c, _ := s.State(); t.Logf("s %+v idle: %v", c, media.Idle())
	j = open("jssip")
	call(s, j); must(j.Answer()); until(s, "confirmed"); time.Sleep(time.Second)
	must(s.Close()); until(j, "ended"); time.Sleep(300*time.Millisecond); c, _ = j.State(); t.Logf("j %+v idle: %v", c, media.Idle())
}
