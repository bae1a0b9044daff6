//go:build integration

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	ringLimit  = 2 * time.Second // a page refuses an unanswered call after this
	stepLimit  = 5 * time.Second // for a step of a call to show on the other side
	browserHz  = 1000.0
	phoneHz    = 440.0
	toneMargin = 20.0
)

// A stack is one cell at work with one browser phone and one plain phone.
type stack struct {
	cell       cell
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
	out, err := filepath.Abs(filepath.Join("out", t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	programs := build(t)
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
				s.start(t, programs, fmt.Sprintf("127.%d.%d.%d", net, i+1, j*100+1), filepath.Join(out, c.String(), library))
				exam(t, s)
			})
		}
	}
}

func (s *stack) start(t *testing.T, programs map[string]string, host, out string) {
	t.Helper()
	var err error
	if s.media, err = harness.StartMedia(programs[s.cell.media], s.cell.media, host, out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s.media) })
	if s.cell.signalling == "kamailio" {
		s.signalling, err = harness.StartKamailio(absolute(t, "kamailio/kamailio.cfg"), host, s.media.Address, out)
	} else {
		s.signalling, err = harness.StartProxy(programs["proxy"], host, s.media.Address, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s.signalling) })
	phoneHost := host[:strings.LastIndexByte(host, '.')+1] + "50"
	if s.library == "sipjs" {
		phoneHost = host[:strings.LastIndexByte(host, '.')+1] + "150"
	}
	if s.phone, err = harness.StartPhone(programs["demo-phone"], phoneHost, s.signalling.SIP, s.user("phone"), out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s.phone) })
	s.openPage(t)
}

func (s *stack) user(kind string) string { return kind + "-" + s.library + "-" + s.cell.String() }

func (s *stack) openPage(t *testing.T) {
	t.Helper()
	var err error
	if s.page, err = s.browser.OpenPage(s.library, "page-"+s.library, s.signalling.WSS, ringLimit); err != nil {
		t.Fatal(err)
	}
}

type stopper interface{ Stop() error }

func stop(t *testing.T, s stopper) {
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
