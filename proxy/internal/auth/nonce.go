package auth

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
)

const (
	// nonceLifetime is how long a nonce may be used. A client whose nonce has
	// become stale repeats its request without asking its user.
	nonceLifetime = 5 * time.Minute
	// ncWindow is how many nonce counts may arrive out of order.
	ncWindow = 64

	nonceTime   = 8 // bytes: Unix time, ns
	nonceRandom = 8 // random, and from nonceSource on a MAC of the address that it is sent to
	nonceSource = nonceTime + 4
	nonceMAC    = 16
)

// nonces issues nonces and sees to it that each count of each nonce is used
// once (RFC 7616 §5.12). A nonce carries its time and a MAC: an unused one
// takes no memory. Used ones are remembered up to a limit; beyond it the
// oldest are forgotten and, together with all issued before them, count as
// stale.
type nonces struct {
	key   []byte
	limit int
	now   func() time.Time

	mu      sync.Mutex
	used    map[string]*list.Element // of *usage
	order   *list.List               // by first use
	horizon int64                    // nonces issued up to then and not in used are stale
}

type usage struct {
	nonce   string
	issued  int64
	highest uint32
	seen    uint64 // bit i: highest-i was used
}

// verdict on a nonce.
type verdict uint8

const (
	nonceGood verdict = iota
	nonceStale
	nonceForged
)

func newNonces(key []byte, limit int) *nonces {
	return &nonces{key: key, limit: limit, now: time.Now, used: make(map[string]*list.Element), order: list.New()}
}

// issue makes a nonce for realm that is sent to source.
func (n *nonces) issue(realm string, source netip.Addr) string {
	var raw [nonceTime + nonceRandom + nonceMAC]byte
	binary.BigEndian.PutUint64(raw[:], uint64(n.now().UnixNano()))
	rand.Read(raw[nonceTime:nonceSource])
	copy(raw[nonceSource:], n.mac(raw[:nonceSource], source.String())[:nonceTime+nonceRandom-nonceSource])
	copy(raw[nonceTime+nonceRandom:], n.mac(raw[:nonceTime+nonceRandom], realm))
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// sentTo reports whether a nonce that is not forged was sent to source: who uses it from there has received it there, so the
// source is no forgery. A nonce may be used from elsewhere all the same, as phones move.
func (n *nonces) sentTo(nonce string, source netip.Addr) bool {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) != nonceTime+nonceRandom+nonceMAC {
		return false
	}
	want := n.mac(raw[:nonceSource], source.String())[:nonceTime+nonceRandom-nonceSource]
	return hmac.Equal(raw[nonceSource:nonceTime+nonceRandom], want)
}

func (n *nonces) mac(data []byte, realm string) []byte {
	h := hmac.New(sha256.New, n.key)
	h.Write(data)
	h.Write([]byte(realm))
	return h.Sum(nil)[:nonceMAC]
}

// check judges a nonce without using it up.
func (n *nonces) check(nonce, realm string) (verdict, int64) {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) != nonceTime+nonceRandom+nonceMAC {
		return nonceForged, 0
	}
	if !hmac.Equal(raw[nonceTime+nonceRandom:], n.mac(raw[:nonceTime+nonceRandom], realm)) {
		return nonceForged, 0
	}
	issued := int64(binary.BigEndian.Uint64(raw))
	if age := n.now().UnixNano() - issued; age < 0 || age > int64(nonceLifetime) {
		return nonceStale, issued
	}
	return nonceGood, issued
}

// use takes the count nc of a nonce that was checked and whose response was
// right. It reports whether it had not been used before.
func (n *nonces) use(nonce string, issued int64, nc uint32) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forgetLocked()
	element, known := n.used[nonce]
	if !known {
		if issued <= n.horizon {
			return false
		}
		n.used[nonce] = n.order.PushBack(&usage{nonce: nonce, issued: issued, highest: nc, seen: 1})
		return true
	}
	u := element.Value.(*usage)
	switch {
	case nc > u.highest:
		u.seen = u.seen<<min(nc-u.highest, ncWindow) | 1
		u.highest = nc
		return true
	case u.highest-nc >= ncWindow:
		return false
	}
	bit := uint64(1) << (u.highest - nc)
	if u.seen&bit != 0 {
		return false
	}
	u.seen |= bit
	return true
}

// forgetLocked makes room. n.mu is held.
func (n *nonces) forgetLocked() {
	expired := n.now().Add(-nonceLifetime).UnixNano()
	for front := n.order.Front(); front != nil; front = n.order.Front() {
		u := front.Value.(*usage)
		if n.order.Len() < n.limit && u.issued >= expired {
			return
		}
		if u.issued >= expired {
			n.horizon = max(n.horizon, u.issued)
		}
		n.order.Remove(front)
		delete(n.used, u.nonce)
	}
}
