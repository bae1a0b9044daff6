package udp

import (
	"fmt"
	"net"
	"strconv"
)

// zoneIndex turns the zone of a link-local address, a number or a device name, into the kernel's index.
func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("%w: zone %q", ErrInvalidAddress, zone)
	}
	return uint32(ifi.Index), nil
}
