// Package negotiate decides what an offer or an answer means. It is pure: from
// the flags of an ng command, the SDP body in it and snapshots of the two
// parties it computes what each local side has to be (Plan), and, once the
// call has ports, credentials and keys for it, the body that goes on to the
// other party (Rewrite). It knows no network, no clock and no goroutine.
//
// Rules come from RFC 3264 (offer/answer), 4568 (SDES), 5761 (rtcp-mux),
// 5763 and 8842 (DTLS-SRTP), 8839 (ICE in SDP), 9143 (BUNDLE) and from how
// rtpengine behaves on the wire.
package negotiate
