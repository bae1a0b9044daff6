// Package cli is the command line of the running daemon: what rtpengine-ctl
// sends and what it prints, in rtpengine's words. Lines come by TCP
// (listen-cli), HTTP, WebSocket and the ng command cli.
//
// It knows no authentication: listen where only operators can reach, or give
// an allow-list.
package cli
