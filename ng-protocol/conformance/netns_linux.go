package conformance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside marks the process that Isolate has started.
const inside = "NG_CONFORMANCE_NAMESPACE"

// ErrNoNamespace means that the privilege for a network namespace is missing.
var ErrNoNamespace = errors.New("conformance: no network namespace")

// Isolate runs this program once more with the same arguments in a network
// namespace that has a loopback interface and nothing else, and returns its
// exit code. In that process it returns -1: go on. Without the privilege the
// error is ErrNoNamespace, and the caller goes on where it is.
func Isolate() (int, error) {
	if os.Getenv(inside) != "" {
		return -1, loopbackUp()
	}
	probe := isolated(exec.Command("/bin/true"))
	if err := probe.Run(); err != nil {
		return -1, fmt.Errorf("%w: %w", ErrNoNamespace, err)
	}
	self, err := os.Executable()
	if err != nil {
		return -1, err
	}
	again := isolated(exec.Command(self, os.Args[1:]...))
	again.Env = append(os.Environ(), inside+"=1")
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = again.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return -1, err
	}
	return again.ProcessState.ExitCode(), nil
}

// isolated gives a command a network namespace; who is not root gets a user
// namespace with it, in which he is.
func isolated(c *exec.Cmd) *exec.Cmd {
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	if os.Geteuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return c
}

// loopbackUp is "ip link set lo up".
func loopbackUp() error {
	if lo, err := net.InterfaceByName("lo"); err != nil || lo.Flags&net.FlagUp != 0 {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("conformance: loopback: %w", err)
	}
	return nil
}
