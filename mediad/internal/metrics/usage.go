package metrics

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// usage is what the process takes of the machine.
type usage struct {
	cpu               time.Duration
	resident, virtual int64 // bytes
	descriptors       int
}

// readUsage reads proc(5) and getrusage(2).
func readUsage() (usage, error) {
	var u usage
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return u, os.NewSyscallError("getrusage", err)
	}
	u.cpu = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return u, err
	}
	if _, err := fmt.Sscan(string(statm), &u.virtual, &u.resident); err != nil {
		return u, fmt.Errorf("statm: %w", err)
	}
	page := int64(os.Getpagesize())
	u.virtual, u.resident = u.virtual*page, u.resident*page
	fds, err := os.ReadDir("/proc/self/fd")
	u.descriptors = max(len(fds)-1, 0) // without that of the listing
	return u, err
}
