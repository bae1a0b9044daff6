package acl

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestPermits(t *testing.T) {
	for _, c := range []struct {
		allow, deny []netip.Prefix
		yes, no     []string
	}{
		{nil, nil, []string{"192.0.2.1", "::1"}, nil},
		{nil, prefixes("192.0.2.0/24", "2001:db8::/32"), []string{"192.0.3.1", "2001:db9::1"}, []string{"192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1::1"}},
		{prefixes("10.0.0.0/8"), nil, []string{"10.1.2.3"}, []string{"11.0.0.1", "::1"}},
		{prefixes("10.0.0.0/8", "10.1.2.3/32"), prefixes("10.1.0.0/16"), []string{"10.2.0.1", "10.1.2.3"}, []string{"10.1.2.4", "192.0.2.1"}},
		{prefixes("10.0.0.0/8"), prefixes("10.0.0.0/8"), nil, []string{"10.0.0.1"}},
		{prefixes("0.0.0.0/0"), prefixes("192.0.2.1/32"), []string{"192.0.2.2"}, []string{"192.0.2.1", "2001:db8::1"}},
	} {
		l := New(c.allow, c.deny)
		for _, a := range c.yes {
			if !l.Permits(netip.MustParseAddr(a)) {
				t.Errorf("allow %v deny %v: %s refused", c.allow, c.deny, a)
			}
		}
		for _, a := range c.no {
			if l.Permits(netip.MustParseAddr(a)) {
				t.Errorf("allow %v deny %v: %s permitted", c.allow, c.deny, a)
			}
		}
	}
	if !(*List)(nil).Permits(netip.MustParseAddr("::1")) {
		t.Error("no list refuses")
	}
}

// The table answers as a walk over all rules does.
func TestLikeAWalk(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	prefix := func() netip.Prefix {
		p, _ := netip.AddrFrom4([4]byte{10, byte(random.IntN(4)), byte(random.IntN(4)), byte(random.IntN(4))}).Prefix(8 + random.IntN(25))
		return p
	}
	for range 200 {
		var allow, deny []netip.Prefix
		for range random.IntN(6) {
			allow, deny = append(allow, prefix()), append(deny, prefix())
		}
		l := New(allow, deny)
		for range 50 {
			a := netip.AddrFrom4([4]byte{10, byte(random.IntN(5)), byte(random.IntN(5)), byte(random.IntN(5))})
			want, best := len(allow) == 0, -1
			for _, p := range allow {
				if p.Contains(a) && p.Bits() > best {
					want, best = true, p.Bits()
				}
			}
			for _, p := range deny {
				if p.Contains(a) && p.Bits() >= best {
					want, best = false, p.Bits()
				}
			}
			if l.Permits(a) != want {
				t.Fatalf("allow %v deny %v: %v, want %v", allow, deny, a, want)
			}
		}
	}
}
