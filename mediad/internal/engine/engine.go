// Package engine says what executes routes: it reads the ports of streams, lets flow decide and writes the result.
package engine

import (
	"errors"
	"net/netip"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

// Kernel is the name of the engine that forwards in the kernel.
const Kernel = "kernel"

// ErrClosed says that the engine is shut down.
var ErrClosed = errors.New("engine: closed")

// Engine reads and writes the ports of the streams attached to it. All methods may be called from any goroutine, but not from a
// handler of flow, which runs on the engine's worker.
type Engine interface {
	// Name for logs, statistics and metrics: "sockets", "steer" or "kernel".
	Name() string
	// Detail says how, for the log, for example "io_uring".
	Detail() string
	// OpenPair opens two neighbouring ports of a local address, for streams that are then attached to this engine: ports.Opener.
	OpenPair(addr netip.Addr, even uint16) (rtp, rtcp udp.Port, err error)
	// Carrier names who moves the packets of an attached stream at this moment, as Name does, and says in a few words why it is not
	// the kernel; reason is empty if it is, or if the engine does not do so at all.
	Carrier(*flow.Stream) (name, reason string)
	// Attach starts reading streams, those of one shard in one go. After an error some may be attached.
	Attach(...*flow.Stream) error
	// Detach ends it and returns when no packet of the streams is in flight any more: their contexts and sockets may be closed
	// then. A stream that is not attached is retired all the same. It cannot be attached again.
	Detach(...*flow.Stream)
	// Move lets the worker of another shard serve streams, all those of the shard they are of that routes connect, so that routes may
	// connect them with its own. While it goes on none of their packets is handled, and none is lost. A stream that is not attached
	// gets but the shard. After an error the streams are where they were.
	Move(shard uint64, streams ...*flow.Stream) error
	// CatchUp handles the packets that have come to streams before the keys of a handshake (flow.Stream.CatchUp) and returns when
	// that is done.
	CatchUp(...*flow.Stream)
	// Report lets streams make the RTCP of our own that is due (flow.Stream.Report) and returns when that is done.
	Report(...*flow.Stream)
	// Close detaches all streams and waits for the workers.
	Close() error
}

// Steering is an engine whose ports are no sockets: a few sockets take the packets of all of them. Then the kernel keeps nobody from
// having the same ports, and packets are lost where a worker does not keep up.
type Steering interface {
	// Dropped is how many packets the kernel has thrown away because a worker did not keep up; ok is false where ports are sockets
	// after all.
	Dropped() (packets uint64, ok bool)
}
