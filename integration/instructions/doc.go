// Package instructions keeps the cost of a packet and of a call from creeping up. It counts the instructions of Go's own benchmarks under
// callgrind, which are the same on every machine to half a percent, where times are not: valgrind's processor has the same features
// everywhere, and one processor and no preemption leave little to chance.
package instructions
