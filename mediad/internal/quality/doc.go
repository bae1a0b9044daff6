// Package quality judges calls by the RTCP reports that pass (RFC 3550 §6.4): loss, jitter, round-trip times and the mean opinion
// score that follows from them. It sees packets on the worker of a call and is asked from anywhere; it does no I/O and reads no clock.
package quality
