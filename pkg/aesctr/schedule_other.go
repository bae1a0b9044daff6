//go:build !amd64 || purego

package aesctr

// schedule is for processors that we know better.
type schedule struct{}

func (*schedule) expand([]byte) bool { return false }

func (*schedule) xorBlocks([]byte, int, uint64, uint64) {}
