// Package ngserver serves the ng control protocol over UDP: it reads datagrams,
// answers repeated cookies from a cache, and hands requests to an ng.Handler,
// commands of one call one after the other and those of different calls in
// parallel.
//
// The protocol knows no authentication. Listen on addresses that only the SIP
// side can reach, or give Config.Allow.
package ngserver
