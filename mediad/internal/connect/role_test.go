package connect

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRoleConflict: a peer that claims our role is turned, or turns us, and the two connect.
func TestRoleConflict(t *testing.T) {
	for range 6 { // the tie-breakers are random: both outcomes are met
		for _, both := range []bool{true, false} {
			o := newOurs(t, "127.0.0.1", nil)
			p := newPeer(t, "127.0.0.2", false)
			require.NoError(t, o.Start(p.remote(t, both, true)))
			p.start(t, o, both)
			require.Equal(t, p.addr(), o.waitSelected(t), "both controlling: %t", both)
			o.waitState(t, Connected)
			o.Close()
		}
	}
}

// TestForgedConflictChangesNothing: only a check with the right integrity may turn our role.
func TestForgedConflictChangesNothing(t *testing.T) {
	o := newOurs(t, "127.0.0.1", nil)
	require.NoError(t, o.Start(Remote{Credentials: NewCredentials(), Controlling: true}))
	before := o.generation
	highest := []byte{255, 255, 255, 255, 255, 255, 255, 255}
	for range 10 {
		o.HandlePacket(message(bindingRequest, attribute(attrUsername, []byte(o.Credentials().Ufrag+":x")...), attribute(attrControlling, highest...),
			attribute(attrIntegrity, make([]byte, 20)...)), netip.MustParseAddrPort("127.0.0.2:9"))
	}
	time.Sleep(50 * time.Millisecond)
	o.Agent.mu.Lock()
	defer o.Agent.mu.Unlock()
	require.Same(t, before, o.generation)
}

func TestNomination(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")
	now := time.Now()

	var lite nomination
	require.True(t, lite.follow(a, 10, true, now), "the first one counts at once")
	require.False(t, lite.follow(a, 10, true, now), "chosen already")
	require.False(t, lite.follow(b, 5, true, now), "worse")
	require.True(t, lite.follow(b, 20, true, now), "better")
	require.False(t, lite.follow(a, 10, true, now.Add(renominateAfter)), "aggressive nomination does not flap")
	require.True(t, lite.follow(a, 10, true, now.Add(renominateAfter+time.Second)), "the pair in use was given up")

	var full nomination
	require.False(t, full.follow(a, 10, false, now), "left to pion")
	full.selected(a, 10, now)
	require.False(t, full.follow(b, 20, false, now.Add(time.Second)), "left to pion")
	require.False(t, full.follow(a, 10, false, now.Add(4*time.Second)))
	require.False(t, full.follow(b, 5, false, now.Add(8*time.Second)))
	require.True(t, full.follow(b, 5, false, now.Add(10*time.Second)), "the browser has moved on to a pair that pion would not take")
}
