package steer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang -strip llvm-strip-14 -target bpfel,bpfeb -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu" -type address steer steer.c

// numberOfPorts of an address.
const numberOfPorts = 65536

// program is the sk_lookup program of steer.c in the network namespace of its maker, with its maps. It ends with the process.
type program struct {
	objects steerObjects
	memory  *ebpf.Memory // of the map owners
	link    link.Link
}

// loadProgram loads the program with room for so many workers and addresses. It is not attached yet.
func loadProgram(workers, addresses int) (*program, error) {
	_ = rlimit.RemoveMemlock() // only kernels before 5.11 need it; what is missing the load says
	spec, err := loadSteer()
	if err != nil {
		return nil, err
	}
	spec.Maps[steerMapSlots].MaxEntries = uint32(addresses)
	spec.Maps[steerMapOwners].MaxEntries = uint32(addresses)
	spec.Maps[steerMapSockets].MaxEntries = uint32(2 * workers)
	p := &program{}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return nil, explain("loading the sk_lookup program", err)
	}
	if p.memory, err = p.objects.Owners.Memory(); err != nil {
		_ = p.close()
		return nil, fmt.Errorf("mapping the owners of ports: %w", err)
	}
	return p, nil
}

// explain says what is missing.
func explain(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s needs CAP_BPF and CAP_NET_ADMIN: %w", what, err)
	case errors.Is(features.HaveProgramType(ebpf.SkLookup), ebpf.ErrNotSupported):
		return fmt.Errorf("%s: the kernel has no such programs (Linux 5.17 is needed): %w", what, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// attach puts the program to work in the network namespace of the calling thread.
func (p *program) attach() error {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer ns.Close()
	if p.link, err = link.AttachNetNs(int(ns.Fd()), p.objects.Steer); err != nil {
		return explain("attaching the sk_lookup program", err)
	}
	return nil
}

// family is the place of a family in pairs of sockets.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// setSocket says where packets for a worker's ports go.
func (p *program) setSocket(worker, family int, c *udp.Conn) error {
	if err := p.objects.Sockets.Put(uint32(2*worker+family), uint64(c.FD())); err != nil {
		return fmt.Errorf("handing a socket to the program: %w", err)
	}
	return nil
}

// key is an address as the program knows it; the zone is a number.
func key(a netip.Addr) (k steerAddress) {
	ip := a.As16()
	for i := range k.Ip {
		k.Ip[i] = binary.NativeEndian.Uint32(ip[4*i:])
	}
	if a.IsLinkLocalUnicast() && a.Is6() {
		zone, _ := strconv.ParseUint(a.Zone(), 10, 32)
		k.Zone = uint32(zone)
	}
	return k
}

func (p *program) addAddress(a netip.Addr, slot uint32) error {
	if err := p.objects.Slots.Put(key(a), slot); err != nil {
		return fmt.Errorf("telling the program of %s: %w", a, err)
	}
	return nil
}

func (p *program) removeAddress(a netip.Addr) error {
	if err := p.objects.Slots.Delete(key(a)); err != nil {
		return fmt.Errorf("taking %s from the program: %w", a, err)
	}
	return nil
}

// own gives a port to a worker, counted from 1, or with 0 back to the host. It costs no system call.
func (p *program) own(slot uint32, port uint16, worker uint8) {
	_, _ = p.memory.WriteAt([]byte{worker}, int64(slot)*numberOfPorts+int64(port)) // fails only out of bounds
}

// close detaches the program. The maps' memory must not be used any more.
func (p *program) close() error {
	var err error
	if p.link != nil {
		err = p.link.Close()
	}
	return errors.Join(err, p.objects.Close())
}
