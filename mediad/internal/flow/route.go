// Package flow is the packet path: it decides what happens to each datagram that arrives on a media port. A decision follows an
// immutable Route that the call compiled, and does no I/O: it appends to a batch that the engine writes.
//
// The files follow a packet: receive → demux → unprotect → latch → count → protect → send.
package flow

import (
	"net/netip"

	"github.com/tandem-sbc/tandem/mediad/internal/quality"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
)

// Learning is how a stream finds out where its peer really sends from (rtpengine: endpoint-learning).
type Learning uint8

// The modes. All but Off close learning once made; Reopen starts it again.
const (
	// Heuristic looks at the sources of the first three seconds and takes the one nearest to the endpoint in SDP: equal, same
	// address, same port, any.
	Heuristic Learning = iota
	// Delayed follows the latest source for three seconds and then keeps it.
	Delayed
	// Immediate keeps the first source.
	Immediate
	// Off never learns: packets go to the endpoint in SDP.
	Off
)

// String is the ng name of the mode.
func (l Learning) String() string {
	switch l {
	case Delayed:
		return "delayed"
	case Immediate:
		return "immediate"
	case Off:
		return "off"
	default:
		return "heuristic"
	}
}

// Handler takes packets that are not media: DTLS. It runs on the engine's worker, must not block and must not keep pkt.
// *secure.Endpoint is one.
type Handler interface {
	HandlePacket(pkt []byte, src netip.AddrPort)
}

// Connectivity is a stream's ICE agent. *connect.Agent is one. Both methods run on the engine's worker and must not block.
type Connectivity interface {
	// HandlePacket takes a STUN packet; it must not keep pkt.
	HandlePacket(pkt []byte, src netip.AddrPort)
	// Allows reports whether a connectivity check from this source has passed.
	Allows(src netip.AddrPort) bool
}

// Route says what happens to the packets that arrive at one stream. It is immutable once given to Stream.SetRoute; the contexts it
// points to have state, owned by the worker of the call. Routes of the same media share contexts from one re-offer to the next.
type Route struct {
	// What each packet needs comes first, so that it lies together.

	// ICE is the stream's agent, nil without ICE. With it, media and DTLS are taken only from checked sources and sent only to
	// the selected pair; Learning and its flags do not count.
	ICE Connectivity
	// Media are the outputs for RTP, ControlOut those for RTCP.
	Media []Output
	// Payloads are the payload types of the media, nil if they are not known: then nothing is observed and no Report made.
	Payloads *Payloads
	// Report says that the peer gets RTCP of our own, made while media flows either way (ng flag generate-RTCP). What RTCP the peer
	// sends goes no further then.
	Report   *Report
	Learning Learning
	// Strict drops packets from elsewhere once an address is learned (ng flag strict-source).
	Strict bool
	// Handover follows a changed source after learning (ng flag media-handover).
	Handover bool
	// Asymmetric sends to Endpoint whatever is learned (ng flag asymmetric).
	Asymmetric bool
	// Encrypted says that the peer sends SRTP: without Inbound (handshake not finished) media is dropped.
	Encrypted bool
	// Control says that this is the RTCP component: everything that arrives is RTCP.
	Control bool
	// Opaque says that the media is not RTP (T.38 over UDPTL, for example): whatever arrives goes to Media as it is. ICE, DTLS and
	// encryption do not apply.
	Opaque bool
	// Drop takes no media further (inactive, held or blocked); packets still count and addresses are still learned.
	Drop bool

	Inbound *secure.Inbound
	// Quality is told the sources that send and the RTCP that comes in, nil for nobody.
	Quality *quality.Table
	// Observer is told of telephone events and RTCP, nil for nobody.
	Observer   Observer
	ControlOut []Output
	// Endpoint is the peer's address for this component from SDP, unset if unknown. It is where packets are sent until something
	// better is learned or selected.
	Endpoint netip.AddrPort
	// DTLS takes handshake packets, nil without DTLS.
	DTLS Handler
	// Muxed says that RTCP may arrive here between RTP (RFC 5761). Without it RTCP on an RTP port is dropped.
	Muxed bool
	// PassSTUN lets connectivity checks and handshakes through to Media as they are: the parties do ICE, and DTLS, with each other
	// (ng ICE=optional and force-relay). Nothing is learned from them.
	PassSTUN bool
}

// Output is one place a packet goes on to.
type Output struct {
	// Stream whose local port sends, to its Destination.
	Stream *Stream
	// Encrypted says that the receiver expects SRTP: without Outbound (handshake not finished) the packet is dropped.
	Encrypted bool
	Outbound  *secure.Outbound
	// Filter keeps packets back or changes them, nil for none. RTCP always passes.
	Filter *Filter
	// Wait is a stream of the receiver: what comes before that stream has received something is dropped (ng flag NAT-wait). Nil for
	// no waiting.
	Wait *Stream
	// Report is that of the receiver's route, if it gets RTCP of our own.
	Report *Report
}
