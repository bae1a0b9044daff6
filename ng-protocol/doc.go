// Package ng is the contract between a SIP proxy and a media daemon: the
// commands, keys, flags and results of rtpengine's "ng" control protocol as Go
// types, and the codec that reads and writes them.
//
// A datagram is a cookie, one space and a body. The body is a bencoded
// dictionary or a JSON object; a reply has the format of its request. Keys and
// flags are described at https://rtpengine.readthedocs.io (the ng control
// protocol); docstrings here name the ng key each field stands for.
//
// Nothing in this package does I/O: ngserver listens, ngclient calls.
package ng
