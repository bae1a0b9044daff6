package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang -target bpfel,bpfeb -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu" -type address -type place -type route -type count forward forward.c

// Flags of a route, as in forward.c.
const (
	anySource = 1 << iota
	opaque
	discard
	rewrite
)

// program is the loaded eBPF program with its maps.
type program struct {
	objects forwardObjects
	memory  []byte // of the map of counts, shared with the kernel
}

// load brings the program into the kernel, with room for a number of routes. The error says what is missing.
func load(capacity int) (*program, error) {
	spec, err := loadForward()
	if err != nil {
		return nil, fmt.Errorf("kernel: eBPF object: %w", err)
	}
	if err := rlimit.RemoveMemlock(); err != nil && !errors.Is(err, unix.EPERM) { // kernels before 5.11 need it; loading tells
		return nil, fmt.Errorf("kernel: memory limit: %w", err)
	}
	for _, m := range spec.Maps {
		m.MaxEntries = uint32(capacity)
	}
	p := &program{}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("kernel: loading eBPF needs CAP_BPF and CAP_NET_ADMIN (and CAP_PERFMON before Linux 5.19): %w", err)
		}
		return nil, fmt.Errorf("kernel: loading eBPF (Linux 5.11 or later is needed): %w", err)
	}
	size := capacity * int(unsafe.Sizeof(forwardCount{}))
	p.memory, err = unix.Mmap(p.objects.Counts.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = p.objects.Close()
		return nil, fmt.Errorf("kernel: counters: %w", err)
	}
	return p, nil
}

func (p *program) close() error {
	return errors.Join(unix.Munmap(p.memory), p.objects.Close())
}

// count is what the kernel has counted in a slot. It writes there at the same time: fields are to be read by atomic loads.
func (p *program) count(slot uint32) *forwardCount {
	return (*forwardCount)(unsafe.Pointer(&p.memory[int(slot)*int(unsafe.Sizeof(forwardCount{}))]))
}

// reset empties a slot that no route uses.
func (p *program) reset(slot uint32) {
	c := p.count(slot)
	for _, field := range []*uint64{&c.Packets, &c.Bytes, &c.Last, &c.Position} {
		atomic.StoreUint64(field, 0)
	}
	for _, field := range []*uint32{&c.Type, &c.Transit, &c.Jitter, &c.Clock} {
		atomic.StoreUint32(field, 0)
	}
}

// install puts a route in force, in the place of another one if there is one.
func (p *program) install(at netip.AddrPort, r *forwardRoute) error {
	return p.objects.Routes.Update(placeOf(at), r, ebpf.UpdateAny)
}

// remove takes a route out. When it returns, packets that arrive go up.
func (p *program) remove(at netip.AddrPort) error {
	err := p.objects.Routes.Delete(placeOf(at))
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

func placeOf(a netip.AddrPort) *forwardPlace {
	return &forwardPlace{At: addressOf(a.Addr()), Port: wire16(a.Port())}
}

// addressOf is IPv6, or IPv4 mapped into it, as it lies in a packet.
func addressOf(a netip.Addr) (w forwardAddress) {
	b := a.As16()
	for i := range w.Word {
		w.Word[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}

// wire16 and wire32 give numbers the bytes they have in a packet.
func wire16(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func wire32(v uint32) uint32 {
	return binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, v))
}
