//go:build integration

package mission

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// Users of the SIP server.
const (
	pageUser  = "alice" // a browser
	otherUser = "bob"   // another one
	deskUser  = "601"   // a phone in the office
	deskUser2 = "602"
	deskUser3 = "603" // baresip
)

const (
	pbxAddress = server + ":5060"
	lowPort    = 30000
	topPort    = 40000
)

// site is the whole set-up at work.
type site struct {
	topology
	dir          string
	programs     map[string]string
	media        *harness.Process
	mediaAtStart []int // ports that are not for media
	proxy        *harness.Process
	pbx          *pbx
	phoneA       *harness.Phone
	phoneB       *harness.Phone
	browsers     [2]*harness.Browser // one behind each NAT
	page, other  *harness.Page
}

// programs are built once for all daemons.
func programs(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	built := map[string]string{"rtpengine": "rtpengine"}
	for _, source := range []string{"proxy", "mediad", "deploy/demo-phone"} {
		path, err := harness.Build(dir, source)
		if err != nil {
			t.Fatal(err)
		}
		built[filepath.Base(source)] = path
	}
	return built
}

// newSite starts the office, and a browser behind each NAT.
func newSite(t *testing.T, built map[string]string) *site {
	t.Helper()
	s := &site{topology: build(t), dir: t.TempDir(), programs: built}
	if os.Getenv("EXAM_KEEP") != "" {
		s.dir = absolute(t, filepath.Join("..", "out", "mission"))
		must(t, os.RemoveAll(s.dir))
		must(t, os.MkdirAll(s.dir, 0o755))
	}
	s.pbx = startPBX(t, s.dir, pbxAddress)
	s.phoneA = s.desk(t, "phoneA", deskA, deskUser)
	s.phoneB = s.desk(t, "phoneB", deskB, deskUser2)
	var started sync.WaitGroup
	var errs [2]error
	for i, home := range []*harness.Namespace{s.pageA, s.pageB} {
		started.Go(func() {
			s.browsers[i], errs[i] = home.StartBrowser(absolute(t, "../browser"), filepath.Join(s.dir, fmt.Sprint("browser", i)))
		})
	}
	started.Wait()
	for _, b := range s.browsers {
		if b != nil {
			t.Cleanup(func() { _ = b.Stop() })
		}
	}
	must(t, errors.Join(errs[:]...))
	return s
}

