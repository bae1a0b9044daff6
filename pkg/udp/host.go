package udp

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// HostPorts are the ports that unconnected UDP sockets of the host, of whatever process, were bound to at some moment. A connected socket
// is not among them: it takes nothing but its peer's packets.
type HostPorts struct {
	wildcard [2][65536 / 64]uint64 // for IPv4 and IPv6
	definite map[netip.AddrPort]struct{}
}

// ReadHostPorts looks at the network namespace of the calling thread (/proc/net/udp and udp6, see proc_net(5)).
func ReadHostPorts() (*HostPorts, error) {
	h := &HostPorts{definite: make(map[netip.AddrPort]struct{})}
	for _, name := range []string{"udp", "udp6"} {
		f, err := os.Open("/proc/thread-self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) && name == "udp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("udp: sockets of the host: %w", err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			h.add(lines.Text())
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return nil, fmt.Errorf("udp: sockets of the host: %w", err)
		}
	}
	return h, nil
}

// Has reports whether a socket takes what is sent to a port of a local address. A zone is not looked at. That a wildcard socket of IPv6
// may be for IPv6 alone cannot be seen, so it counts for IPv4 too.
func (h *HostPorts) Has(local netip.AddrPort) bool {
	family := 0
	if local.Addr().Is6() {
		family = 1
	}
	if h.wildcard[family][local.Port()/64]>>(local.Port()%64)&1 != 0 {
		return true
	}
	_, ok := h.definite[netip.AddrPortFrom(local.Addr().WithZone(""), local.Port())]
	return ok
}

// add takes a line: number, local address, remote address and further columns.
func (h *HostPorts) add(line string) {
	fields := strings.Fields(line)
	if len(fields) < 3 || strings.Trim(fields[2], "0:") != "" { // has a peer
		return
	}
	local, ok := parseHostPort(fields[1])
	if !ok {
		return
	}
	if !local.Addr().IsUnspecified() {
		h.definite[netip.AddrPortFrom(local.Addr().Unmap(), local.Port())] = struct{}{}
		return
	}
	word, bit := local.Port()/64, uint64(1)<<(local.Port()%64)
	h.wildcard[0][word] |= bit
	if local.Addr().Is6() {
		h.wildcard[1][word] |= bit
	}
}

// parseHostPort reads an address in the form of these files: words of the host's byte order in hexadecimal digits, a colon, the port.
func parseHostPort(text string) (netip.AddrPort, bool) {
	digits, number, _ := strings.Cut(text, ":")
	port, err := strconv.ParseUint(number, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	words, err := hex.DecodeString(digits)
	if err != nil || len(words)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	addr, ok := netip.AddrFromSlice(words)
	return netip.AddrPortFrom(addr, uint16(port)), ok
}
