package ports

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

// freeRange finds a range of ports of which none is in use on an address.
func freeRange(t *testing.T, local netip.Addr, pairs int) (min, max uint16) {
	t.Helper()
	for base := 21000; base < 60000; base += 2 * pairs {
		ok := true
		for p := base; ok && p < base+2*pairs; p++ {
			c, err := udp.Listen(netip.AddrPortFrom(local, uint16(p)), udp.Options{})
			if ok = err == nil; ok {
				require.NoError(t, c.Close())
			}
		}
		if ok {
			return uint16(base), uint16(base + 2*pairs - 1)
		}
	}
	t.Fatal("no free range of ports")
	return 0, 0
}

func registry(t *testing.T, local string, pairs int, quarantine time.Duration) *Registry {
	t.Helper()
	a := netip.MustParseAddr(local)
	min, max := freeRange(t, a, pairs)
	r, err := New([]Interface{{Name: "default", Addresses: []Address{{Local: a, Min: min, Max: max}}}}, Options{Quarantine: quarantine})
	require.NoError(t, err)
	return r
}

// TestAllPortsAndBack takes all pairs, finds that there is none left, gives them back and takes all again: nothing leaks.
func TestAllPortsAndBack(t *testing.T) {
	for _, local := range []string{"127.0.0.1", "127.0.0.9", "::1"} {
		t.Run(local, func(t *testing.T) {
			const pairs = 20
			r := registry(t, local, pairs, time.Hour) // nothing leaves quarantine by itself
			for range 3 {
				var all []*Pair
				seen := map[uint16]bool{}
				for range pairs {
					p, err := r.Allocate("default", AnyFamily)
					require.NoError(t, err)
					port := p.RTP.LocalAddr().Port()
					require.Zero(t, port%2, "RTP is even")
					require.Equal(t, port+1, p.RTCP.LocalAddr().Port())
					require.Equal(t, local, p.RTP.LocalAddr().Addr().String())
					require.Equal(t, "default", p.Interface)
					require.False(t, seen[port])
					seen[port] = true
					all = append(all, p)
				}
				_, err := r.Allocate("default", AnyFamily)
				require.ErrorIs(t, err, ErrNoPorts)
				require.Equal(t, "Ran out of ports", ErrNoPorts.Error())
				require.Equal(t, pairs, r.Stats()[0].Used)
				for _, p := range all {
					p.Release()
					p.Release()
				}
				st := r.Stats()[0]
				require.Equal(t, Stats{Interface: "default", Address: st.Address, Total: pairs, Used: 0, Rest: pairs, Last: st.Last}, st)
				require.Contains(t, seen, st.Last)
				for port := range seen {
					for _, n := range []uint16{port, port + 1} {
						c, err := udp.Listen(netip.AddrPortFrom(netip.MustParseAddr(local), n), udp.Options{})
						require.NoError(t, err, "port %d is not given back", n)
						require.NoError(t, c.Close())
					}
				}
			}
		})
	}
}

// TestQuarantine: a released pair is not handed out while another is free, and the longest rested goes first when none is.
func TestQuarantine(t *testing.T) {
	r := registry(t, "127.0.0.1", 3, time.Hour)
	take := func() *Pair {
		p, err := r.Allocate("", AnyFamily)
		require.NoError(t, err)
		return p
	}
	a := take()
	first := a.RTP.LocalAddr().Port()
	a.Release()
	b, c := take(), take()
	require.NotEqual(t, first, b.RTP.LocalAddr().Port())
	require.NotEqual(t, first, c.RTP.LocalAddr().Port())
	second := b.RTP.LocalAddr().Port()
	b.Release()
	d := take()
	require.Equal(t, first, d.RTP.LocalAddr().Port(), "rested longest")
	e := take()
	require.Equal(t, second, e.RTP.LocalAddr().Port())
	for _, p := range []*Pair{c, d, e} {
		p.Release()
	}

	short := registry(t, "127.0.0.1", 1, 30*time.Millisecond)
	p, err := short.Allocate("", AnyFamily)
	require.NoError(t, err)
	p.Release()
	require.Equal(t, 1, short.Stats()[0].Rest)
	require.Eventually(t, func() bool { return short.Stats()[0].Rest == 0 }, time.Second, 5*time.Millisecond)
}

