package registrar

import (
	"slices"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// change is what a REGISTER asks for.
type change struct {
	callID string
	cseq   uint32
	all    bool               // Contact: * with Expires: 0
	put    []location.Binding // to be added or refreshed
	drop   []location.Binding // to be removed
}

// query reports whether the REGISTER only asks which bindings exist.
func (c *change) query() bool { return !c.all && len(c.put) == 0 && len(c.drop) == 0 }

// apply makes the new list of bindings (RFC 3261 §10.3 steps 6 and 7).
func (c *change) apply(current []location.Binding) ([]location.Binding, error) {
	late := func(old *location.Binding) bool { return old.CallID == c.callID && c.cseq <= old.CSeq }
	if c.all {
		if slices.ContainsFunc(current, func(b location.Binding) bool { return late(&b) }) {
			return nil, request.Fail(500, "Server Internal Error", ErrOutOfOrder)
		}
		return nil, nil
	}
	next := slices.Clone(current)
	for _, list := range [][]location.Binding{c.drop, c.put} {
		for i := range list {
			for j := range next {
				if list[i].Replaces(&next[j]) && late(&next[j]) {
					return nil, request.Fail(500, "Server Internal Error", ErrOutOfOrder)
				}
			}
			next = slices.DeleteFunc(next, func(old location.Binding) bool { return list[i].Replaces(&old) })
		}
	}
	return append(next, c.put...), nil
}
