package udp

import (
	"fmt"
	"net"
	"net/netip"
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

// NumericZone is an address as the kernel tells it: the zone of a link-local one is the index of its interface, others have none.
func NumericZone(a netip.Addr) (netip.Addr, error) {
	if a.Zone() == "" {
		return a, nil
	}
	if !a.IsLinkLocalUnicast() {
		return a.WithZone(""), nil
	}
	n, err := zoneIndex(a.Zone())
	if err != nil {
		return netip.Addr{}, err
	}
	return a.WithZone(strconv.FormatUint(uint64(n), 10)), nil
}
