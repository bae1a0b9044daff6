package settings

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func TestCommandLineForms(t *testing.T) {
	s, err := Load([]string{
		"--config-file=none", "-i", "priv/10.0.0.1", "--interface", "pub/192.0.2.1!198.51.100.1", "-ipub/2001:db8::1",
		"-n", "127.0.0.1:2223", "--listen-ng=[::1]:2223", "-m", "20000", "-M20999", "-fE", "-L", "7", "-t", "-1",
		"-o", "30", "-s", "100", "-a", "7200", "-d", "0", "--offer-timeout=9", "--tos=184", "--control-tos=96",
		"--max-sessions=10", "--endpoint-learning=off", "--sip-source", "--dtls-passive", "-p", "/run/x.pid", "--num-threads=3",
	})
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr
	wantInterfaces := []Interface{
		{Name: "priv", Address: addr("10.0.0.1"), Advertised: addr("10.0.0.1")},
		{Name: "pub", Address: addr("192.0.2.1"), Advertised: addr("198.51.100.1")},
		{Name: "pub", Address: addr("2001:db8::1"), Advertised: addr("2001:db8::1")},
	}
	if !reflect.DeepEqual(s.Network.Interfaces, wantInterfaces) {
		t.Errorf("interfaces = %v", s.Network.Interfaces)
	}
	wantNG := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:2223"), netip.MustParseAddrPort("[::1]:2223")}
	if !slices.Equal(s.Control.NG, wantNG) {
		t.Errorf("listen-ng = %v", s.Control.NG)
	}
	s.Network.Interfaces, s.Control.NG = nil, nil
	want := Defaults()
	want.Process.ConfigFile, want.Process.Foreground, want.Process.PIDFile = "none", true, "/run/x.pid"
	want.Log.Level, want.Log.ToStderr = 7, true
	want.Control.TOS = 96
	want.Network = Network{PortMin: 20000, PortMax: 20999, TOS: 184}
	want.Engine.Workers, want.Engine.TableGiven = 3, true
	want.Limits = limits.Values{
		Timeout: 30 * time.Second, SilentTimeout: 100 * time.Second, OfferTimeout: 9 * time.Second,
		FinalTimeout: 2 * time.Hour, DeleteDelay: 0, MaxSessions: 10,
	}
	want.Media.EndpointLearning, want.Media.SIPSource, want.DTLS.Passive = ng.LearningOff, true, true
	if !reflect.DeepEqual(*s, want) {
		t.Errorf("got  %+v\nwant %+v", *s, want)
	}
}

func TestCommandLineFaults(t *testing.T) {
	base := []string{"--config-file=none", "-i", "127.0.0.1", "-n", "127.0.0.1:1"}
	for _, c := range []struct{ args, want string }{
		{"--no-such-option", "unknown option --no-such-option"},
		{"--no-such-option=1", "unknown option --no-such-option"},
		{"-Z", "unknown option -Z"},
		{"-fZ", "unknown option -Z"},
		{"--foreground=maybe", `foreground: "maybe" is not true or false`},
		{"--timeout", "--timeout needs a value"},
		{"-o", "-o needs a value"},
		{"--timeout=soon", `timeout: "soon" is not a whole number`},
		{"--timeout=1_0", `timeout: "1_0" is not a whole number`},
		{"--timeout=99999999999", "timeout: 99999999999 is not within"},
		{"--tos=256", "tos: 256 is not within"},
		{"--port-min=70000", "port-min: 70000 is not within"},
		{"--port-min=500 --port-max=400", "port-min: 500 is above port-max 400"},
		{"--endpoint-learning=maybe", `endpoint-learning: "maybe"`},
		{"--log-level=-1", "log-level: log level -1 is not within 0–7"},
		{"--log-level-ice=loud", `log-level-ice: "loud" is not a log level`},
		{"--log-facility=mail9", "log-facility"},
		{"--log-facility-cdr=x", "log-facility-cdr"},
		{"--log-format=fancy", `log-format: "fancy" is not one of default, parsable`},
		{"--max-load=x", `max-load: "x" is not a number`},
		{"--mos=XQ", `mos: "XQ" is not one of`},
		{"--dtls-mtu=100", "dtls-mtu: 100 is not within"},
		{"--dtls-cert-cipher=DSA", "dtls-cert-cipher"},
		{"--homer=nohost", `homer: "nohost" is not host:port`},
		{"--homer-protocol=sctp", "homer-protocol"},
		{"--dtmf-log-dest=127.0.0.1:0", "dtmf-log-dest"},
		{"--xmlrpc-format=9", "xmlrpc-format: 9 is not within 0 to 2"},
		{"--amr-dtx=x", "amr-dtx"},
		{"--cn-payload=xx", "cn-payload"},
		{"--listen-ng=here", "listen-ng"},
		{"--listen-cli=70000", "listen-cli"},
		{"--homer-id=x", "homer-id"},
		{"--interface=nodevice0.invalid", "no address, network device or host"},
		{"--interface=/127.0.0.1", "interface"},
		{"--interface=a/0.0.0.0", "cannot be written into SDP"},
		{"--interface=a/10.0.0.1!::1", "another family"},
		{"--interface=b=unknown", `no interface "unknown"`},
		{"--config-file=/does/not/exist", "config-file"},
		{"--listen-https=127.0.0.1:4", "https-cert"},
		{"--ng-allow=10.0.0.0/33", "ng-allow"},
	} {
		_, err := Load(append(slices.Clone(base), strings.Fields(c.args)...))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.args, err, c.want)
		}
	}
}