// TestForeignPortsArePassedOver: another process may hold ports of our range.
func TestForeignPortsArePassedOver(t *testing.T) {
	r := registry(t, "127.0.0.1", 4, time.Hour)
	a := r.Addresses("default")[0]
	var foreign []*udp.Conn
	for _, port := range []uint16{a.Min, a.Min + 3, a.Min + 4} { // an even, an odd and an even one
		c, err := udp.Listen(netip.AddrPortFrom(a.Local, port), udp.Options{})
		require.NoError(t, err)
		foreign = append(foreign, c)
	}
	p, err := r.Allocate("", AnyFamily)
	require.NoError(t, err)
	require.Equal(t, a.Min+6, p.RTP.LocalAddr().Port())
	_, err = r.Allocate("", AnyFamily)
	require.ErrorIs(t, err, ErrNoPorts)
	for _, c := range foreign {
		require.NoError(t, c.Close())
	}
	q, err := r.Allocate("", AnyFamily)
	require.NoError(t, err, "they count again when they are free")
	p.Release()
	q.Release()
	require.Zero(t, r.Stats()[0].Used)
}

func TestRandomStart(t *testing.T) {
	seen := map[uint16]bool{}
	r := registry(t, "127.0.0.1", 50, time.Hour)
	for range 10 {
		p, err := r.Allocate("", AnyFamily)
		require.NoError(t, err)
		seen[p.RTP.LocalAddr().Port()-r.Addresses("default")[0].Min] = true
		defer p.Release()
	}
	inOrder := true
	for i := range uint16(10) {
		inOrder = inOrder && seen[2*i]
	}
	require.False(t, inOrder, "ports must not be predictable")
}

func TestConcurrentUse(t *testing.T) {
	r := registry(t, "127.0.0.1", 16, time.Millisecond)
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 50 {
				if p, err := r.Allocate("", AnyFamily); err == nil {
					p.Release()
				}
			}
		}()
	}
	wg.Wait()
	st := r.Stats()[0]
	require.Zero(t, st.Used)
	require.Equal(t, 16, st.Total)
}

func TestInterfacesAndFamilies(t *testing.T) {
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	min4, max4 := freeRange(t, v4, 4)
	min6, max6 := freeRange(t, v6, 4)
	public := netip.MustParseAddr("203.0.113.9")
	r, err := New([]Interface{
		{Name: "inside", Addresses: []Address{{Local: v4, Min: min4, Max: max4}, {Local: v6, Min: min6, Max: max6}}},
		{Name: "outside", Addresses: []Address{{Local: netip.MustParseAddr("127.0.0.8"), Advertised: public, Min: min4, Max: max4}}},
	}, Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"inside", "outside"}, r.Names())
	name, ok := r.Resolve("")
	require.True(t, ok)
	require.Equal(t, "inside", name)
	_, ok = r.Resolve("nowhere")
	require.False(t, ok)
	require.Nil(t, r.Addresses("nowhere"))

	for family, want := range map[Family]netip.Addr{AnyFamily: v4, IPv4: v4, IPv6: v6} {
		p, err := r.Allocate("inside", family)
		require.NoError(t, err)
		require.Equal(t, want, p.RTP.LocalAddr().Addr())
		require.Equal(t, want, p.Address.Public())
		p.Release()
	}
	p, err := r.Allocate("outside", IPv4)
	require.NoError(t, err)
	require.Equal(t, public, p.Address.Public())
	p.Release()
	_, err = r.Allocate("outside", IPv6)
	require.ErrorIs(t, err, ErrNoInterface)
	_, err = r.Allocate("nowhere", AnyFamily)
	require.ErrorIs(t, err, ErrNoInterface)
}

