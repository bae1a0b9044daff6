//go:build integration

package behaviours

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
)

// rawWebSocket is a page on a connection whose upgrade was asked for, which answers no pings.
func rawWebSocket(t *testing.T, s *site, conn net.Conn) *peer {
	t.Helper()
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	p := &peer{t: t, s: s, user: s.user(), transport: "WS", host: unique("h") + ".invalid", params: ";transport=ws"}
	p.write = func(data []byte) error {
		head := binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(data)))
		_, err := conn.Write(append(append(head, 0, 0, 0, 0), data...)) // masked with zeros
		return err
	}
	p.run(func() { conn.Close() }, func() ([]byte, error) {
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return nil, err
		}
		size := int(head[1])
		if size == 126 {
			var long [2]byte
			if _, err := io.ReadFull(in, long[:]); err != nil {
				return nil, err
			}
			size = int(binary.BigEndian.Uint16(long[:]))
		}
		data := make([]byte, size)
		_, err := io.ReadFull(in, data)
		if head[0]&0xf > 2 { // ping or close
			return []byte(strings.Repeat(" ", 1)), err
		}
		return data, err
	})
	return p
}
