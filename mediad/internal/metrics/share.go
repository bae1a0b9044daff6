package metrics

import "github.com/tandem-sbc/tandem/mediad/internal/call"

// share is what part of the traffic one of the two ways has taken, or all of it.
type share struct{ packets, bytes, errors uint64 }

// user is what user space has handled: all faulty packets, too.
func user(t call.Traffic) share {
	return share{t.Packets - t.KernelPackets, t.Bytes - t.KernelBytes, t.Errors}
}

// kernel is what the kernel has forwarded. What it cannot handle goes to user space, so it has no errors.
func kernel(t call.Traffic) share { return share{t.KernelPackets, t.KernelBytes, 0} }

func both(t call.Traffic) share { return share{t.Packets, t.Bytes, t.Errors} }
