package connect

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v2"
	"github.com/stretchr/testify/require"
)

// sink remembers what was sent.
type sink struct {
	mu   sync.Mutex
	sent [][]byte
}

func (s *sink) Send(pkt []byte, _ netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, append([]byte(nil), pkt...))
	return nil
}

func (s *sink) take() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.sent
	s.sent = nil
	return out
}

func request(setters ...stun.Setter) *stun.Message {
	return stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.BindingRequest,
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{110, 0, 1, 255}},
		stun.RawAttribute{Type: stun.AttrICEControlling, Value: make([]byte, 8)}}, setters...)...)
}

// TestRefusals: requests that lack a name or integrity are bad, those with a wrong name or password not authorized (RFC 8489 §9.1.3).
// Never is the answer larger than the request.
func TestRefusals(t *testing.T) {
	out := &sink{}
	a, err := NewAgent(Config{Local: netip.MustParseAddrPort("127.0.0.1:9"), Credentials: NewCredentials(), Sender: out})
	require.NoError(t, err)
	defer a.Close()
	c := a.Credentials()
	name, good := stun.NewUsername(c.Ufrag+":peer"), stun.NewShortTermIntegrity(c.Password)
	src := netip.MustParseAddrPort("127.0.0.9:4000")
	for _, tc := range []struct {
		what string
		m    *stun.Message
		code stun.ErrorCode // 0: success
	}{
		{"good", request(name, good, stun.Fingerprint), 0},
		{"wrong password", request(name, stun.NewShortTermIntegrity("wrong"), stun.Fingerprint), stun.CodeUnauthorized},
		{"wrong name", request(stun.NewUsername("other:peer"), good, stun.Fingerprint), stun.CodeUnauthorized},
		{"no name", request(good, stun.Fingerprint), stun.CodeBadRequest},
		{"no integrity", request(name, stun.Fingerprint), stun.CodeBadRequest},
	} {
		a.HandlePacket(tc.m.Raw, src)
		sent := out.take()
		require.Len(t, sent, 1, tc.what)
		require.LessOrEqual(t, len(sent[0]), len(tc.m.Raw), tc.what)
		m := &stun.Message{Raw: sent[0]}
		require.NoError(t, m.Decode())
		require.Equal(t, tc.m.TransactionID, m.TransactionID)
		var code stun.ErrorCodeAttribute
		if tc.code == 0 {
			require.Equal(t, stun.BindingSuccess, m.Type)
			continue
		}
		require.Equal(t, stun.BindingError, m.Type, tc.what)
		require.NoError(t, code.GetFrom(m))
		require.Equal(t, tc.code, code.Code, tc.what)
	}
	a.HandlePacket(message(bindingRequest), src)
	require.Empty(t, out.take(), "nothing that is larger than the request")
}

// TestFloodOfForgedChecks: forged checks get few answers, take no place in the queue of the real ones and make no garbage.
func TestFloodOfForgedChecks(t *testing.T) {
	out := &sink{}
	o := newOurs(t, "127.0.0.1", func(c *Config) { c.Sender = out })
	require.NoError(t, o.Start(Remote{Credentials: NewCredentials()}))
	c := o.Credentials()
	forged := request(stun.NewUsername(c.Ufrag+":peer"), stun.NewShortTermIntegrity("wrong"), stun.Fingerprint)
	stranger := netip.MustParseAddrPort("203.0.113.66:6666")
	begin := time.Now()
	for range 10_000 {
		o.HandlePacket(forged.Raw, stranger)
	}
	seconds := int(time.Since(begin).Seconds()) + 2
	require.LessOrEqual(t, len(out.take()), refusalsPerSecond*seconds)
	require.False(t, o.Allows(stranger))
	require.Zero(t, testing.AllocsPerRun(100, func() { o.HandlePacket(forged.Raw, stranger) }))

	g := o.guard.Load()
	require.True(t, g.pass(request(stun.NewUsername(c.Ufrag+":peer"), stun.NewShortTermIntegrity(c.Password), stun.Fingerprint).Raw, 0, stranger),
		"the queue is not full of forgeries")
}