func TestListeners(t *testing.T) {
	s, err := Load(strings.Fields("--config-file=none -i 127.0.0.1 -N 127.0.0.1:1 --listen-tcp-ng=[::1]:2 --listen-http=127.0.0.1:3 " +
		"--listen-https=127.0.0.1:4 --https-cert=c.pem --https-key=k.pem -c 127.0.0.1:5 -u 127.0.0.1:6 --ng-allow=10.1.2.3/8,::1"))
	if err != nil {
		t.Fatal(err)
	}
	want := Control{
		NGTCP: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("[::1]:2")},
		HTTP:  []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:3")},
		HTTPS: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:4")}, HTTPSCert: "c.pem", HTTPSKey: "k.pem",
		CLI:    []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5")},
		Legacy: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:6")},
		Allow:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}
	if !reflect.DeepEqual(s.Control, want) || len(s.Notes) > 0 {
		t.Errorf("got %+v, notes %v", s.Control, s.Notes)
	}
}

func TestAListenerAndAnInterfaceAreNeeded(t *testing.T) {
	if _, err := Load([]string{"--config-file=none", "-i", "127.0.0.1"}); err == nil || !strings.Contains(err.Error(), "listen-ng") {
		t.Errorf("got %v", err)
	}
	if _, err := Load([]string{"--config-file=none", "-n", "2223"}); err == nil || !strings.Contains(err.Error(), "interface") {
		t.Errorf("got %v", err)
	}
}

func TestVersionNeedsNothingElse(t *testing.T) {
	s, err := Load([]string{"-v"})
	if err != nil || !s.Process.ShowVersion {
		t.Errorf("got %+v, %v", s, err)
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "m.conf")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFileAndCommandLine(t *testing.T) {
	name := writeFile(t, `
# comment
[other]
timeout = nonsense

[rtpengine]
interface = a/10.0.0.1;b/10.0.0.2!192.0.2.2
  listen-ng = 127.0.0.1:5000; [::1]:5001
timeout = 20
tos=184
log-stderr = true
made-up = 1
redis = 127.0.0.1:6379/5
homer-enable-ng = false
[rtpengine]
timeout = 25
`)
	s, err := Load([]string{"--config-file", name, "--tos=0", "-n", "127.0.0.1:6000"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Limits.Timeout != 25*time.Second || s.Network.TOS != 0 || !s.Log.ToStderr || len(s.Network.Interfaces) != 2 {
		t.Errorf("got %+v", *s)
	}
	if len(s.Control.NG) != 1 || s.Control.NG[0].Port() != 6000 {
		t.Errorf("the command line does not replace the list: %v", s.Control.NG)
	}
	want := []Note{
		{"unknown option ignored", "made-up", name + ":12"},
		{"option has no effect in this version", "redis", name + ":13"},
	}
	if !slices.Equal(s.Notes, want) {
		t.Errorf("notes = %v, want %v", s.Notes, want)
	}
}

func TestFileFaultsNameFileLineAndKey(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[rtpengine]\n\ntimeout = x\n", ":3: timeout: \"x\" is not a whole number"},
		{"[rtpengine]\nlog-stderr = yes\n", ":2: log-stderr: \"yes\" is not true or false"},
		{"[rtpengine]\ntos = 184 # EF\n", ":2: tos:"},
		{"timeout = 3\n", ":1: no section header"},
		{"[rtpengine]\nnonsense\n", ":2: \"nonsense\" is neither"},
		{"[rtpengine\n", ":1: "},
		{"[x]\n", "there is no section [rtpengine]"},
		{"[rtpengine]\nlog-name = a\\q\n", ":2: log-name: \\q is not an escape"},
		{"[rtpengine]\ninterface = 127.0.0.1;wrong!\n", ":2: interface:"},
	} {
		name := writeFile(t, c.text)
		_, err := Load([]string{"--config-file=" + name, "-n", "2223"})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: error %v, want one with %q and the file", c.text, err, c.want)
		}
	}
}

