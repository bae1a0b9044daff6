package ports

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrClaimed says that another daemon has ports of a range.
var ErrClaimed = errors.New("ports: another daemon has them")

// claimPrefix begins the names of claims. They are abstract addresses of Unix sockets: each network namespace has its own, and they go with
// the process.
const claimPrefix = "@tandem-mediad/ports/"

// Claims tell other daemons of the network namespace which ranges are ours. Ports that are sockets need none, since the kernel gives each
// to one socket only. Methods may be called from any goroutine. The zero value is ready.
type Claims struct {
	mu   sync.Mutex
	held map[span]int // file descriptors
}

// span is a range of ports of an address.
type span struct {
	local    netip.Addr
	min, max uint16
}

func (s span) String() string { return fmt.Sprintf("%d-%d of %s", s.min, s.max, s.local) }

func (s span) name() string { return fmt.Sprintf("%s%s/%d-%d", claimPrefix, s.local, s.min, s.max) }

func (s span) overlaps(o span) bool { return s.local == o.local && s.min <= o.max && o.min <= s.max }

// Hold claims the ranges of interfaces in addition to those held. The error wraps ErrClaimed if another daemon has some of the ports, and
// names them; nothing is added then. What is held stays so until Close, for calls may outlive their interface.
func (c *Claims) Hold(interfaces []Interface) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := make(map[span]int)
	err := c.hold(interfaces, fresh)
	if err != nil {
		return errors.Join(err, release(fresh))
	}
	if c.held == nil {
		c.held = make(map[span]int)
	}
	for s, fd := range fresh {
		c.held[s] = fd
	}
	return nil
}

func (c *Claims) hold(interfaces []Interface, fresh map[span]int) error {
	for _, i := range interfaces {
		for _, a := range i.Addresses {
			for _, s := range a.spans() {
				if _, has := c.held[s]; has {
					continue
				}
				if _, has := fresh[s]; has {
					continue // two interfaces may share an address
				}
				fd, err := claim(s)
				if err != nil {
					return err
				}
				fresh[s] = fd
			}
		}
	}
	others, err := c.others(fresh)
	if err != nil {
		return err
	}
	for s := range fresh { // two daemons that start at once see each other, and neither has the ports
		for _, o := range others {
			if s.overlaps(o) {
				return fmt.Errorf("%w: ports %s are wanted, and a mediad has %s", ErrClaimed, s, o)
			}
		}
	}
	return nil
}

// claim binds a socket to the name of a span.
func claim(s span) (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("ports: claim: %w", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: s.name()}); err == nil {
		return fd, nil
	}
	_ = unix.Close(fd)
	if errors.Is(err, unix.EADDRINUSE) {
		return -1, fmt.Errorf("%w: ports %s", ErrClaimed, s)
	}
	return -1, fmt.Errorf("ports: claim %s: %w", s, err)
}

// others lists what other daemons have claimed (/proc/net/unix, whose last column is the name).
func (c *Claims) others(fresh map[span]int) ([]span, error) {
	f, err := os.Open("/proc/thread-self/net/unix")
	if err != nil {
		return nil, fmt.Errorf("ports: claims of others: %w", err)
	}
	defer f.Close()
	var list []span
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		_, name, found := strings.Cut(lines.Text(), claimPrefix)
		if !found {
			continue
		}
		s, ok := parseSpan(name)
		if _, ours := c.held[s]; !ok || ours {
			continue
		}
		if _, ours := fresh[s]; !ours {
			list = append(list, s)
		}
	}
	return list, lines.Err()
}

func parseSpan(name string) (s span, ok bool) {
	address, ports, _ := strings.Cut(name, "/")
	local, err := netip.ParseAddr(address)
	if err != nil {
		return span{}, false
	}
	s.local = local
	n, err := fmt.Sscanf(ports, "%d-%d", &s.min, &s.max)
	return s, err == nil && n == 2
}

// spans are the parts of the range that are handed out.
func (a Address) spans() (list []span) {
	begin := int(a.Min)
	for port := begin; port <= int(a.Max)+1; port++ {
		if port <= int(a.Max) && !a.excludes(uint16(port)) {
			continue
		}
		if begin < port {
			list = append(list, span{a.Local, uint16(begin), uint16(port - 1)})
		}
		begin = port + 1
	}
	return list
}

func (a Address) excludes(port uint16) bool {
	for _, r := range a.Exclude {
		if r.has(port) {
			return true
		}
	}
	return false
}

// Close gives all up.
func (c *Claims) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := release(c.held)
	c.held = nil
	return err
}

func release(held map[span]int) error {
	var errs []error
	for _, fd := range held {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
