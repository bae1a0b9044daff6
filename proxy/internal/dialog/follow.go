package dialog

import (
	"context"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Move transfers the legs of one connection to another one: the same device (by +sip.instance) has come back. A call that
// the other side has ended meanwhile ends there too.
func (k *Keeper) Move(from request.ConnectionID, to request.Connection) {
	k.mu.Lock()
	var over []func(context.Context)
	var of []string
	for d := range k.byConn[from] {
		for _, leg := range []*Leg{&d.A, &d.B} {
			if leg.Conn == nil || leg.Conn.ID() != from {
				continue
			}
			k.move(d, leg, to)
			k.changed(d)
			k.log.Info("call follows its device", zap.String("call-id", d.CallID), zap.String("connection", string(to.ID())))
			if d.away == leg {
				d.away = nil
				toA := leg == &d.A
				over, of = append(over, func(ctx context.Context) { k.hangUp(ctx, d, toA, !toA) }), append(of, d.CallID)
			}
		}
	}
	k.mu.Unlock()
	for i, tell := range over {
		k.post.Post(of[i], tell)
	}
}

// Lost is told of each connection that is gone. Calls of a browser end when it is not back after the grace.
func (k *Keeper) Lost(conn request.Connection) {
	if !conn.Transport().WebSocket() {
		return // a phone's call goes on: it connects again, or is reached by its Contact
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.byConn[conn.ID()]) == 0 {
		return
	}
	select {
	case <-k.stop:
		return
	default:
	}
	k.after(k.cfg.Load().Grace, func() { k.abandoned(conn.ID()) })
}

// after runs f later, unless the keeper is closed before; the lock is held.
func (k *Keeper) after(d time.Duration, f func()) {
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		k.mu.Lock()
		delete(k.timers, t)
		k.mu.Unlock()
		f()
	})
	k.timers[t] = struct{}{}
}

// abandoned ends the confirmed dialogs that still hang on a lost connection of a browser.
func (k *Keeper) abandoned(id request.ConnectionID) {
	k.mu.Lock()
	var gone []*Dialog
	for d := range k.byConn[id] {
		if d.Confirmed {
			gone = append(gone, d)
		}
	}
	k.mu.Unlock()
	for _, d := range gone {
		k.post.Post(d.CallID, func(ctx context.Context) {
			k.mu.Lock()
			lostA, lostB := d.A.gone(id), d.B.gone(id)
			if d.away != nil && (lostA || lostB) { // nobody is left to tell
				k.drop(d)
			}
			k.mu.Unlock()
			if lostA || lostB {
				k.log.Info("browser gone, ending its call", zap.String("call-id", d.CallID), zap.String("connection", string(id)))
				k.end(ctx, d, "proxy: connection lost", !lostA, !lostB)
			}
		})
	}
}

// gone reports that a browser's leg still hangs on that connection.
func (l *Leg) gone(id request.ConnectionID) bool {
	return l.Conn != nil && l.Conn.ID() == id && l.Conn.Transport().WebSocket()
}

// missed notes that a leg could not be told of the call's end as its connection is gone: it is told when it comes back
// within the grace. It reports false when the leg is not such a one. The lock is held.
func (k *Keeper) missed(d *Dialog, leg *Leg) bool {
	if leg.Conn == nil || !leg.Conn.Transport().WebSocket() || request.Alive(leg.Conn) {
		return false
	}
	d.closing, d.ours, d.away = true, true, leg
	return true
}
