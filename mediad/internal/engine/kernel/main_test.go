package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
)

// own is set in a test process that has a network namespace of its own.
const own = "K_NAMESPACE"

// child is set in a process that a test has started; it says what for.
const child = "K_CHILD"

// TestMain runs the integration tests in a network namespace that nobody else is in and that ends with the process.
func TestMain(m *testing.M) {
	if !integration {
		goleak.VerifyTestMain(m)
		return
	}
	if os.Getenv(own) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), own+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "in a namespace of its own (needs root):", err)
			os.Exit(1)
		}
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil && os.Getenv(child) == "" {
		fmt.Fprintln(os.Stderr, "lo:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
