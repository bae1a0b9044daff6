package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attachment is a program on the ingress side of one device.
type attachment interface{ Close() error }

func attachLink(p *ebpf.Program, index int) (attachment, error) {
	l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, fmt.Errorf("kernel: tcx at device %d: %w", index, err)
	}
	return l, nil
}

// filter is a tc filter of ours. It outlives a process that is killed; the next one removes it.
type filter struct{ f *netlink.BpfFilter }

// filterPrefix begins the name of our filters; the process that owns one follows.
const filterPrefix = "tandem-"

// filterPriority is behind that of filters which others have set up.
const filterPriority = 0xc000

func attachFilter(p *ebpf.Program, index int) (attachment, error) {
	f, err := addFilter(p, index)
	if err != nil {
		return nil, fmt.Errorf("kernel: tc filter at device %d: %w", index, err)
	}
	return f, nil
}

func addFilter(p *ebpf.Program, index int) (attachment, error) {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("clsact: %w", err)
	}
	if err := removeOrphans(index); err != nil {
		return nil, err
	}
	f := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: uint32(os.Getpid()), Protocol: unix.ETH_P_ALL, Priority: filterPriority,
		},
		Fd: p.FD(), Name: filterPrefix + strconv.Itoa(os.Getpid()), DirectAction: true,
	}
	if err := netlink.FilterAdd(f); err != nil {
		return nil, err
	}
	return filter{f}, nil
}

// removeOrphans removes the filters of processes of ours that are gone.
func removeOrphans(index int) error {
	device, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	list, err := netlink.FilterList(device, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for _, f := range list {
		b, ok := f.(*netlink.BpfFilter)
		if !ok {
			continue
		}
		owner, ours := strings.CutPrefix(b.Name, filterPrefix)
		pid, err := strconv.Atoi(strings.SplitN(owner, ":", 2)[0])
		if !ours || err != nil || pid != os.Getpid() && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		if err := netlink.FilterDel(f); err != nil {
			return fmt.Errorf("remove what process %d has left: %w", pid, err)
		}
	}
	return nil
}

// Close removes the filter. The device may be gone, and it with it.
func (f filter) Close() error {
	err := netlink.FilterDel(f.f)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
