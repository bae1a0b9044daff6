package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	portsPerCall = 4  // RTP and RTCP of two legs
	spareFiles   = 64 // that a daemon needs beside
)

// descriptors is how many files a daemon may have for ports.
func descriptors(limit int) int {
	var l unix.Rlimit
	if limit == 0 && unix.Getrlimit(unix.RLIMIT_NOFILE, &l) == nil {
		limit = int(min(l.Max, 1<<30))
	}
	return limit - spareFiles
}

// below keeps the numbers up to limit.
func below(numbers []int, limit int) []int {
	var kept []int
	for _, n := range numbers {
		if n <= limit {
			kept = append(kept, n)
		}
	}
	return kept
}

// describeHost tells the machine in general terms.
func describeHost() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, found := strings.Cut(string(text), "model name\t: "); found {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	var name unix.Utsname
	kernel := ""
	if unix.Uname(&name) == nil {
		kernel, _, _ = strings.Cut(unix.ByteSliceToString(name.Release[:]), "-")
	}
	return fmt.Sprintf("%d × %s, Linux %s, %s", runtime.NumCPU(), model, kernel, runtime.Version())
}
