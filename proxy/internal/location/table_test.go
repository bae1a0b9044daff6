package location

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const alice = AoR("sip:alice@example.org")

func binding(contact, connection, transport string, expires time.Time) Binding {
	return Binding{AoR: alice, Contact: contact, Key: contact, Connection: connection, Transport: transport, Expires: expires}
}

func set(list ...Binding) func([]Binding) ([]Binding, error) {
	return func([]Binding) ([]Binding, error) { return list, nil }
}

func TestAoR(t *testing.T) {
	require.Equal(t, AoR("sip:Alice@example.org"), NewAoR("Alice", "Example.ORG"))
}

func TestReplaces(t *testing.T) {
	page := Binding{Key: "a", Instance: "urn:1", RegID: "1"}
	require.True(t, (&Binding{Key: "b", Instance: "urn:1", RegID: "1"}).Replaces(&page), "a reloaded page")
	require.False(t, (&Binding{Key: "b", Instance: "urn:1", RegID: "2"}).Replaces(&page), "its second flow")
	require.False(t, (&Binding{Key: "b"}).Replaces(&Binding{Key: "a"}))
	require.True(t, (&Binding{Key: "a"}).Replaces(&page))
}

func TestExpiry(t *testing.T) {
	table := NewTable(nil, zap.NewNop())
	now := time.Now()
	table.now = func() time.Time { return now }
	require.NoError(t, table.Update(alice, set(
		binding("sip:a", "c1", "wss", now.Add(time.Second)),
		binding("sip:b", "c2", "wss", now.Add(time.Hour)),
	)))
	require.Len(t, table.Lookup(alice), 2)
	now = now.Add(time.Second)
	require.Len(t, table.Lookup(alice), 1, "not returned at its last moment")
	table.sweep()
	require.Len(t, table.bindings[alice], 1)
	require.NotContains(t, table.byConnection, "c1")
	now = now.Add(time.Hour)
	table.sweep()
	require.Zero(t, table.Len())
	require.Empty(t, table.byConnection)
}

func TestBindingGoesWithItsConnection(t *testing.T) {
	table := NewTable(nil, zap.NewNop())
	later := time.Now().Add(time.Hour)
	direct := binding("sip:192.0.2.1;transport=tcp", "c1", "tcp", later)
	direct.Direct = true
	require.NoError(t, table.Update(alice, set(binding("sip:x.invalid", "c1", "wss", later), direct, binding("sip:z", "c2", "udp", later))))
	require.Equal(t, 1, table.ConnectionClosed("c1"))
	left := table.Lookup(alice)
	require.Len(t, left, 2)
	require.Empty(t, left[0].Connection, "may be dialled")
	require.Equal(t, "c2", left[1].Connection)
	require.Zero(t, table.ConnectionClosed("c1"))
}

func TestUpdateErrorsChangeNothing(t *testing.T) {
	table := NewTable(nil, zap.NewNop())
	later := time.Now().Add(time.Hour)
	require.NoError(t, table.Update(alice, set(binding("sip:a", "c", "udp", later))))
	wrong := errors.New("wrong")
	require.ErrorIs(t, table.Update(alice, func(c []Binding) ([]Binding, error) { c[0].Contact = "changed"; return nil, wrong }), wrong)
	require.NoError(t, table.Update(alice, func([]Binding) ([]Binding, error) { return nil, ErrUnchanged }))
	require.Equal(t, "sip:a", table.Lookup(alice)[0].Contact)
}

// fakeKeeper keeps in memory and can be made to fail.
type fakeKeeper struct {
	kept map[AoR][]Binding
	err  error
}

func (k *fakeKeeper) Load(context.Context) ([]Binding, error) {
	var all []Binding
	for _, list := range k.kept {
		all = append(all, list...)
	}
	return all, nil
}

func (k *fakeKeeper) Replace(_ context.Context, changes map[AoR][]Binding) error {
	if k.err != nil {
		return k.err
	}
	for aor, list := range changes {
		k.kept[aor] = list
	}
	return nil
}

func TestRestart(t *testing.T) {
	keeper := &fakeKeeper{kept: map[AoR][]Binding{}}
	table := NewTable(keeper, zap.NewNop())
	require.NoError(t, table.Start(t.Context()))
	later := time.Now().Add(time.Hour)
	direct := binding("sip:192.0.2.1;transport=tcp", "t1", "tcp", later)
	direct.Direct = true
	require.NoError(t, table.Update(alice, set(binding("sip:x.invalid", "w1", "wss", later), direct, binding("sip:u", "u1", "udp", later))))
	require.NoError(t, table.Close())
	require.Len(t, keeper.kept[alice], 3)

	again := NewTable(keeper, zap.NewNop())
	require.NoError(t, again.Start(t.Context()))
	defer func() { require.NoError(t, again.Close()) }()
	left := again.Lookup(alice)
	require.Len(t, left, 2, "a WebSocket does not outlive a restart")
	for _, b := range left {
		require.Equal(t, b.Transport == "udp", b.Connection != "")
	}
}

func TestFailedFlushIsRepeated(t *testing.T) {
	keeper := &fakeKeeper{kept: map[AoR][]Binding{}, err: errors.New("disk full")}
	table := NewTable(keeper, zap.NewNop())
	require.NoError(t, table.Update(alice, set(binding("sip:a", "c", "udp", time.Now().Add(time.Hour)))))
	require.Error(t, table.Flush(t.Context()))
	keeper.err = nil
	require.NoError(t, table.Flush(t.Context()))
	require.Len(t, keeper.kept[alice], 1)
}

func TestPreviousConnection(t *testing.T) {
	table := NewTable(nil, zap.NewNop())
	now := time.Now()
	table.now = func() time.Time { return now }
	page := binding("sip:x.invalid", "w1", "wss", now.Add(time.Hour))
	page.Instance, page.RegID = "urn:1", "1"
	require.NoError(t, table.Update(alice, set(page)))
	require.Empty(t, table.Previous(alice, "", ""))
	require.Empty(t, table.Previous("sip:bob@example.org", "urn:1", "1"), "somebody else's")
	require.Equal(t, "w1", table.Previous(alice, "urn:1", "1"))

	shared := page
	shared.AoR = "sip:bob@example.org"
	require.NoError(t, table.Update(shared.AoR, set(shared)))
	require.Empty(t, table.Previous(alice, "urn:1", "1"), "a connection of several users, still open")
	table.ConnectionClosed("w1")
	require.Equal(t, "w1", table.Previous(alice, "urn:1", "1"))

	again := page
	again.Connection = "w2"
	require.NoError(t, table.Update(alice, set(again)))
	require.Equal(t, "w2", table.Previous(alice, "urn:1", "1"), "where it is now, not where it was before")
	device, ok := table.On("w2")
	require.True(t, ok)
	require.Equal(t, Device{alice, "urn:1", "1"}, device)
	_, ok = table.On("w1")
	require.False(t, ok)
	table.ConnectionClosed("w2")
	now = now.Add(rememberLost + time.Second)
	table.sweep()
	require.Empty(t, table.Previous(alice, "urn:1", "1"))
	table.Remember(device, "w0")
	require.Equal(t, "w0", table.Previous(alice, "urn:1", "1"), "told by who knows it from before a restart")
}