// open starts the border with a media daemon, and opens the pages.
func (s *site) open(t *testing.T, daemon string) {
	t.Helper()
	s.startBorder(t, daemon)
	s.page = s.openPage(t, s.browsers[0], "a-"+daemon, pageUser, "jssip")
	s.other = s.openPage(t, s.browsers[1], "b-"+daemon, otherUser, "sipjs")
	must(t, s.other.Microphone(otherHz))
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	must(t, err)
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keep ends a process with the test.
func keep(t *testing.T, p *harness.Process, err error) *harness.Process {
	t.Helper()
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", p.Name, p.Tail(6000))
		}
		if p.Running() {
			err := p.Stop()
			if p.Name == "kamailio" { // at times one of its many processes is slow to end; that is not this exam's matter
				return
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

// pbx is Debian's Kamailio as its package configures it, with passwords (WITH_AUTH) in text files.
type pbx struct {
	*harness.Process
	address, control string
}

func startPBX(t *testing.T, dir, address string) *pbx {
	t.Helper()
	tables := filepath.Join(dir, "kamailio")
	must(t, os.MkdirAll(tables, 0o755))
	out, err := exec.Command("cp", "-r", "/usr/share/kamailio/dbtext/kamailio/.", tables).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	rows := "id(int,auto) username(string) domain(string) password(string) ha1(string) ha1b(string)\n"
	for i, user := range []string{pageUser, otherUser, deskUser, deskUser2, deskUser3} {
		rows += fmt.Sprintf("%d:%s:%s:%s:-:-\n", i+1, user, harness.Domain, harness.Password)
	}
	must(t, os.WriteFile(filepath.Join(tables, "subscriber"), []byte(rows), 0o600))
	p, err := harness.Start(harness.Spec{Name: "kamailio", Path: "kamailio", Dir: dir, Args: []string{
		"-f", "/etc/kamailio/kamailio.cfg", "-l", "udp:" + address, "-l", "tcp:" + address, "--alias=" + harness.Domain,
		"-DD", "-E", "-m", "64", "-M", "8", "-Y", dir, "--loadmodule=db_text.so",
		"-A", "WITH_AUTH", "-A", `DBURL="text://` + tables + `"`,
	}})
	must(t, keep(t, p, err).Ready(func() error {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			err = conn.Close()
		}
		return err
	}))
	return &pbx{p, address, "unix:" + filepath.Join(dir, "kamailio_ctl")}
}

// ask runs a command of Kamailio's.
func (k *pbx) ask(args ...string) (string, error) {
	out, err := exec.Command("kamcmd", append([]string{"-s", k.control}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kamcmd %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

var addressLine = regexp.MustCompile(`(?m)^\s*Address: (\S+)`)

// contacts are those that it has for a user.
func (k *pbx) contacts(user string) []string {
	out, err := k.ask("ul.lookup", "location", "s:"+user) // or digits would be a number
	if err != nil {                                       // it has no such user
		return nil
	}
	var all []string
	for _, m := range addressLine.FindAllStringSubmatch(out, -1) {
		all = append(all, m[1])
	}
	return all
}

// accepted is how many REGISTERs it has accepted.
func (k *pbx) accepted(t *testing.T) int {
	t.Helper()
	out, err := k.ask("cnt.get", "registrar", "accepted_regs")
	must(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(out))
	must(t, err)
	return n
}

// configured is a file of deploy/mission, with the exam's domain and origin in place of the example's.
func (s *site) configured(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "mission", name))
	must(t, err)
	adapted := strings.NewReplacer(`"https://www.example.org"`, `"*"`, "example.org", harness.Domain).Replace(string(text))
	path := filepath.Join(s.dir, name)
	must(t, os.WriteFile(path, []byte(adapted), 0o600))
	return path
}

func (s *site) startBorder(t *testing.T, daemon string) {
	t.Helper()
	p, err := s.border.Start(harness.Spec{Name: daemon, Path: s.programs[daemon], Dir: s.dir, Args: []string{
		"--config-file=" + s.configured(t, "mediad.conf"), "--table=-1", "--foreground", "--log-stderr", "--log-level=6",
	}})
	s.media = keep(t, p, err)
	must(t, p.Ready(func() error { return s.ng(harness.NG.Ping) }))
	s.mediaAtStart, err = harness.UDPPorts(p.PID(), lowPort, topPort)
	must(t, err)
	p, err = s.border.Start(harness.Spec{Name: "proxy", Path: s.programs["proxy"], Dir: s.dir, Args: []string{
		"-config", s.configured(t, "proxy.yaml"),
	}})
	s.proxy = keep(t, p, err)
	must(t, p.Ready(func() error {
		return s.border.Do(func() error {
			conn, err := net.DialTimeout("tcp", public+":443", time.Second)
			if err == nil {
				err = conn.Close()
			}
			return err
		})
	}))
}

// ng asks the media daemon, from the border.
func (s *site) ng(ask func(harness.NG) error) error {
	return s.border.Do(func() error { return ask(harness.NG{Address: "127.0.0.1:2223"}) })
}

func (s *site) desk(t *testing.T, name, host, user string) *harness.Phone {
	t.Helper()
	p, err := harness.StartAccounts(s.programs["demo-phone"], name, host, pbxAddress, s.dir,
		map[string]string{user: "tone,ring=100ms"})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.Tail(3000))
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (s *site) openPage(t *testing.T, b *harness.Browser, name, user, library string) *harness.Page {
	t.Helper()
	page, err := b.OpenPage(name, library, user, "wss://"+public+"/ws", 20*time.Second)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.proxy.Tail(3000))
	}
	t.Cleanup(func() { _ = page.Close() }) // or it registers with the next proxy; one may be closed already
	return page
}

// baresipConfig has the host in it.
const baresipConfig = `sip_listen %[1]s:5060
audio_player aubridge,echo
audio_source aubridge,echo
audio_alert nil,nil
ausrc_srate 8000
ausrc_channels 1
auplay_srate 8000
auplay_channels 1
module_path /usr/lib/baresip/modules
module g711.so
module aubridge.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
rtp_ports 20000-20100
`

// baresip starts one that answers every call, and says what it hears.
func (s *site) baresip(t *testing.T) {
	t.Helper()
	dir := filepath.Join(s.dir, "baresip")
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "config"), fmt.Appendf(nil, baresipConfig, deskC), 0o600))
	account := fmt.Sprintf("<sip:%s@%s>;auth_user=%[1]s;auth_pass=%[3]s;outbound=\"sip:%[4]s\";regint=300;answermode=auto\n",
		deskUser3, harness.Domain, harness.Password, pbxAddress)
	must(t, os.WriteFile(filepath.Join(dir, "accounts"), []byte(account), 0o600))
	p, err := harness.Start(harness.Spec{Name: "baresip", Path: "baresip", Dir: dir, Args: []string{"-f", dir, "-4"}})
	must(t, keep(t, p, err).Ready(func() error {
		if len(s.pbx.contacts(deskUser3)) == 0 {
			return fmt.Errorf("not registered")
		}
		return nil
	}))
}

// idle waits until the media daemon has neither call nor port.
func (s *site) idle(t *testing.T) {
	t.Helper()
	if err := harness.Eventually(8*time.Second, func() error {
		var calls []string
		if err := s.ng(func(n harness.NG) (err error) { calls, err = n.Calls(); return err }); err != nil {
			return err
		}
		ports, err := harness.MediaSockets(s.media.PID(), lowPort, topPort, s.mediaAtStart)
		if err == nil && len(calls)+len(ports) > 0 {
			err = fmt.Errorf("%s still has calls %v and ports %v", s.media.Name, calls, ports)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
