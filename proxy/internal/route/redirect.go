package route

import (
	"strconv"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Redirected implements request.Redirects. Anybody who is called may redirect to registered users of an own domain; to other
// places only a next hop of the configuration, or a phone could send others' calls to where they must not call.
func (s *Step) Redirected(r *request.Request, from request.Target, contacts []request.Address) []request.Target {
	config := s.current.Load()
	var out []request.Target
	for _, c := range contacts {
		uri := *c.URI.Clone()
		if uri.Scheme != "sip" && uri.Scheme != "sips" {
			continue
		}
		uri.Headers = nil
		q := quality(c)
		if domain, own := config.Domains.Canonical(uri.Host); own {
			bindings := config.Table.Lookup(location.NewAoR(uri.User, domain))
			for i := range bindings {
				if t, ok := s.bound(&bindings[i]); ok {
					t.Q, t.Timeout = q, from.Timeout
					out = append(out, t)
				}
			}
			continue
		}
		if from.Trusted {
			out = append(out, request.Target{
				URI: uri, Profile: from.Profile, Listener: from.Listener, Timeout: from.Timeout, Q: q, Trusted: true,
				Trunk: from.Trunk, Silence: from.Silence, Failover: from.Failover,
			})
		}
	}
	return out
}

// quality is a contact's q in thousandths; 1000 when it has none (RFC 3261 §20.10).
func quality(c request.Address) int {
	text, ok := c.Param("q")
	if !ok {
		return 1000
	}
	q, err := strconv.ParseFloat(text, 64)
	if err != nil || !(q >= 0 && q <= 1) {
		return 1000
	}
	return int(q*1000 + 0.5)
}
