//go:build integration

package kill

import (
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// The media of calls time out at the media daemon: the proxy notices that they
// are gone, and both sides get BYE.
func TestMediaTimeout(t *testing.T) {
	t.Parallel()
	for i, daemon := range []string{"mediad", "rtpengine"} {
		t.Run(daemon, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "media-"+daemon, 44+i)
			program := daemon
			if daemon == "mediad" {
				var err error
				if program, err = harness.Build(t.TempDir(), "mediad"); err != nil {
					t.Fatal(err)
				}
			}
			port, err := harness.FreePort(s.host)
			if err != nil {
				t.Fatal(err)
			}
			ng := harness.NG{Address: net.JoinHostPort(s.host, strconv.Itoa(port))}
			media, err := harness.Start(harness.Spec{Name: daemon, Path: program, Dir: s.dir, Args: []string{
				"--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=6", "--interface=" + s.host,
				"--listen-ng=" + ng.Address, "--port-min=30000", "--port-max=30399", "--delete-delay=0", "--timeout=7",
			}})
			if err != nil {
				t.Fatal(err)
			}
			s.running = append(s.running, media)
			if err := media.Ready(ng.Ping); err != nil {
				t.Fatal(err)
			}
			s.configure(fmt.Sprintf(`trunks:
  - {name: generator, sources: ["%[1]s/32"]}
routes:
  - {name: out, from: [generator], domain: "*", to: "sip:%[2]s:15091"}
media: {nodes: ["udp:%[3]s"]}
dialogs: {media_check: 1s}
storage: {path: ":memory:"}
`, s.caller, s.callee, ng.Address))
			s.startProxy()
			const n = "5"
			callee := s.sipp("callee", "callee-waits", s.callee, 15091, "-m", n)
			caller := s.sipp("caller", "caller-waits", s.caller, 15090, "-m", n, "-s", "x", "-r", "50", s.host+":15060")
			for _, p := range []*harness.Process{caller, callee} {
				if err := p.Wait(25 * time.Second); err != nil {
					t.Errorf("%s: %v\n%s", p.Name, err, s.errors(p.Name))
				}
			}
			s.until(func() error {
				if ended := s.logged(`"call ended".*"by":"proxy: media timeout"`); ended != 5 {
					return fmt.Errorf("%d calls ended by the media timeout", ended)
				}
				return nil
			})
		})
	}
}
