package kernel

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// TestObject: the object that is committed and the Go types made from it belong together.
func TestObject(t *testing.T) {
	spec, err := loadForward()
	require.NoError(t, err)
	require.Contains(t, spec.Programs, "forward")
	require.EqualValues(t, unsafe.Sizeof(forwardPlace{}), spec.Maps["routes"].KeySize)
	require.EqualValues(t, unsafe.Sizeof(forwardRoute{}), spec.Maps["routes"].ValueSize)
	require.EqualValues(t, unsafe.Sizeof(forwardCount{}), spec.Maps["counts"].ValueSize)
}

// TestWire: numbers lie in memory as in a packet.
func TestWire(t *testing.T) {
	bytes := func(p unsafe.Pointer, n int) []byte { return unsafe.Slice((*byte)(p), n) }
	port, ssrc := wire16(0x0102), wire32(0x01020304)
	require.Equal(t, []byte{1, 2}, bytes(unsafe.Pointer(&port), 2))
	require.Equal(t, []byte{1, 2, 3, 4}, bytes(unsafe.Pointer(&ssrc), 4))
	for _, text := range []string{"192.0.2.1", "2001:db8::1"} {
		a := netip.MustParseAddr(text)
		w, whole := addressOf(a), a.As16()
		require.Equal(t, whole[:], bytes(unsafe.Pointer(&w.Word), 16))
	}
	family, w := hopOf(netip.MustParseAddr("192.0.2.1"))
	require.EqualValues(t, 2, family)
	require.Equal(t, []byte{192, 0, 2, 1}, bytes(unsafe.Pointer(&w.Word), 4))
}

func TestEpoch(t *testing.T) {
	e, err := newEpoch()
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), e.time(uint64(e.monotonic)+uint64(time.Since(e.wall))), time.Second)
	require.Zero(t, e.time(0))
}
