package limits

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

var errProc = errors.New("unexpected text")

// hostLoad reads the load average of the last minute (proc_loadavg(5)).
func hostLoad() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	return parseLoad(string(text))
}

func parseLoad(text string) (float64, error) {
	first, _, _ := strings.Cut(text, " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/loadavg: %w", errProc)
	}
	return load, nil
}

// hostCPU reads the ticks of all processors since boot (proc_stat(5)).
func hostCPU() (busy, all uint64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	return parseCPU(string(text))
}

// Columns of the line "cpu" in /proc/stat: user nice system idle iowait irq
// softirq steal; what follows is contained in user and nice.
const (
	columnIdle   = 3
	columnIOWait = 4
	columns      = 8
)

func parseCPU(text string) (busy, all uint64, err error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) <= columns || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("/proc/stat: %w", errProc)
	}
	for i, f := range fields[1 : columns+1] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", errProc)
		}
		all += n
		if i != columnIdle && i != columnIOWait {
			busy += n
		}
	}
	return busy, all, nil
}
