package wire

import (
	"bytes"
	"encoding/json"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBothDirectionsAreLogged(t *testing.T) {
	var out bytes.Buffer
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer socket.Close()
	conn := Conn{socket, NewLog(&out)}
	message := "OPTIONS sip:x SIP/2.0\r\ni: abc\r\n\r\nv=0\r\n"
	_, err = conn.WriteTo([]byte(message), conn.LocalAddr())
	require.NoError(t, err)
	_, err = conn.WriteTo([]byte("\r\n\r\n"), conn.LocalAddr()) // keep-alives are not logged
	require.NoError(t, err)
	buffer := make([]byte, 100)
	for range 2 {
		_, _, err = conn.ReadFrom(buffer)
		require.NoError(t, err)
	}
	decoder := json.NewDecoder(&out)
	for _, direction := range []string{"sent", "received"} {
		var e Entry
		require.NoError(t, decoder.Decode(&e))
		require.Equal(t, direction, e.Direction)
		require.Equal(t, "abc", e.CallID)
		require.Equal(t, "v=0\r\n", e.Body)
		require.Equal(t, message, e.Message)
	}
	require.False(t, decoder.More())
}
