package request

import (
	"slices"
	"strings"
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
