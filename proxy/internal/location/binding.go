// Package location knows which contacts are bound to an address of record
// (RFC 3261 §10) and over which connection each of them is reached.
//
// All bindings are in memory; a Keeper, if there is one, gets the changes in
// the background, so that a REGISTER does not wait for a disk.
package location

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"
)

// AoR is an address of record in canonical form: "sip:user@domain", the domain
// in lower case, the user part as it is (RFC 3261 §10.3 step 5).
type AoR string

// NewAoR makes the canonical form.
func NewAoR(user, domain string) AoR {
	return AoR("sip:" + user + "@" + strings.ToLower(domain))
}

// Binding is one contact of an address of record.
type Binding struct {
	AoR     AoR
	Contact string // the URI as registered
	Key     string // canonical form of Contact, by which two are compared
	Params  string // contact parameters to be echoed, such as ;+sip.instance="…";reg-id=1
	Q       int    // 0–1000, preference; 1000 if the client named none

	Instance string // +sip.instance (RFC 5626 §4.1), empty if none
	RegID    string // reg-id (RFC 5626 §4.2)
	CallID   string
	CSeq     uint32
	Path     []string // URIs of Path headers, topmost first (RFC 3327)

	Connection string         // id of the connection the REGISTER came by; empty = dial the contact
	Source     netip.AddrPort // where it came from
	Transport  string         // of that connection
	Direct     bool           // the contact may be dialled when the connection is gone
	Profile    string         // leg profile of the connection
	UserAgent  string

	Registered time.Time // last refresh
	Expires    time.Time
}

// Expired reports whether the binding has run out at the given time.
func (b *Binding) Expired(now time.Time) bool { return !now.Before(b.Expires) }

// Replaces reports whether b, newly registered, takes the place of old: the
// same contact, or the same instance and reg-id (RFC 5626 §6), as a reloaded
// page has them.
func (b *Binding) Replaces(old *Binding) bool {
	if b.Key == old.Key {
		return true
	}
	return b.Instance != "" && b.Instance == old.Instance && b.RegID == old.RegID
}

// IDParam is the URI parameter that carries a contact's ID.
const IDParam = "ctid"

// ID names the contact where its own URI is not to be told, "16 hex digits": the
// same one for all contacts of one instance and reg-id, so that a reloaded page
// keeps it.
func (b *Binding) ID() string {
	name := "contact\x00" + b.Key
	if b.Instance != "" {
		name = "instance\x00" + b.Instance + "\x00" + b.RegID
	}
	sum := sha256.Sum256([]byte(string(b.AoR) + "\x00" + name))
	return hex.EncodeToString(sum[:8])
}

// User is the part before the last @.
func (a AoR) User() string {
	user, _ := a.split()
	return user
}

// Domain is the part behind the last @.
func (a AoR) Domain() string {
	_, domain := a.split()
	return domain
}

func (a AoR) split() (user, domain string) {
	text := strings.TrimPrefix(string(a), "sip:")
	at := strings.LastIndexByte(text, '@')
	return text[:max(at, 0)], text[at+1:]
}
