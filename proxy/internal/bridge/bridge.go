// Package bridge is the step that puts a media daemon between the two sides of
// a call. It sees every message with SDP that is forwarded, and asks the daemon
// over the ng protocol for the SDP that goes on instead: flags belong to the
// side that an SDP goes to, its leg profile, and not to requests or responses.
//
// What one Call-ID does is serialised by the transaction layer; state of a call
// needs no lock.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Media calls media daemons; ngclient.Client is one.
type Media interface {
	Offer(ctx context.Context, req *ng.Request) (*ng.SDPReply, error)
	Answer(ctx context.Context, req *ng.Request) (*ng.SDPReply, error)
	Delete(ctx context.Context, req *ng.Request) (*ng.CallReply, error)
	// PlayDTMF plays a digit into what a party sends.
	PlayDTMF(ctx context.Context, req *ng.Request) error
	// ReleaseCall takes a call from its daemon: the next offer goes to another one.
	ReleaseCall(callID string)
}

const (
	// maxDeletes bounds the deletes that run beside the calls' own work.
	maxDeletes = 4096
	// idleAfter is when the state of a call without any signalling is dropped;
	// its BYE works all the same.
	idleAfter  = 24 * time.Hour
	sweepEvery = time.Minute
)

// Config is what the step needs.
type Config struct {
	Policy
	Media Media
	Log   *zap.Logger
}

// Policy is what may change while calls run.
type Policy struct {
	Profiles       map[string]*Profile
	MaxCalls       int           // calls with media at the same time
	Timeout        time.Duration // of one command
	MovesPerSecond int           // of calls that move to another daemon; default 500
}

// Step attaches an observer to each request that may carry SDP or end a call.
type Step struct {
	Media      Media
	Log        *zap.Logger
	policy     atomic.Pointer[Policy]
	signalling Signalling // nil before Serve
	mover      mover
	seed       maphash.Seed
	stop       chan struct{}
	deletes    chan struct{} // a slot for each delete that runs
	wg         sync.WaitGroup

	mu    sync.Mutex
	calls map[string]*call
}

// New returns the step; Close ends it.
func New(c Config) *Step {
	s := &Step{Media: c.Media, Log: c.Log, mover: mover{wake: make(chan struct{}, 1)}, seed: maphash.MakeSeed(),
		stop: make(chan struct{}), deletes: make(chan struct{}, maxDeletes), calls: make(map[string]*call)}
	s.Configure(c.Policy)
	s.wg.Go(s.sweep)
	return s
}

// Configure changes the policy for what comes from now on.
func (s *Step) Configure(p Policy) {
	if p.MovesPerSecond <= 0 {
		p.MovesPerSecond = 500
	}
	s.policy.Store(&p)
}

// Close waits for running deletes.
func (s *Step) Close() {
	close(s.stop)
	s.wg.Wait()
}

// Calls returns how many calls have media.
func (s *Step) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// Handle attaches the observer.
func (s *Step) Handle(ctx context.Context, r *request.Request) (request.Verdict, error) {
	switch r.Msg.Method {
	case sip.INFO:
		return s.info(ctx, r)
	case sip.INVITE, sip.UPDATE, sip.PRACK, sip.ACK, sip.BYE:
		r.Observers = append(r.Observers, &exchange{step: s, forked: len(r.Targets) > 1, branches: make(map[string]*branch)})
	}
	return request.Continue, nil
}

// call is what is known of the media of one Call-ID.
type call struct {
	id     string    // to the daemon
	sip    string    // its Call-ID
	pass   int       // request.Request.Pass
	caller string    // tag of who began it; empty if that is not known any more
	used   time.Time // guarded by Step.mu
	asked  bool      // the daemon has got an offer
	ended  bool      // delete was sent; written under Step.mu
	late   map[string]*lateOffer
	agreed *agreement
	gone   chan struct{} // closed when the delete is done

	origins map[string]origin // what the sides have been told, by tag
	moved   bool              // the call has been on another daemon before
	move    *move             // on its way to another one; nil if it is not
}

// lateOffer is an offer in a response, whose answer comes in ACK or PRACK.
type lateOffer struct {
	offer    agreementSide
	answerer string // profile of the side that is to answer
	// The answer that went through, for repetitions of the ACK.
	in, out string
}

// agreementSide is what one side said.
type agreementSide struct {
	tag     string
	profile string
	sdp     string // as the side sent it
}

// agreement is the last completed offer and answer, for the case that the next
// offer fails.
type agreement struct{ offer, answer agreementSide }

