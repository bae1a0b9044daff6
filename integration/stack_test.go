//go:build integration

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// A cell names the two halves that an exam puts together.
type cell struct{ signalling, media string }

func (c cell) String() string { return c.signalling + "+" + c.media }

// cells are all four ways to pair the halves with their established peers.
var cells = []cell{
	{"kamailio", "rtpengine"},
	{"kamailio", "mediad"},
	{"proxy", "rtpengine"},
	{"proxy", "mediad"},
}

// libraries are the two SIP stacks that browser applications use.
var libraries = []string{"jssip", "sipjs"}

const (
	ringLimit  = 2 * time.Second  // a page refuses an unanswered call after this
	stepLimit  = 10 * time.Second // for a step of a call to show on the other side
	browserHz  = 1000.0
	phoneHz    = 440.0
	toneMargin = 20.0
)

// A stack is one cell at work with one browser phone and one plain phone.
type stack struct {
	cell       cell
	out        string // folder of its logs
	library    string
	media      *harness.Media
	signalling *harness.Signalling
	phone      *harness.Phone
	page       *harness.Page
	browser    *harness.Browser
}

// forEachStack runs exam for all cells and libraries, stacks in parallel. They
// share nothing but the Chromium.
func forEachStack(t *testing.T, exam func(t *testing.T, s *stack)) {
	out := outFolder(t)
	commands := newPrograms(filepath.Join(out, "bin"))
	browser, err := harness.StartBrowser(absolute(t, "browser"), out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, browser) })
	net := 40 + os.Getpid()%200 // two runs on one machine keep apart
	for i, c := range cells {
		for j, library := range libraries {
			t.Run(fmt.Sprintf("%v/%s", c, library), func(t *testing.T) {
				t.Parallel()
				s := &stack{cell: c, library: library, browser: browser}
				host := func(last int) string { return fmt.Sprintf("127.%d.%d.%d", net, 10*i+j+1, last) }
				s.start(t, commands, host(1), host(2), filepath.Join(out, c.String(), library))
				exam(t, s)
			})
		}
	}
}

func (s *stack) start(t *testing.T, commands programs, host, phoneHost, out string) {
	t.Helper()
	s.out = out
	var err error
	if s.media, err = harness.StartMedia(commands.path(t, s.cell.media), s.cell.media, host, out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s.media); checkLog(t, s.media.Process) })
	if s.cell.signalling == "kamailio" {
		s.signalling, err = harness.StartKamailio(absolute(t, "kamailio/kamailio.cfg"), host, s.media.Address, out)
	} else {
		s.signalling, err = harness.StartProxy(commands.path(t, "proxy"), host, s.media.Address, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s.signalling); checkLog(t, s.signalling.Process) })
	if s.phone, err = harness.StartPhone(commands.path(t, "demo-phone"), phoneHost, s.signalling.SIP, out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s.phone); checkLog(t, s.phone.Process) })
	s.openPage(t)
}

func (s *stack) openPage(t *testing.T) {
	t.Helper()
	name := s.cell.String() + " " + s.library
	var err error
	if s.page, err = s.browser.OpenPage(name, s.library, harness.PageUser, s.signalling.WSS, ringLimit); err != nil {
		t.Fatal(err)
	}
}

// programs gives the path of what a cell runs. The project's own commands are
// built once, when first asked for: one that does not build fails its cells only.
type programs map[string]func() (string, error)

func newPrograms(dir string) programs {
	p := programs{"rtpengine": func() (string, error) { return "rtpengine", nil }}
	for name, source := range map[string]string{
		"proxy": "proxy", "mediad": "mediad", "demo-phone": "deploy/demo-phone",
	} {
		p[name] = sync.OnceValues(func() (string, error) { return harness.Build(dir, source) })
	}
	return p
}

func (p programs) path(t *testing.T, name string) string {
	t.Helper()
	path, err := p[name]()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

type stopper interface{ Stop() error }

func stop(t *testing.T, s stopper) {
	err := s.Stop()
	if p, ok := s.(*harness.Signalling); ok && p.Name == "kamailio" && errors.Is(err, harness.ErrSlow) {
		return // at times one of its many processes is slow to end
	}
	if err != nil {
		t.Error(err)
	}
}

// checkLog fails for what must never stand in a program's log.
func checkLog(t *testing.T, p *harness.Process) {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"DATA RACE", "panic", harness.Password} {
		if at := bytes.Index(text, []byte(bad)); at >= 0 {
			t.Errorf("%s has %q in its log:\n%s", p.Name, bad, text[at:min(len(text), at+3000)])
		}
	}
}

// outFolder is where a run of a test puts logs and recordings. It is kept when the
// test fails, or when EXAM_KEEP is set.
func outFolder(t *testing.T) string {
	t.Helper()
	out := absolute(t, filepath.Join("out", fmt.Sprintf("%s-%d", t.Name(), os.Getpid())))
	t.Cleanup(func() {
		if t.Failed() || os.Getenv("EXAM_KEEP") != "" {
			t.Logf("logs, recordings and SIP are in %s", out)
			return
		}
		if err := os.RemoveAll(out); err != nil {
			t.Error(err)
		}
	})
	return out
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
