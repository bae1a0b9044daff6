package ngserver

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// answerer is a Handler that says pong.
type answerer struct{}

func (answerer) Handle(context.Context, *ng.Request) ng.Reply { return &ng.Pong{} }

func TestNotify(t *testing.T) {
	s, err := New(Config{ListenTCP: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Handler: answerer{}})
	require.NoError(t, err)
	s.Start()
	defer func() { require.NoError(t, s.Close()) }()
	var clients []net.Conn
	buf := make([]byte, 1000)
	for range 2 {
		c, err := net.Dial("tcp", s.TCPAddrs()[0].String())
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		require.NoError(t, c.SetDeadline(time.Now().Add(5*time.Second)))
		_, err = c.Write([]byte("x d7:command4:pinge"))
		require.NoError(t, err)
		_, err = c.Read(buf) // now it is connected for sure
		require.NoError(t, err)
		clients = append(clients, c)
	}
	require.NoError(t, s.Notify(ng.Dict{{Key: "notify", Value: "onDTMF"}, {Key: "data", Value: ng.Dict{{Key: "event", Value: 5}}}}))
	for _, c := range clients {
		n, err := c.Read(buf)
		require.NoError(t, err)
		cookie, body, _ := strings.Cut(string(buf[:n]), " ")
		require.Len(t, cookie, cookieLength)
		require.Equal(t, "d6:notify6:onDTMF4:datad5:eventi5eee", body)
	}
}
