package app

import (
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// descriptorsBeside is how many file descriptors are needed for other things
// than media ports.
const descriptorsBeside = 64

// warnOfDescriptors says so if the system allows fewer sockets than there are
// ports, since calls would then fail for a reason that looks like another.
func warnOfDescriptors(ports int, log *zap.Logger) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= uint64(ports+descriptorsBeside) {
		return
	}
	log.Warn("fewer file descriptors than media ports: raise the limit (LimitNOFILE, ulimit -n)",
		zap.Uint64("limit", limit.Cur), zap.Int("ports", ports))
}
