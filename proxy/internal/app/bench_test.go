package app

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/icholy/digest"
	"go.uber.org/zap"
)

// BenchmarkRegister refreshes one binding over UDP, authenticated with the same
// nonce and a rising count, as phones do.
func BenchmarkRegister(b *testing.B) {
	dir := b.TempDir()
	file := filepath.Join(dir, "proxy.yaml")
	text := fmt.Sprintf(`
listeners: [{name: u, transport: udp, address: "127.0.0.1:0"}]
domains: [example.org]
users: [{name: alice, password: %q}]
storage: {path: %q}
limits: {requests_per_second: 1000000, burst: 1000000}
`, password, filepath.Join(dir, "proxy.db"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	s, err := Load(file)
	if err != nil {
		b.Fatal(err)
	}
	app, err := Start(b.Context(), s, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	defer app.Close()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	proxy, buf := app.Listeners()[0].Addr, make([]byte, 65535)
	exchange := func(n int, credentials string) string {
		message := fmt.Sprintf("REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%d\r\nFrom: <sip:alice@example.org>;tag=1\r\n"+
			"To: <sip:alice@example.org>\r\nCall-ID: bench%d\r\nCSeq: %d REGISTER\r\nContact: <sip:alice@%s>\r\nMax-Forwards: 70\r\n%sContent-Length: 0\r\n\r\n",
			conn.LocalAddr(), n, n%64, n+1, conn.LocalAddr(), credentials)
		if _, err := conn.WriteToUDPAddrPort([]byte(message), proxy); err != nil {
			b.Fatal(err)
		}
		size, err := conn.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		return string(buf[:size])
	}
	challenge, err := digest.ParseChallenge(headers(exchange(0, ""), "WWW-Authenticate")[0])
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		made, err := digest.Digest(challenge, digest.Options{Method: "REGISTER", URI: "sip:example.org", Count: n, Username: "alice", Password: password})
		if err != nil {
			b.Fatal(err)
		}
		if res := exchange(n, "Authorization: "+made.String()+"\r\n"); !strings.HasPrefix(res, "SIP/2.0 200") {
			b.Fatal(res)
		}
	}
}
