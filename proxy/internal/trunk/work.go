package trunk

import (
	"context"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Sender sends the proxy's own requests; uac.Client is behind it.
type Sender interface {
	// Send sends a request to a next hop and waits for its final response; next is the CSeq for the next one. account may
	// be nil; complete adds what depends on the connection.
	Send(ctx context.Context, msg *sip.Request, nextHop sip.Uri, callID string, cseq uint32, account *Account,
		complete func(msg *sip.Request, conn request.Connection)) (res *sip.Response, next uint32, err error)
}

// worker is a goroutine for one target's probes or one registration.
type worker struct {
	cancel context.CancelFunc
	config string // that it was started with
}

// Start begins probes and registrations. Close ends them.
func (t *Trunks) Start(sender Sender) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sender = sender
	t.restart()
}

// Close ends probes and registrations and waits. Registrations are left to run out: a proxy that is restarted renews them.
func (t *Trunks) Close() {
	t.mu.Lock()
	t.closed = true
	for _, w := range t.running {
		w.cancel()
	}
	t.mu.Unlock()
	t.wg.Wait()
}

// restart fits the workers to the configuration; the lock is held.
func (t *Trunks) restart() {
	if t.sender == nil || t.closed {
		return
	}
	wanted := map[string]func(ctx context.Context){}
	configs := map[string]string{}
	for name, k := range *t.current.Load() {
		for _, s := range k.targets {
			if k.Probe.Interval > 0 {
				id := "probe " + name + " " + s.uri
				wanted[id], configs[id] = func(ctx context.Context) { t.probe(ctx, name, s.uri) }, fmt.Sprint(k.Probe)
			}
		}
		for i := range k.Registrations {
			g := k.Registrations[i]
			id := "register " + name + " " + g.AoR.String()
			wanted[id], configs[id] = func(ctx context.Context) { t.register(ctx, name, g) }, fmt.Sprintf("%+v", g)
		}
	}
	for id, w := range t.running {
		if _, ok := wanted[id]; !ok || w.config != configs[id] {
			w.cancel()
			delete(t.running, id)
		}
	}
	for id, f := range wanted {
		if _, ok := t.running[id]; ok {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		t.running[id] = &worker{cancel: cancel, config: configs[id]}
		t.wg.Go(func() { f(ctx) })
	}
}

// wait is false when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// find returns a target of the present configuration.
func (t *Trunks) find(name, uri string) (*trunk, *target) {
	k := t.trunk(name)
	if k == nil {
		return nil, nil
	}
	for _, s := range k.targets {
		if s.uri == uri {
			return k, s
		}
	}
	return k, nil
}

// probe asks a target again and again.
func (t *Trunks) probe(ctx context.Context, name, uri string) {
	callID, cseq := newID(), uint32(1)
	for {
		k, s := t.find(name, uri)
		if s == nil {
			return
		}
		up, next, reason := t.ask(ctx, k, s, callID, cseq)
		if ctx.Err() != nil {
			return
		}
		cseq = next
		if changed, down := s.probed(k.Probe, up, reason); changed {
			t.log.Warn("target of trunk probed", zap.String("trunk", name), zap.String("target", uri), zap.Bool("up", !down),
				zap.String("reason", reason))
		}
		// A little apart, so that the probes of many targets do not go out together for ever.
		if !wait(ctx, k.Probe.Interval*9/10+jitter(k.Probe.Interval/5)) {
			return
		}
	}
}

// ask sends one OPTIONS.
func (t *Trunks) ask(ctx context.Context, k *trunk, s *target, callID string, cseq uint32) (up bool, next uint32, reason string) {
	ctx, cancel := context.WithTimeout(ctx, k.Probe.Timeout)
	defer cancel()
	msg := sip.NewRequest(sip.OPTIONS, *s.URI.Clone())
	res, next, err := t.sender.Send(ctx, msg, *s.URI.Clone(), callID, cseq, nil, func(msg *sip.Request, conn request.Connection) {
		own := "<sip:" + conn.SentBy() + ">"
		msg.AppendHeader(sip.NewHeader("From", own+";tag="+newID()))
		msg.AppendHeader(sip.NewHeader("To", "<"+s.uri+">"))
		msg.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
		msg.SetBody(nil)
	})
	switch {
	case err != nil:
		return false, max(next, cseq+1), err.Error()
	case res.StatusCode == sip.StatusRequestTimeout, res.StatusCode >= 500 && res.StatusCode != sip.StatusNotImplemented:
		return false, next, fmt.Sprint(res.StatusCode, " ", res.Reason)
	}
	return true, next, ""
}

// probed counts a probe; changed is true when the target went up or down by it.
func (s *target) probed(p Probe, up bool, reason string) (changed, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if up == !s.down {
		s.streak = 0
		return false, s.down
	}
	s.streak++
	if !up {
		s.reason = reason
	}
	if up && s.streak < p.UpAfter || !up && s.streak < p.DownAfter {
		return false, s.down
	}
	s.down, s.streak = !up, 0
	return true, s.down
}
