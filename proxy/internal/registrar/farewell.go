package registrar

import (
	"context"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/midregistrar"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// maxFarewells bounds the removals under way at the upstream registrar: when a network fails, all its users go at once.
const maxFarewells = 64

// farewells tell the upstream registrar of contacts that have gone without a word. Each waits for the grace first, in
// which a reloaded page is back.
type farewells struct {
	step  *Step
	slots chan struct{}
	stop  chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex
	pending map[location.AoR]time.Time
	queue   []location.AoR // in the order of their times
	wake    chan struct{}
}

func newFarewells(s *Step) *farewells {
	f := &farewells{
		step: s, slots: make(chan struct{}, maxFarewells), stop: make(chan struct{}),
		pending: make(map[location.AoR]time.Time), wake: make(chan struct{}, 1),
	}
	f.wg.Go(f.run)
	return f
}

func (f *farewells) close() {
	close(f.stop)
	f.wg.Wait()
}

// later looks after the grace whether all that the upstream knows of aor still exists here.
func (f *farewells) later(aor location.AoR) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.pending[aor]; ok {
		return
	}
	f.pending[aor] = time.Now().Add(f.step.way.Grace)
	f.queue = append(f.queue, aor)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *farewells) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		aor, wait := f.first()
		if aor != "" && wait <= 0 {
			f.part(aor)
			continue
		}
		if aor == "" {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-f.stop:
			return
		case <-timer.C:
		case <-f.wake:
		}
	}
}

// first takes the next one whose time has come, or tells how long that is.
func (f *farewells) first() (location.AoR, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return "", 0
	}
	aor := f.queue[0]
	wait := time.Until(f.pending[aor])
	if wait <= 0 {
		f.queue[0] = ""
		f.queue = f.queue[1:]
		delete(f.pending, aor)
	}
	return aor, wait
}

// part removes what has gone, in the order of the exchanges about this address of record.
func (f *farewells) part(aor location.AoR) {
	s := f.step
	if len(s.book.Orphans(s.now(), aor, s.table.Lookup(aor))) == 0 {
		return
	}
	entered, ok := s.turns.Enter(s.now(), aor, true, func() { f.later(aor) })
	if !ok {
		f.later(aor)
	}
	if !entered {
		return
	}
	// Nothing about it is under way now, so what is missing here is missing.
	keys := s.book.Orphans(s.now(), aor, s.table.Lookup(aor))
	if len(keys) == 0 {
		s.turns.Leave(aor, true)
		return
	}
	for _, key := range keys[1:] {
		f.remove(key, func() {})
	}
	f.remove(keys[0], func() { s.turns.Leave(aor, true) })
}

// remove takes one contact back at the upstream.
func (f *farewells) remove(key midregistrar.Key, done func()) {
	s := f.step
	to := s.policy().Upstream
	reg, ok := s.book.Registration(key)
	if !ok || to == nil {
		s.book.Forget(key)
		done()
		return
	}
	select {
	case f.slots <- struct{}{}:
	case <-f.stop:
		done()
		return
	}
	log := s.way.Log.With(zap.String("aor", string(key.AoR)), zap.String("call-id", reg.CallID))
	x := &exchange{
		step: s, to: to, aor: key.AoR, msg: farewell(&reg), known: true, log: log,
		asks: []midregistrar.Ask{{Key: key, Q: 1000}}, uris: []string{reg.Contact},
	}
	x.done = func(_ context.Context, res *sip.Response) {
		<-f.slots
		s.book.Forget(key)
		switch {
		case res == nil:
			log.Warn("upstream registrar not told that a user has gone: no answer")
		case res.IsSuccess():
			log.Info("upstream registrar told that a user has gone")
		case res.StatusCode == sip.StatusUnauthorized:
			log.Info("upstream registrar asks for a password before it believes that a user has gone; " +
				"it can trust the proxy's address, or the proxy be given the account")
		default:
			log.Warn("upstream registrar does not take that a user has gone", zap.Int("code", res.StatusCode))
		}
		done()
	}
	x.start(context.Background(), false)
}

// farewell is the REGISTER that takes a contact back, with the identifiers of the one that was accepted.
func farewell(reg *midregistrar.Registration) *sip.Request {
	uri := sip.Uri{Scheme: "sip", Host: "invalid"}
	if err := request.ParseURI(reg.RequestURI, &uri); err != nil {
		uri = sip.Uri{Scheme: "sip", Host: "invalid"}
	}
	msg := sip.NewRequest(sip.REGISTER, uri)
	msg.AppendHeader(sip.NewHeader("From", reg.From))
	msg.AppendHeader(sip.NewHeader("To", reg.To))
	id := sip.CallIDHeader(reg.CallID)
	msg.AppendHeader(&id)
	msg.AppendHeader(&sip.CSeqHeader{SeqNo: reg.CSeq + 1, MethodName: sip.REGISTER})
	for _, a := range reg.Authorization {
		msg.AppendHeader(sip.NewHeader("Authorization", a))
	}
	msg.SetBody(nil)
	return msg
}