// maxLate bounds the late offers of a call: one for each side of each fork.
const maxLate = 32

var (
	errTooManyCalls = errors.New("too many calls with media")
	errEnded        = errors.New("the call's media is over")
	errNoProfile    = errors.New("unknown leg profile")
)

// find returns the state of a call, nil if it has none.
func (s *Step) find(id string) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[id]
	if c != nil {
		c.used = time.Now()
	}
	return c
}

// enter returns the state of a call and makes it if there is none, as after a
// restart.
func (s *Step) enter(id string) (*call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[id]
	if c == nil {
		if len(s.calls) >= s.policy.Load().MaxCalls {
			return nil, errTooManyCalls
		}
		c = &call{id: id, late: make(map[string]*lateOffer)}
		c.sip, c.pass = request.CallIDOfMedia(id)
		s.calls[id] = c
	}
	c.used = time.Now()
	return c, nil
}

func (s *Step) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case now := <-tick.C:
			s.mu.Lock()
			for id, c := range s.calls {
				if now.Sub(c.used) > idleAfter || c.ended && now.Sub(c.used) > sweepEvery {
					delete(s.calls, id)
				}
			}
			s.mu.Unlock()
		}
	}
}

func (s *Step) profile(name string) (*Profile, error) {
	p := s.policy.Load().Profiles[name]
	if p == nil {
		return nil, fmt.Errorf("%w %q", errNoProfile, name)
	}
	return p, nil
}

// end deletes the call at the daemon, once. With forget its state goes too,
// when the delete is done.
func (s *Step) end(r *request.Request, forget bool) {
	c := s.find(r.MediaID())
	switch {
	case c == nil && !r.InDialog:
		return // never had media
	case c == nil:
		// From before a restart of the proxy: the daemon may know it.
		var err error
		if c, err = s.enter(r.MediaID()); err != nil {
			r.Log.Warn("media of the call is left to the daemon's timeout", zap.Error(err))
			return
		}
	case c.ended:
		return
	}
	gone := make(chan struct{})
	s.mu.Lock()
	c.ended = true
	s.mu.Unlock()
	c.agreed, c.late, c.gone = nil, nil, gone
	now := 0
	s.delete(r, &ng.Request{CallID: c.id, FromTag: partyOf(r), DeleteDelay: &now}, func() {
		close(gone)
		if forget {
			s.forget(c)
		}
	})
}

// forget drops the state of a call that has ended and was not begun anew.
func (s *Step) forget(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.ended && s.calls[c.id] == c {
		delete(s.calls, c.id)
	}
}

// revive lets a call begin anew whose first attempt failed: the caller answers
// a challenge from behind us, or follows a redirection. The delete of the first
// attempt must not hit the second.
func (s *Step) revive(ctx context.Context, c *call) error {
	select {
	case <-c.gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ended, c.asked, c.agreed, c.late = false, false, nil, make(map[string]*lateOffer)
	s.calls[c.id] = c
	return nil
}

// delete sends a delete beside the work of the call: a dead daemon must not
// hold up the BYE.
func (s *Step) delete(r *request.Request, req *ng.Request, done func()) {
	run := func() {
		defer done()
		ctx, cancel := context.WithTimeout(context.Background(), s.policy.Load().Timeout)
		defer cancel()
		if _, err := s.Media.Delete(ctx, req); err != nil && !errors.Is(err, ngclient.ErrClosed) {
			r.Log.Warn("media not deleted", zap.String("via-branch", req.ViaBranch), zap.Error(err))
			return
		}
		r.Log.Debug("media deleted", zap.String("via-branch", req.ViaBranch))
	}
	select {
	case s.deletes <- struct{}{}:
	default:
		run() // so many at once: let the calls wait
		return
	}
	s.wg.Go(func() {
		defer func() { <-s.deletes }()
		run()
	})
}

// refused turns a failure of the daemon into the status for the caller.
func refused(err error) *request.Error {
	var reason ng.Reason
	if errors.As(err, &reason) && !reason.Overloaded() {
		switch reason {
		case ng.ReasonSDPParse, ng.ReasonSDPIncomplete, ng.ReasonNoSDP:
			return request.Fail(488, "Not Acceptable Here", err)
		}
		return request.Fail(500, "Media Failure", err)
	}
	return &request.Error{Code: 503, Reason: "Media Unavailable", Cause: err,
		Headers: []sip.Header{sip.NewHeader("Retry-After", "5")}}
}
