package steer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

// ErrTooManyAddresses says that more local addresses are in use than Config.Addresses.
var ErrTooManyAddresses = errors.New("steer: too many local addresses")

// errNotOurs says that a stream's port was opened by something else.
var errNotOurs = errors.New("steer: not a port of this engine")

// address is a local address with the ports that are open on it, by number: two flights of stairs, so that the unused parts of the range
// cost nothing.
type address struct {
	local netip.Addr // as it was asked for
	key   netip.Addr // with the zone as a number, as the kernel tells it
	slot  uint32
	open  int // number of open ports; guarded by Engine.mu
	pages [256]atomic.Pointer[page]
}

type page [256]atomic.Pointer[port]

// at is the port that is open under a number, or nil.
func (a *address) at(number uint16) *port {
	if p := a.pages[number>>8].Load(); p != nil {
		return p[number&0xff].Load()
	}
	return nil
}

// port is a udp.Port without a socket.
type port struct {
	engine  *Engine
	address *address
	number  uint16
	tos     atomic.Uint32
	stream  atomic.Pointer[flow.Stream] // while it is attached
}

var _ udp.Port = (*port)(nil)

// LocalAddr is the address of the port.
func (p *port) LocalAddr() netip.AddrPort { return netip.AddrPortFrom(p.address.local, p.number) }

// WriteTo sends one datagram at once; from any goroutine.
func (p *port) WriteTo(pkt []byte, dst netip.AddrPort) error {
	return p.engine.aside(p.address.local).WriteTo(pkt, p.LocalAddr(), dst, uint8(p.tos.Load()))
}

// SetTOS changes the DSCP/ECN byte of the packets sent from now on.
func (p *port) SetTOS(tos uint8) error {
	p.tos.Store(uint32(tos))
	return nil
}

// Close gives the port back. Further calls do nothing.
func (p *port) Close() error {
	p.engine.mu.Lock()
	defer p.engine.mu.Unlock()
	if seat := &p.address.pages[p.number>>8].Load()[p.number&0xff]; seat.CompareAndSwap(p, nil) {
		p.address.open--
	}
	return nil
}

// find is the port that is open at a local address, or nil. It takes no lock.
func (e *Engine) find(local netip.AddrPort) *port {
	for _, a := range *e.addresses.Load() {
		if a.key == local.Addr() {
			return a.at(local.Port())
		}
	}
	return nil
}

// OpenPair opens two neighbouring ports (ports.Opener). Only the first pair of an address and the first in a second cost system calls.
func (e *Engine) OpenPair(addr netip.Addr, even uint16) (rtp, rtcp udp.Port, err error) {
	if even == 0 || even%2 != 0 {
		return nil, nil, fmt.Errorf("%w: port %d is not even", udp.ErrInvalidAddress, even)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	a, err := e.addressLocked(addr)
	if err != nil {
		return nil, nil, err
	}
	numbers := &a.pages[even>>8]
	if numbers.Load() == nil {
		numbers.Store(new(page))
	}
	seats := numbers.Load()[even&0xff:]
	if seats[0].Load() != nil || seats[1].Load() != nil || e.takenLocked(addr, even) || e.takenLocked(addr, even+1) {
		return nil, nil, fmt.Errorf("steer: port %d or %d of %s: %w", even, even+1, addr, unix.EADDRINUSE)
	}
	pair := &[2]port{{engine: e, address: a, number: even}, {engine: e, address: a, number: even + 1}}
	for i := range pair {
		pair[i].tos.Store(uint32(e.tos))
		seats[i].Store(&pair[i])
	}
	a.open += len(pair)
	return &pair[0], &pair[1], nil
}

// takenLocked reports whether a socket of somebody else has a port. Nothing tells when one is bound, so the host is looked at anew when
// the last look is a while ago.
func (e *Engine) takenLocked(addr netip.Addr, number uint16) bool {
	if now := time.Now(); now.Sub(e.looked) >= lookEvery {
		if host, err := udp.ReadHostPorts(); err == nil { // it worked in New
			e.host = host
		}
		e.looked = now
	}
	return e.host.Has(netip.AddrPortFrom(addr, number))
}

// addressLocked finds a local address, or makes it known to the program.
func (e *Engine) addressLocked(local netip.Addr) (*address, error) {
	if e.closed {
		return nil, errClosed
	}
	list := *e.addresses.Load()
	for _, a := range list {
		if a.local == local {
			return a, nil
		}
	}
	number, err := udp.NumericZone(local)
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		if a.key == number {
			return a, nil
		}
	}
	if err := e.usable(local); err != nil {
		return nil, err
	}
	a := &address{local: local, key: number, slot: uint32(len(list))}
	kept := list
	if len(list) == e.capacity {
		idle := slices.IndexFunc(list, func(a *address) bool { return a.open == 0 })
		if idle < 0 {
			return nil, fmt.Errorf("%w: %s would be the %sth", ErrTooManyAddresses, local, strconv.Itoa(len(list)+1))
		}
		if err := e.program.removeAddress(list[idle].key); err != nil {
			return nil, err
		}
		a.slot = list[idle].slot
		kept = slices.Delete(slices.Clone(list), idle, idle+1)
	}
	if err := e.program.addAddress(number, a.slot); err != nil {
		e.addresses.Store(&kept)
		return nil, err
	}
	grown := append(slices.Clip(kept), a)
	e.addresses.Store(&grown)
	return a, nil
}

// usable finds out whether the host has an address, as binding a socket would.
func (e *Engine) usable(local netip.Addr) error {
	c, err := udp.Listen(netip.AddrPortFrom(local, 0), udp.Options{})
	if err != nil {
		return err
	}
	if e.workers[0].intakes[family(local)] == nil {
		_ = c.Close()
		return fmt.Errorf("steer: %s: %w", local, unix.EAFNOSUPPORT)
	}
	return c.Close()
}
