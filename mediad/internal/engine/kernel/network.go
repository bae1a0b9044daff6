package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxHops bounds the next hops that are remembered.
const maxHops = 4096

// errDevice says that packets leave by a device of a kind that the program does not know: it is no Ethernet.
var errDevice = errors.New("kernel: not an Ethernet device")

// hop is how a packet leaves the host.
type hop struct {
	device  int // 0: it does not, its destination is the host itself
	gateway netip.Addr
	largest int // IP packet in bytes
}

// direction is what a next hop depends on.
type direction struct{ from, to netip.Addr }

// network knows the devices and routes of the namespace, and keeps the program attached to all devices. It has one user at a time.
type network struct {
	handle   *netlink.Handle
	program  *ebpf.Program
	filters  bool // tc filters instead of tcx links
	attached map[int]attachment
	largest  map[int]int // MTU by device
	hops     map[direction]hop

	events *os.File // a netlink socket
	done   chan struct{}
}

// newNetwork attaches the program. changed gets a value, if there is room, whenever devices, addresses or routes have changed.
func newNetwork(p *ebpf.Program, filters bool, changed chan<- struct{}) (*network, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("kernel: netlink: %w", err)
	}
	n := &network{program: p, filters: filters, attached: make(map[int]attachment), done: make(chan struct{})}
	n.events = os.NewFile(uintptr(fd), "netlink")
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE |
		unix.RTMGRP_IPV4_RULE
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = n.events.Close()
		return nil, fmt.Errorf("kernel: netlink: %w", err)
	}
	if n.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		_ = n.events.Close()
		return nil, fmt.Errorf("kernel: netlink: %w", err)
	}
	go n.listen(changed)
	if err := n.refresh(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// listen tells of changes. What has changed does not matter: all is looked at again.
func (n *network) listen(changed chan<- struct{}) {
	defer close(n.done)
	buf := make([]byte, 1<<16)
	for {
		if _, err := n.events.Read(buf); err != nil && !errors.Is(err, syscall.ENOBUFS) {
			return // closed
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// refresh attaches the program to the devices that have come and forgets those that have gone, and what was known of routes. After an
// error some devices may be without the program: what arrives there goes up.
func (n *network) refresh() error {
	n.hops = make(map[direction]hop)
	list, err := n.handle.LinkList()
	if err != nil {
		return fmt.Errorf("kernel: devices: %w", err)
	}
	n.largest = make(map[int]int, len(list))
	var failed []error
	for _, l := range list {
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 || a.EncapType != "ether" && a.EncapType != "loopback" {
			continue
		}
		n.largest[a.Index] = a.MTU
		if n.attached[a.Index] == nil {
			at, err := n.attach(a.Index)
			if errors.Is(err, unix.ENODEV) {
				continue // it has just gone
			}
			if err != nil {
				failed = append(failed, err)
				continue
			}
			n.attached[a.Index] = at
		}
	}
	for index, at := range n.attached {
		if _, stays := n.largest[index]; !stays {
			delete(n.attached, index)
			_ = at.Close() // fails if the device is gone for good
		}
	}
	return errors.Join(failed...)
}

// attach puts the program on a device: by a tcx link, which ends with the process, or by a tc filter where the kernel has no tcx (before
// Linux 6.6).
func (n *network) attach(index int) (attachment, error) {
	if !n.filters {
		l, err := attachLink(n.program, index)
		if !errors.Is(err, link.ErrNotSupported) {
			return l, err
		}
		n.filters = true
	}
	return attachFilter(n.program, index)
}

// lookup finds the way to a destination.
func (n *network) lookup(d direction) (hop, error) {
	if h, ok := n.hops[d]; ok {
		return h, nil
	}
	found, err := n.handle.RouteGetWithOptions(d.to.AsSlice(), &netlink.RouteGetOptions{SrcAddr: d.from.AsSlice()})
	if err != nil {
		return hop{}, fmt.Errorf("kernel: route to %s: %w", d.to, err)
	}
	if len(found) == 0 {
		return hop{}, fmt.Errorf("kernel: no route to %s", d.to)
	}
	r := &found[0]
	h := hop{device: r.LinkIndex, gateway: d.to, largest: n.largest[r.LinkIndex]}
	if h.largest == 0 {
		return hop{}, fmt.Errorf("%w: device %d, to %s", errDevice, r.LinkIndex, d.to)
	}
	if gw, ok := netip.AddrFromSlice(r.Gw); ok && !gw.IsUnspecified() {
		h.gateway = gw.Unmap()
	} else if via, ok := r.Via.(*netlink.Via); ok {
		if gw, ok := netip.AddrFromSlice(via.Addr); ok {
			h.gateway = gw.Unmap()
		}
	}
	if r.Type == unix.RTN_LOCAL {
		h.device = 0
	} else if r.Type != unix.RTN_UNICAST {
		return hop{}, fmt.Errorf("kernel: %s is no single host", d.to)
	}
	if r.MTU > 0 {
		h.largest = min(h.largest, r.MTU)
	}
	if len(n.hops) >= maxHops {
		clear(n.hops)
	}
	n.hops[d] = h
	return h, nil
}

// close takes the program off all devices.
func (n *network) close() error {
	var failed []error
	failed = append(failed, n.events.Close())
	<-n.done
	n.handle.Close()
	for _, at := range n.attached {
		failed = append(failed, at.Close())
	}
	clear(n.attached)
	return errors.Join(failed...)
}