func TestSectionOption(t *testing.T) {
	name := writeFile(t, "[rtpengine]\ntimeout = 1\n[mine]\ntimeout = 2\nlisten-ng = 2223\ninterface = 127.0.0.1\n")
	s, err := Load([]string{"--config-file=" + name, "--config-section=mine"})
	if err != nil || s.Limits.Timeout != 2*time.Second {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestPackagedFileStartsUnchanged(t *testing.T) {
	names := []string{"testdata/packaged.conf", DefaultConfigFile}
	for _, name := range names {
		if _, err := os.Stat(name); name == DefaultConfigFile && err != nil {
			continue // not installed here; the first name holds the same keys
		}
		s, err := Load([]string{"--config-file=" + name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Engine.Table != 0 || s.Network.TOS != 184 || len(s.Control.NG) == 0 || s.Control.NG[0].Port() != 2223 ||
			len(s.Network.Interfaces) == 0 || s.Network.PortMax != 40000 {
			t.Errorf("%s: got %+v", name, *s)
		}
		var named []string
		for _, n := range s.Notes {
			named = append(named, n.Option)
		}
		for _, want := range []string{"recording-dir", "recording-method"} {
			if !slices.Contains(named, want) {
				t.Errorf("%s: nothing said about %s", name, want)
			}
		}
	}
}

func TestOwnSampleHasNoNotes(t *testing.T) {
	s, err := Load([]string{"--config-file=../../../deploy/mediad.conf"})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Notes) > 0 {
		t.Errorf("notes: %v", s.Notes)
	}
}

func TestDefaultFileIsReadIfThere(t *testing.T) {
	name := writeFile(t, "[rtpengine]\nlisten-ng = 2223\ninterface = 127.0.0.1\n")
	s, err := load(nil, name)
	if err != nil || s.Process.ConfigFile != name {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := load([]string{"-n", "2223", "-i", "127.0.0.1"}, name+".absent"); err != nil {
		t.Error(err)
	}
}

func TestListenForms(t *testing.T) {
	for text, want := range map[string]string{
		"2223": "[::]:2223", "10.1.1.1:5": "10.1.1.1:5", "[::1]:5": "[::1]:5", "127.0.0.1:0": "127.0.0.1:0",
	} {
		got, err := parseListen(text)
		if err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%q = %v, %v; want %s", text, got, err, want)
		}
	}
	if got, err := parseListen("localhost:2223"); err != nil || len(got) == 0 || !got[0].Addr().IsLoopback() {
		t.Errorf("localhost = %v, %v", got, err)
	}
}

func TestDeviceAndAny(t *testing.T) {
	for _, text := range []string{"lo", "n/lo", "any"} {
		var s Settings
		if err := addInterface(&s, text); err != nil || len(s.Network.Interfaces) == 0 {
			t.Errorf("%q: %v, %v", text, s.Network.Interfaces, err)
		}
		for _, i := range s.Network.Interfaces {
			if i.Address.Zone() != "" || i.Address != i.Advertised {
				t.Errorf("%q: %v", text, i)
			}
		}
	}
	var s Settings
	if err := addInterface(&s, "a/10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if err := addInterface(&s, "b=a"); err != nil || s.Network.Interfaces[1].Name != "b" {
		t.Errorf("alias: %v, %v", s.Network.Interfaces, err)
	}
	for _, text := range []string{"g:1/10.0.0.2", "g:2/10.0.0.3", "h=g"} {
		if err := addInterface(&s, text); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.Network.Interfaces); n != 6 || s.Network.Interfaces[5].Name != "h:2" {
		t.Errorf("alias of a group: %v", s.Network.Interfaces)
	}
}

func TestOptionNamesAreUnique(t *testing.T) {
	long, short := map[string]bool{}, map[byte]string{}
	for _, o := range options() {
		if long[o.long] {
			t.Errorf("%s is there twice", o.long)
		}
		long[o.long] = true
		if other, ok := short[o.short]; ok && o.short != 0 {
			t.Errorf("-%c stands for %s and %s", o.short, other, o.long)
		}
		short[o.short] = o.long
	}
	for letter, name := range map[byte]string{
		'i': "interface", 'n': "listen-ng", 'm': "port-min", 'M': "port-max", 'p': "pidfile", 'f': "foreground",
		't': "table", 'F': "no-fallback", 'T': "tos", 'L': "log-level", 'E': "log-stderr", 'o': "timeout",
		's': "silent-timeout", 'a': "final-timeout", 'd': "delete-delay", 'v': "version", 'c': "listen-cli",
		'u': "listen-udp", 'l': "listen-tcp", 'N': "listen-tcp-ng", 'S': "save-interface-ports", 'r': "redis",
	} {
		if short[letter] != name {
			t.Errorf("-%c stands for %q, want %q", letter, short[letter], name)
		}
	}
}

func FuzzParseINI(f *testing.F) {
	f.Add("[rtpengine]\ninterface = a/1.2.3.4;b/::1\n# c\n[x]\n[rtpengine]\nk=v")
	f.Add("[rtpengine]\nk=\\s\\;\\")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := parseINI("f", text)
		if err != nil {
			return
		}
		names := map[string]bool{}
		for _, s := range file.sections {
			if names[s.name] {
				t.Errorf("section %q is there twice", s.name)
			}
			names[s.name] = true
			seen := map[string]bool{}
			for _, e := range s.entries {
				if seen[e.key] || e.line < 2 {
					t.Errorf("entry %+v", e)
				}
				seen[e.key] = true
				if value, err := unescape(e.value); err == nil {
					splitList(value)
				}
			}
		}
	})
}
