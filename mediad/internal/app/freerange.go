package app

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
)

// Bounds of a range that is chosen automatically: above the ports of services
// and below those that Linux gives to clients (32768–60999).
const (
	autoPortLow   = 10000
	autoPortHigh  = 32767
	autoAttempts  = 50
	autoProbeStep = 50 // every 50th port of a candidate range is tried
)

// freeRange finds a range of n ports that nobody seems to use on the given
// addresses. A few busy ports in it do no harm: they are passed over when they
// come to be allocated.
func freeRange(n int, interfaces []settings.Interface) (low, high int, err error) {
	n += n % 2
	if n > autoPortHigh-autoPortLow {
		return 0, 0, errors.New("auto-port-range: more ports than there are")
	}
	for range autoAttempts {
		low = autoPortLow + 2*rand.IntN((autoPortHigh-autoPortLow-n)/2+1)
		if isFree(low, low+n-1, interfaces) {
			return low, low + n - 1, nil
		}
	}
	return 0, 0, errors.New("auto-port-range: no free range found")
}

func isFree(low, high int, interfaces []settings.Interface) bool {
	for _, i := range interfaces {
		for port := low; port <= high; port += autoProbeStep {
			conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(i.Address, uint16(port))))
			if err != nil {
				return false
			}
			conn.Close()
		}
	}
	return true
}
