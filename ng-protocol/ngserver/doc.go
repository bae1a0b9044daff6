// Package ngserver serves the ng control protocol over UDP, TCP and HTTP: it
// reads messages, answers repeated cookies from one cache for all transports,
// and hands requests to an ng.Handler, commands of one call one after the other
// and those of different calls in parallel.
//
// The protocol knows no authentication. Listen on addresses that only the SIP
// side can reach, or give Config.Allow.
package ngserver
