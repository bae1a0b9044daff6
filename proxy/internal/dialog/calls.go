package dialog

import (
	"slices"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Call is what is told of a dialog to an administrator.
type Call struct {
	CallID    string
	Confirmed bool
	// Since is when the INVITE came, or the first 2xx.
	Since  time.Time
	Caller Party
	Callee Party
}

// Party is one side of a Call.
type Party struct {
	Tag, Identity, Profile, AoR, Trunk string
	// Connection leads to it, Alive says that it is up.
	Connection string
	Alive      bool
}

// List tells of all dialogs, the oldest first.
func (k *Keeper) List() []Call {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Call, 0, len(k.dialogs))
	for d := range k.dialogs {
		out = append(out, Call{CallID: d.CallID, Confirmed: d.Confirmed, Since: d.since, Caller: d.A.party(), Callee: d.B.party()})
	}
	slices.SortFunc(out, func(a, b Call) int { return a.Since.Compare(b.Since) })
	return out
}

func (l *Leg) party() Party {
	p := Party{Tag: l.Tag, Identity: l.Identity, Profile: l.Profile, AoR: l.AoR, Trunk: l.Trunk}
	if l.Conn != nil {
		p.Connection, p.Alive = string(l.Conn.ID()), request.Alive(l.Conn)
	}
	return p
}
