package request

import (
	"slices"
	"strings"
	"time"
)

// PeerNames are the names in the verified client certificate of the peer of an accepted connection; nil when it showed none
// or when nobody asked for it.
func PeerNames(c Connection) []string {
	if known, ok := c.(interface{ PeerNames() []string }); ok {
		return known.PeerNames()
	}
	return nil
}

// PeerNamed reports whether one of names is among them, in any case.
func PeerNamed(c Connection, names []string) bool {
	if len(names) == 0 {
		return false
	}
	for _, have := range PeerNames(c) {
		if slices.ContainsFunc(names, func(want string) bool { return strings.EqualFold(want, have) }) {
			return true
		}
	}
	return false
}

// Shut closes the connection of a peer that is not to be served any longer; one of UDP has nothing to close.
func Shut(c Connection) {
	if open, ok := c.(interface{ Shut() }); ok {
		open.Shut()
	}
}

// Proof is what the peer of a connection has proved in its handshake.
type Proof struct {
	User  string // name@domain
	Until time.Time
}

// ProofOf returns it; ok is false when the peer has proved nothing.
func ProofOf(c Connection) (Proof, bool) {
	if proving, ok := c.(interface{ Proof() (Proof, bool) }); ok {
		return proving.Proof()
	}
	return Proof{}, false
}
