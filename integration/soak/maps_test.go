//go:build integration

package soak

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// mapEntries counts the keys of the BPF hash maps that a process has open. Arrays have no entries to be left.
func mapEntries(pid int) (int, error) {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		_, rest, found := strings.Cut(string(text), "map_id:")
		if !found {
			continue
		}
		id, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 32)
		if err != nil {
			return 0, err
		}
		n, err := entries(ebpf.MapID(id))
		if err != nil {
			return 0, fmt.Errorf("map %d: %w", id, err)
		}
		sum += n
	}
	return sum, nil
}

func entries(id ebpf.MapID) (int, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	switch m.Type() {
	case ebpf.Hash, ebpf.LRUHash, ebpf.PerCPUHash, ebpf.LRUCPUHash:
	default:
		return 0, nil
	}
	n := 0
	var key any
	for {
		next, err := m.NextKeyBytes(key)
		if err != nil {
			return 0, err
		}
		if next == nil {
			return n, nil
		}
		n, key = n+1, next
	}
}
