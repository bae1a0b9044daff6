// Package legacy understands the old UDP protocol of rtpproxy as far as
// rtpengine does (listen-udp), and executes it as ng commands. One datagram
// holds a cookie and a command on one media of a call:
//
//	cookie U|L[flags] call-id[;branch] address port from-tag;index [to-tag;index]
//	cookie D call-id[;branch] from-tag [to-tag]
//	cookie Q call-id from-tag [to-tag]
//	cookie V | VF date
//
// An answer is the cookie with ports and numbers, or E8 for what failed.
package legacy
