// Package traffic loads a media daemon: it sets calls up by the ng protocol, sends RTP or SRTP both ways through them at a given rate
// and tells what came back, how late, and what it cost.
//
// It is made to be light, since it shares the machine with what it measures: sockets are shared by a few calls, packets go out by
// sendmmsg(2) and come in by recvmmsg(2), nobody waits in the kernel for what arrives (so that the daemon does not pay for waking us),
// and latency is taken between our clock in the payload and the kernel's receive timestamp (SO_TIMESTAMPNS).
package traffic
