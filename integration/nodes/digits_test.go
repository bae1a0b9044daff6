//go:build integration

package nodes

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// digitProfiles make the caller one that knows INFO only. rtpengine plays digits where it was told to be ready for it.
const digitProfiles = `profiles:
  old: {flags: "RTP/AVP ICE=remove DTLS=passive SDES-off rtcp-mux-demux%[1]s", digits: info}
  sip: {flags: "RTP/AVP ICE=remove DTLS=passive SDES-off rtcp-mux-demux%[1]s", digits: rtp}
`

// TestDigits: INFO of one side is heard as telephone events by the other one, and its telephone events come as INFO.
func TestDigits(t *testing.T) {
	for i, c := range []struct{ daemon, flags string }{{"mediad", ""}, {"rtpengine", " inject-DTMF"}} {
		t.Run(c.daemon, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "digits "+c.daemon, 20+i, [2]string{c.daemon, c.daemon}, fmt.Sprintf(digitProfiles, c.flags))
			s.dial(1)
			if err := s.heard(time.Now(), 5*time.Second); err != nil {
				t.Fatal(err)
			}
			caller, callee := s.caller.live()[0], s.callee.live()[0]
			for _, signal := range []string{"5", "#", "1"} {
				res, err := caller.transact("INFO", "Signal="+signal+"\r\nDuration=120\r\n")
				if err != nil || res.StatusCode != 200 {
					t.Fatalf("INFO: %v %v", res, err)
				}
			}
			callee.press(9)
			if err := harness.Eventually(5*time.Second, func() error {
				s.callee.mu.Lock()
				events, passed := slices.Clone(callee.events), len(callee.infos)
				s.callee.mu.Unlock()
				s.caller.mu.Lock()
				infos := slices.Clone(caller.infos)
				s.caller.mu.Unlock()
				if !slices.Equal(events, []byte{5, 11, 1}) || passed > 0 || len(infos) != 1 || infos[0] != "Signal=9\r\nDuration=160\r\n" {
					return fmt.Errorf("the callee has heard %v and %d INFO, the caller got %q", events, passed, infos)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			if err := s.heard(time.Now(), 5*time.Second); err != nil {
				t.Error(err)
			}
			s.end()
		})
	}
}
