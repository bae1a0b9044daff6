package uring

import (
	"time"
	"unsafe"
)

// The kernel's interface, as in linux/io_uring.h and io_uring_setup(2), io_uring_enter(2), io_uring_register(2).
const (
	setupCQSize       = 1 << 3
	setupClamp        = 1 << 4
	setupSubmitAll    = 1 << 7
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13

	featureSingleMap    = 1 << 0
	featureNoDrop       = 1 << 1
	featureSubmitStable = 1 << 2
	featureFastPoll     = 1 << 5
	featureExtArg       = 1 << 8
	featuresNeeded      = featureSingleMap | featureNoDrop | featureSubmitStable | featureFastPoll | featureExtArg

	offsetRings    = 0
	offsetRequests = 0x10000000

	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3

	registerBufferRing = 22

	opSendMsg = 9
	opRecvMsg = 10
	opCancel  = 14
	opRead    = 22

	requestBufferSelect = 1 << 5 // IOSQE_BUFFER_SELECT
	receiveMultishot    = 1 << 1 // IORING_RECV_MULTISHOT, in ioprio

	cqeBuffer      = 1 << 0
	cqeMore        = 1 << 1
	cqeBufferShift = 16
)

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sq                                                                     sqOffsets
	cq                                                                     cqOffsets
}

// sqOffsets is struct io_sqring_offsets.
type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
	_                                                           uint64
}

// cqOffsets is struct io_cqring_offsets.
type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
	_                                                           uint64
}

// request is struct io_uring_sqe.
type request struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	offset, addr  uint64
	length        uint32
	opFlags       uint32
	data          uint64
	group         uint16
	_             uint16
	_             uint32
	_             [2]uint64
}

// getevents is struct io_uring_getevents_arg, with the timespec it points to behind it.
type getevents struct {
	sigmask     uint64
	sigmaskSize uint32
	minWaitUsec uint32
	timeout     uint64
	spec        timespec
}

// geteventsSize is the size of what the kernel knows of getevents.
const geteventsSize = unsafe.Offsetof(getevents{}.spec)

// timespec is struct __kernel_timespec.
type timespec struct{ seconds, nanoseconds int64 }

func (g *getevents) set(d time.Duration) {
	g.spec = timespec{int64(d / time.Second), int64(d % time.Second)}
	g.timeout = address(unsafe.Pointer(&g.spec))
}

// bufferRegistration is struct io_uring_buf_reg.
type bufferRegistration struct {
	ring    uint64
	entries uint32
	group   uint16
	flags   uint16
	_       [3]uint64
}

// bufferEntry is struct io_uring_buf. The ring's tail lies in the last two bytes of the first entry.
type bufferEntry struct {
	addr   uint64
	length uint32
	id     uint16
	tail   uint16
}

// received is struct io_uring_recvmsg_out, which stands before the name and the payload in a buffer.
type received struct {
	nameLength, controlLength, payloadLength, flags uint32
}
