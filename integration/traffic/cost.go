package traffic

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is USER_HZ, the unit of /proc/stat, which is 100 on every architecture that Go has.
const clockTick = 10 * time.Millisecond

// CPU returns the processor time that all threads of a process have used. The kernel's accounting in nanoseconds is taken where it has
// it (/proc/PID/task/TID/schedstat), else that in ticks of 10 ms.
func CPU(pid int) (time.Duration, error) {
	folder := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(folder)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, task := range tasks {
		text, err := os.ReadFile(filepath.Join(folder, task.Name(), "schedstat"))
		if err != nil {
			if _, gone := os.Stat(filepath.Join(folder, task.Name())); gone != nil {
				continue // the thread has ended meanwhile
			}
			return ticks(pid)
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// ticks is utime and stime of proc_pid_stat(5).
func ticks(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("traffic: stat of %d: %q", pid, text)
	}
	var sum int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * clockTick, nil
}

// machine returns the time that the processors were busy, all together.
func machine() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var sum int64
	for i, f := range strings.Fields(line)[1:] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		switch i {
		case 0, 1, 2, 5, 6, 7: // user, nice, system, irq, softirq, steal; guest is in user
			sum += n
		}
	}
	return time.Duration(sum) * clockTick, nil
}

// softirqThreads lists the kernel's ksoftirqd: they do the network's work when there is too much for the senders' own context.
func softirqThreads() []int {
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	var pids []int
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(text), "ksoftirqd/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Meter reads what a daemon, this process and the kernel's network threads cost.
type Meter struct {
	daemon   int
	softirqs []int
}

// NewMeter makes a meter for the process daemon.
func NewMeter(daemon int) *Meter { return &Meter{daemon: daemon, softirqs: softirqThreads()} }

// Usage is processor time.
type Usage struct {
	At                         time.Time
	Daemon, Generator, Softirq time.Duration
	Machine                    time.Duration // all that the processors did
}

// Read takes the present values.
func (m *Meter) Read() (Usage, error) {
	u := Usage{At: time.Now()}
	var err error
	if u.Daemon, err = CPU(m.daemon); err != nil {
		return u, err
	}
	if u.Generator, err = CPU(os.Getpid()); err != nil {
		return u, err
	}
	for _, pid := range m.softirqs {
		t, err := CPU(pid)
		if err != nil {
			return u, err
		}
		u.Softirq += t
	}
	u.Machine, err = machine()
	return u, err
}

// Since is what was used between two readings.
func (u Usage) Since(before Usage) Cost {
	return Cost{
		Time: u.At.Sub(before.At), Daemon: u.Daemon - before.Daemon, Generator: u.Generator - before.Generator,
		Softirq: u.Softirq - before.Softirq, Machine: u.Machine - before.Machine,
	}
}

// Cost is processor time of a span of time.
type Cost struct {
	Time                                time.Duration
	Daemon, Generator, Softirq, Machine time.Duration
}

// Other is the load of the machine that none of ours caused, in cores.
func (c Cost) Other() float64 {
	if c.Time <= 0 {
		return 0
	}
	return max(0, float64(c.Machine-c.Daemon-c.Generator-c.Softirq)/float64(c.Time))
}

// Memory returns the resident memory of a process in bytes, and how many file descriptors it holds.
func Memory(pid int) (resident int64, descriptors int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	_, rest, found := strings.Cut(string(text), "VmRSS:")
	if !found {
		return 0, 0, fmt.Errorf("traffic: process %d has no VmRSS", pid)
	}
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return kb << 10, len(fds), err
}
