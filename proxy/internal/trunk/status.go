package trunk

import (
	"cmp"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Status of one trunk, for metrics and the admin API.
type Status struct {
	Name          string               `json:"name"`
	Targets       []TargetStatus       `json:"targets"`
	Registrations []RegistrationStatus `json:"registrations"`
}

// TargetStatus tells of a target.
type TargetStatus struct {
	URI      string `json:"uri"`
	Weight   int    `json:"weight"`
	Priority int    `json:"priority"`
	Down     bool   `json:"down"`    // by probes
	Avoided  string `json:"avoided"` // RFC 3339, until when it is tried last; "" if it is not
	Failures uint64 `json:"failures"`
	Reason   string `json:"reason"` // of the last failure
}

// RegistrationStatus tells of a registration.
type RegistrationStatus struct {
	AoR        string `json:"aor"`
	Registered bool   `json:"registered"`
	Until      string `json:"until"` // RFC 3339
	Error      string `json:"error"` // of the last try
}

// report keeps what has become of a registration.
func (n *registrant) report(granted time.Duration, err error) {
	k := n.Trunks.trunk(n.trunk)
	if k == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	key := n.trunk + " " + n.AoR.String()
	s := n.registered[key]
	s.AoR, s.Error = n.AoR.String(), ""
	if err != nil {
		s.Error = err.Error()
		until, bad := time.Parse(time.RFC3339, s.Until)
		s.Registered = bad == nil && n.now().Before(until)
	} else {
		if !s.Registered {
			n.log.Info("registered at trunk", zap.String("trunk", n.trunk), zap.String("aor", s.AoR), zap.Duration("for", granted))
		}
		s.Registered, s.Until = true, n.now().Add(granted).Format(time.RFC3339)
	}
	n.registered[key] = s
}

// Status tells of all trunks, sorted by name.
func (t *Trunks) Status() []Status {
	now := t.now()
	var out []Status
	for name, k := range *t.current.Load() {
		s := Status{Name: name}
		for _, to := range k.targets {
			to.mu.Lock()
			ts := TargetStatus{
				URI: to.uri, Weight: to.Weight, Priority: to.Priority, Down: to.down, Failures: to.failures, Reason: to.reason,
			}
			if now.Before(to.avoid) {
				ts.Avoided = to.avoid.Format(time.RFC3339)
			}
			to.mu.Unlock()
			s.Targets = append(s.Targets, ts)
		}
		t.mu.Lock()
		for _, g := range k.Registrations {
			r := t.registered[name+" "+g.AoR.String()]
			r.AoR = g.AoR.String()
			s.Registrations = append(s.Registrations, r)
		}
		t.mu.Unlock()
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
