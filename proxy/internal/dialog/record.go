package dialog

import (
	"context"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Store keeps confirmed dialogs over a restart.
type Store interface {
	// Dialogs returns all that are kept. With an error come those that could be read.
	Dialogs(ctx context.Context) ([]Record, error)
	// KeepDialogs writes and removes records, all in one step.
	KeepDialogs(ctx context.Context, put []Record, drop []uint64) error
}

// Record is a confirmed dialog as it is kept. Times are in milliseconds of Unix time.
type Record struct {
	// ID names the record, also in the runs to come.
	ID             uint64 `json:"-"`
	CallID         string `json:"-"`
	A, B           LegRecord
	CSeq           uint32 // of the INVITE
	Branch, Seal   string `json:",omitempty"`
	Since, Expires int64
	Unacked        bool     `json:",omitempty"`
	Session        int64    `json:",omitempty"` // when the session timer runs out
	Media          bool     `json:",omitempty"` // the media daemon has had it
	Counted        []string `json:",omitempty"` // under which limits
}

// LegRecord is one side of a Record; see Leg.
type LegRecord struct {
	Tag, Identity, Profile, Contact string
	AoR, Trunk                      string               `json:",omitempty"`
	Conn                            request.ConnectionID `json:",omitempty"`
	Transport                       request.Transport    `json:",omitempty"`
	Bound                           bool                 `json:",omitempty"`
	Device                          *request.Device      `json:",omitempty"`
	Routes                          []string             `json:",omitempty"`
	CSeq                            uint32
	Inserted                        uint32 `json:",omitempty"`
}

// jumpKept is how far numbers move on after a restart: so many requests of a side may have passed since its last record.
// jumpUnknown is that for a side of which only the seal is left; its numbers are below in all but the oddest case.
const (
	jumpKept    = 16
	jumpUnknown = 1 << 30
)

// record copies a dialog; the lock is held.
func (d *Dialog) record() Record {
	r := Record{
		ID: d.id, CallID: d.CallID, A: d.A.record(), B: d.B.record(), CSeq: d.cseq, Branch: d.branch, Seal: d.seal,
		Since: d.since.UnixMilli(), Expires: d.expires.UnixMilli(), Unacked: d.unacked, Media: d.media,
		Counted: d.slot.all(),
	}
	if !d.session.ends.IsZero() {
		r.Session = d.session.ends.UnixMilli()
	}
	return r
}

func (l *Leg) record() LegRecord {
	r := LegRecord{
		Tag: l.Tag, Identity: l.Identity, Profile: l.Profile, Contact: l.Contact, AoR: l.AoR, Trunk: l.Trunk,
		Bound: l.Bound, Routes: l.Routes, CSeq: l.CSeq, Inserted: l.Inserted,
	}
	if l.Conn != nil {
		r.Conn, r.Transport = l.Conn.ID(), l.Conn.Transport()
	}
	if l.Device != (request.Device{}) {
		device := l.Device
		r.Device = &device
	}
	return r
}

// revive makes a dialog of its record.
func (k *Keeper) revive(r Record) *Dialog {
	d := &Dialog{
		id: r.ID, stored: true, CallID: r.CallID, Confirmed: true, cseq: r.CSeq, branch: r.Branch, seal: r.Seal,
		since: time.UnixMilli(r.Since), expires: time.UnixMilli(r.Expires), unacked: r.Unacked, media: r.Media,
		A: k.reviveLeg(r.A), B: k.reviveLeg(r.B),
	}
	if r.Session != 0 {
		d.session.ends = time.UnixMilli(r.Session)
	}
	return d
}

func (k *Keeper) reviveLeg(r LegRecord) Leg {
	l := Leg{
		Tag: r.Tag, Identity: r.Identity, Profile: r.Profile, Contact: r.Contact, AoR: r.AoR, Trunk: r.Trunk,
		Bound: r.Bound, Routes: r.Routes, CSeq: r.CSeq, Inserted: r.Inserted, jump: jumpKept,
		Conn: k.connection(r.Conn, r.Transport, r.Bound),
	}
	if r.Device != nil {
		l.Device = *r.Device
	}
	return l
}

// connection finds a connection of an earlier run again: UDP by its name, others while they live. One that alone leads to
// its peer is never replaced by another one.
func (k *Keeper) connection(id request.ConnectionID, t request.Transport, bound bool) request.Connection {
	if id == "" {
		return nil
	}
	if c, ok := k.conns.Get(id); ok {
		return c
	}
	if bound || t.WebSocket() {
		return lost{id, t}
	}
	return nil
}