// TestSharedPool: one address under two names, with two advertised addresses, has its ports once.
func TestSharedPool(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	min, max := freeRange(t, local, 2)
	a := Address{Local: local, Min: min, Max: max}
	b := a
	b.Advertised = netip.MustParseAddr("203.0.113.9")
	r, err := New([]Interface{{"in", []Address{a}}, {"out", []Address{b}}}, Options{})
	require.NoError(t, err)
	p, err := r.Allocate("in", AnyFamily)
	require.NoError(t, err)
	q, err := r.Allocate("out", AnyFamily)
	require.NoError(t, err)
	require.Equal(t, local, p.Address.Public())
	require.Equal(t, b.Advertised, q.Address.Public())
	_, err = r.Allocate("in", AnyFamily)
	require.ErrorIs(t, err, ErrNoPorts)
	require.Equal(t, 2, r.Stats()[1].Used)
	require.Equal(t, 2, r.Capacity(), "two names of one pool")
	p.Release()
	q.Release()
}

func TestUnusableSettings(t *testing.T) {
	v4 := netip.MustParseAddr("127.0.0.1")
	for _, a := range []Address{
		{}, {Local: netip.IPv4Unspecified(), Min: 2, Max: 9}, {Local: v4}, {Local: v4, Min: 3, Max: 4}, {Local: v4, Min: 9, Max: 2}, {Local: v4, Min: 65535, Max: 65535},
	} {
		_, err := New([]Interface{{Name: "x", Addresses: []Address{a}}}, Options{})
		require.Error(t, err, fmt.Sprint(a))
	}
	_, err := New(nil, Options{})
	require.ErrorIs(t, err, ErrNoInterface)
	_, err = New([]Interface{{Name: "x"}}, Options{})
	require.Error(t, err)
	r, err := New([]Interface{{Name: "x", Addresses: []Address{{Local: netip.MustParseAddr("192.0.2.1"), Min: 4000, Max: 4999}}}}, Options{})
	require.NoError(t, err)
	_, err = r.Allocate("x", AnyFamily)
	require.Error(t, err, "an address this machine does not have")
	require.NotErrorIs(t, err, ErrNoPorts)
	require.Zero(t, r.Stats()[0].Used)
}

// TestHighestPorts: the range may end at 65535.
func TestHighestPorts(t *testing.T) {
	r, err := New([]Interface{{Name: "x", Addresses: []Address{{Local: netip.MustParseAddr("127.0.0.77"), Min: 65533, Max: 65535}}}}, Options{})
	require.NoError(t, err)
	require.Equal(t, 1, r.Stats()[0].Total)
	p, err := r.Allocate("x", AnyFamily)
	require.NoError(t, err)
	require.Equal(t, uint16(65534), p.RTP.LocalAddr().Port())
	p.Release()
}

