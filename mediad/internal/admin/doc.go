// Package admin lets people and programs look at the running daemon: an HTTP
// server with /ping and /metrics, and room for what others serve there. It does
// not know the ng protocol.
//
// Nothing of it asks who is there. Listen on addresses that only operators can
// reach.
package admin
