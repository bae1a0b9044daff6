package settings

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestIntendedLine is the command line that other programs' test suites use.
func TestIntendedLine(t *testing.T) {
	for _, more := range []string{"", " --silence-detect=1", " --log-level-ice 7 --mos CQ stray", " --software-id=x -T0x10 -o 0 --no-log-timestamps=true"} {
		line := "--config-file=none -t -1 -i 203.0.113.1 -i 2001:db8:4321::1 -n 2223 -c 12345 -f -L 7 -E -u 2222" + more
		s, err := Load(strings.Fields(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if len(s.Network.Interfaces) != 2 || s.Control.CLI[0].Port() != 12345 || s.Control.Legacy[0].Port() != 2222 ||
			!s.Process.Foreground || s.Log.Level != 7 || s.Limits.Timeout != time.Minute {
			t.Errorf("%s: %+v", line, *s)
		}
		if strings.Contains(more, "stray") && !slices.Contains(s.Notes, Note{"not an option, ignored", "stray", sourceCommandLine}) {
			t.Errorf("notes %v", s.Notes)
		}
	}
}

func TestListsWithBlanks(t *testing.T) {
	name := writeFile(t, "[rtpengine]\ninterface = 203.0.113.1 ; pub/203.0.113.2!198.51.100.1 ;pub/2001:db8::1; ;\n"+
		"listen-ng = 2223 ; 127.0.0.1:2224\nlisten-cli = 127.0.0.1:9900\n")
	s, err := Load([]string{"--config-file=" + name})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range s.Network.Interfaces {
		names = append(names, i.Name+"/"+i.Address.String()+"!"+i.Advertised.String())
	}
	want := "default/203.0.113.1!203.0.113.1 pub/203.0.113.2!198.51.100.1 pub/2001:db8::1!2001:db8::1"
	if got := strings.Join(names, " "); got != want || len(s.Control.NG) != 2 {
		t.Errorf("got %s, %v", got, s.Control.NG)
	}
}

const sectionsFile = `
[rtpengine]
interfaces-config = interface
templates = templates
listen-ng = 2223
port-min = 20000

[interface-int]
address = 10.0.0.1
port-min = 30000
port-max = 30999
exclude-ports = 30100-30109 ; 30050

[interface-ext6]
name = ext
address = 2001:db8::1
[interface-ext]
address = 10.0.0.2 ; 10.0.0.3
advertised = 198.51.100.1
alias = public
unknown = 1

[interface-old]
alias = int

[templates]
default = RTP ICE=remove
WebRTC = transport-protocol=UDP/TLS/RTP/SAVPF ICE=force
`

func TestInterfaceSectionsAndTemplates(t *testing.T) {
	s, err := Load([]string{"--config-file=" + writeFile(t, sectionsFile)})
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr
	exclude := []PortRange{{30050, 30050}, {30100, 30109}}
	ten1, ten2, ten3, public := addr("10.0.0.1"), addr("10.0.0.2"), addr("10.0.0.3"), addr("198.51.100.1")
	want := []Interface{
		{Name: "int", Address: ten1, Advertised: ten1, PortMin: 30000, PortMax: 30999, Exclude: exclude},
		{Name: "ext", Address: addr("2001:db8::1"), Advertised: addr("2001:db8::1")},
		{Name: "ext", Address: ten2, Advertised: public},
		{Name: "ext", Address: ten3, Advertised: public},
		{Name: "public", Address: addr("2001:db8::1"), Advertised: addr("2001:db8::1")},
		{Name: "public", Address: ten2, Advertised: public},
		{Name: "public", Address: ten3, Advertised: public},
		{Name: "old", Address: ten1, Advertised: ten1, PortMin: 30000, PortMax: 30999, Exclude: exclude},
	}
	if !reflect.DeepEqual(s.Network.Interfaces, want) {
		t.Errorf("got  %v\nwant %v", s.Network.Interfaces, want)
	}
	if low, high := s.Network.Ports(want[0]); low != 30000 || high != 30999 {
		t.Errorf("ports %d–%d", low, high)
	}
	if low, high := s.Network.Ports(want[1]); low != 20000 || high != 40000 {
		t.Errorf("ports %d–%d", low, high)
	}
	if !reflect.DeepEqual(s.Control.Templates, map[string]string{
		"default": "RTP ICE=remove", "WebRTC": "transport-protocol=UDP/TLS/RTP/SAVPF ICE=force",
	}) {
		t.Errorf("templates %v", s.Control.Templates)
	}
	if len(s.Notes) != 1 || s.Notes[0].Option != "unknown" {
		t.Errorf("notes %v", s.Notes)
	}
}

func TestSectionFaults(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"address = 10.0.0.1", "adress = 10.0.0.1", "[interface-int]: neither address nor alias"},
		{"port-min = 30000", "port-min = x", `port-min: "x" is not a whole number`},
		{"port-max = 30999", "port-max = 3", "interface int: port-min 30000 is above port-max 3"},
		{"30100-30109", "30109-30100", "exclude-ports"},
		{"alias = int", "alias = nothing", `no interface "nothing"`},
		{"[templates]", "[t]", "templates: there is no section [templates]"},
		{"interfaces-config = interface", "interfaces-config = i", "no section [i-…]"},
		{"ICE=force", `ICE=\q`, `WebRTC: \q is not an escape`},
	} {
		_, err := Load([]string{"--config-file=" + writeFile(t, strings.Replace(sectionsFile, c.old, c.new, 1))})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.new, err, c.want)
		}
	}
}

func TestAllowed(t *testing.T) {
	c := Control{}
	if !c.Allows(netip.MustParseAddr("192.0.2.1")) {
		t.Error("without a list everybody is allowed")
	}
	c.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}
	for text, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "192.0.2.1": false, "::1": false, "fe80::1%eth0": true,
	} {
		if c.Allows(netip.MustParseAddr(text)) != want {
			t.Errorf("%s: want %v", text, want)
		}
	}
}