// TestReplace adds an interface, takes one away and keeps the rest.
func TestReplace(t *testing.T) {
	local := func(s string) Address {
		a := netip.MustParseAddr(s)
		min, max := freeRange(t, a, 2)
		return Address{Local: a, Min: min, Max: max}
	}
	one, two, three := local("127.0.0.21"), local("127.0.0.22"), local("127.0.0.23")
	r, err := New([]Interface{{"a", []Address{one}}, {"b", []Address{two}}}, Options{})
	require.NoError(t, err)
	kept, err := r.Allocate("a", AnyFamily)
	require.NoError(t, err)
	gone, err := r.Allocate("b", AnyFamily)
	require.NoError(t, err)

	require.Error(t, r.Replace([]Interface{{"a", nil}}))
	require.Equal(t, []string{"a", "b"}, r.Names(), "a bad set changes nothing")
	require.NoError(t, r.Replace([]Interface{{"c", []Address{three}}, {"a", []Address{one}}}))
	require.Equal(t, []string{"c", "a"}, r.Names())
	_, ok := r.Resolve("b")
	require.False(t, ok)
	late, err := r.Allocate("b", AnyFamily)
	require.NoError(t, err, "for a command that has chosen it before")
	late.Release()
	_, err = r.Allocate("nowhere", AnyFamily)
	require.ErrorIs(t, err, ErrNoInterface)
	require.Equal(t, 1, r.Stats()[1].Used, "the pool has been kept")
	gone.Release() // drained
	kept.Release()
	require.Zero(t, r.Stats()[1].Used)

	require.NoError(t, r.Replace([]Interface{{"a", []Address{{Local: one.Local, Min: one.Min, Max: one.Min + 1}}}}))
	require.Equal(t, 1, r.Stats()[0].Total, "another range")
	_, err = r.Allocate("b", AnyFamily)
	require.ErrorIs(t, err, ErrNoInterface)
}

func TestAllocateOthers(t *testing.T) {
	v4, v6, more := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.31")
	min4, max4 := freeRange(t, v4, 3)
	min6, max6 := freeRange(t, v6, 1)
	interfaces := []Interface{{"x", []Address{
		{Local: v4, Min: min4, Max: max4}, {Local: v6, Min: min6, Max: max6}, {Local: more, Min: min4, Max: max4},
	}}}
	r, err := New(interfaces, Options{})
	require.NoError(t, err)
	first, err := r.Allocate("x", IPv4)
	require.NoError(t, err)
	others, err := r.AllocateOthers(first)
	require.NoError(t, err)
	require.Len(t, others, 2)
	require.Equal(t, []netip.Addr{more, v6}, []netip.Addr{others[0].Address.Local, others[1].Address.Local})
	_, err = r.AllocateOthers(first)
	require.ErrorIs(t, err, ErrNoPorts)
	require.Equal(t, 1, r.Stats()[2].Used, "all or nothing")
	for _, p := range append(others, first) {
		p.Release()
	}

	r, err = New(interfaces, Options{FirstOnly: true})
	require.NoError(t, err)
	first, err = r.Allocate("x", IPv6)
	require.NoError(t, err)
	others, err = r.AllocateOthers(first)
	require.NoError(t, err)
	require.Empty(t, others)
	first.Release()
}

func TestRotatePassesOverTheExhausted(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	min, max := freeRange(t, local, 3)
	address := func(i uint16) []Address { return []Address{{Local: local, Min: min + 2*i, Max: min + 2*i + 1}} }
	require.Less(t, min+5, max+1)
	r, err := New([]Interface{{"g:1", address(0)}, {"g:2", address(1)}, {"g:3", address(2)}}, Options{})
	require.NoError(t, err)
	members := []string{"g:1", "g:2", "g:3"}
	turns := func() (out []int) {
		for range 3 {
			out = append(out, r.Rotate("g", members))
		}
		return out
	}
	require.Equal(t, []int{0, 1, 2}, turns())
	p, err := r.Allocate("g:2", AnyFamily)
	require.NoError(t, err)
	require.Equal(t, []int{0, 2, 2}, turns())
	p.Release()
}

func TestExcludedPorts(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	min, max := freeRange(t, local, 4)
	a := Address{Local: local, Min: min, Max: max, Exclude: []Range{{min + 1, min + 1}, {min + 4, min + 7}}}
	r, err := New([]Interface{{"x", []Address{a}}}, Options{})
	require.NoError(t, err)
	require.Equal(t, 1, r.Stats()[0].Total)
	p, err := r.Allocate("x", AnyFamily)
	require.NoError(t, err)
	require.Equal(t, min+2, p.RTP.LocalAddr().Port())
	p.Release()
	a.Exclude = []Range{{1, 65535}}
	_, err = New([]Interface{{"x", []Address{a}}}, Options{})
	require.Error(t, err)
}
