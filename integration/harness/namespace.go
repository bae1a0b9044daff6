package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace with loopback addresses of its own, so that
// two daemons can be started with the same addresses and ports. It needs root.
type Namespace struct {
	name string
	file *os.File
}

// NewNamespace makes a namespace called name whose loopback device holds the
// addresses (IPv4 and IPv6, without prefix lengths).
func NewNamespace(name string, addresses ...string) (*Namespace, error) {
	if err := ip("netns", "add", name); err != nil {
		return nil, err
	}
	n := &Namespace{name: name}
	if err := n.fill(addresses); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Namespace) fill(addresses []string) error {
	if err := ip("-n", n.name, "link", "set", "lo", "up"); err != nil {
		return err
	}
	for _, address := range addresses {
		args := []string{"-n", n.name, "addr", "add", address + "/32", "dev", "lo"}
		if strings.Contains(address, ":") { // no detection of duplicates: the address is there at once
			args = []string{"-n", n.name, "addr", "add", address + "/128", "dev", "lo", "nodad"}
		}
		if err := ip(args...); err != nil {
			return err
		}
	}
	var err error
	n.file, err = os.Open("/run/netns/" + n.name)
	return err
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// OpenNamespace returns one that another process has made; closing it is that
// process's business.
func OpenNamespace(name string) (*Namespace, error) {
	file, err := os.Open("/run/netns/" + name)
	if err != nil {
		return nil, err
	}
	return &Namespace{name: name, file: file}, nil
}

// Name is the namespace's name for ip-netns(8).
func (n *Namespace) Name() string { return n.name }

// IP runs ip(8) inside.
func (n *Namespace) IP(args ...string) error { return ip(append([]string{"-n", n.name}, args...)...) }

// Close removes the namespace; sockets that were opened in it stay usable.
func (n *Namespace) Close() error {
	if n.file != nil {
		_ = n.file.Close()
	}
	return ip("netns", "del", n.name)
}

// Start runs spec inside.
func (n *Namespace) Start(spec Spec) (*Process, error) {
	path, err := find(spec.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Name, err)
	}
	spec.Args = append([]string{"netns", "exec", n.name, path}, spec.Args...)
	spec.Path = "ip"
	return Start(spec)
}

// Do runs f in a thread that is inside: sockets that f opens belong to the
// namespace for all their life.
func (n *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("setns: %w", err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}
