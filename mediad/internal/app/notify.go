package app

import (
	"net"
	"os"
)

// notify tells the service manager about the state of the daemon, if it asks
// for that (sd_notify(3)). There is nothing to be done about a failure.
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}
