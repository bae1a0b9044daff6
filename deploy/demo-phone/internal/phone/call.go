package phone

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/rtpio"
	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/tone"
)

// State is how far a call is.
type State string

const (
	Calling     State = "calling" // INVITE sent
	Ringing     State = "ringing" // 180 sent or received
	Early       State = "early"   // 183 with SDP sent or received
	Established State = "established"
	Ended       State = "ended"
)

const (
	byeTimeout    = 5 * time.Second
	callBackPause = time.Second
	maxRinging    = 3 * time.Minute
)

// Call is one call of the phone, from its INVITE on.
type Call struct {
	phone    *Phone
	account  Account
	incoming bool
	peer     string // address of record of the other side
	started  time.Time
	media    *rtpio.Session
	player   *tone.Player
	wav      string // path of the recording, empty = none

	mu       sync.Mutex
	dialog   dialog
	session  session
	state    State
	status   int    // of the final response or 0
	reason   string // why it ended
	answered time.Time
	finished time.Time
	serving  bool              // an INVITE of the peer is being answered
	inviting bool              // an INVITE of ours is under way
	ackFor   uint32            // CSeq of the 2xx that waits for its ACK
	ack      chan *sip.Request // capacity 1

	hangup     chan struct{} // closed by Hangup before the call is answered
	hangupOnce sync.Once
	done       chan struct{} // closed when the call has ended
}

// newCall opens the media ports and books the call.
func (p *Phone) newCall(account Account, d dialog, peer sip.Uri, incoming bool) (*Call, error) {
	player, echo := account.voice(incoming)
	c := &Call{
		phone: p, account: account, incoming: incoming, peer: "sip:" + peer.User + "@" + peer.Host, started: time.Now(),
		dialog: d, player: player, state: Calling, session: newSession(p.config.Codecs, p.config.Media),
		ack: make(chan *sip.Request, 1), hangup: make(chan struct{}), done: make(chan struct{}),
	}
	config := rtpio.Config{Address: p.config.Media, Source: player, Echo: echo}
	if account.Behaviour == Tone {
		config.OnDigit = player.PlayDigit
	}
	if p.config.Record != "" {
		c.wav = filepath.Join(p.config.Record, account.User+"-"+fileName(d.callID)+"-"+d.localTag+".wav")
		wav, err := rtpio.CreateWav(c.wav)
		if err != nil {
			return nil, fmt.Errorf("recording: %w", err)
		}
		config.Sink = wav
	}
	media, err := rtpio.Open(config)
	if err != nil {
		if config.Sink != nil {
			err = errors.Join(err, config.Sink.Close())
		}
		return nil, err
	}
	c.media, c.session.local.Port = media, media.Port()
	if err := p.add(c); err != nil {
		return nil, errors.Join(err, media.Close())
	}
	return c, nil
}

// fileName makes a Call-ID, which the peer chose, safe as part of a file name.
func fileName(callID string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, callID)
	return safe[:min(len(safe), 80)]
}

// ID is the Call-ID.
func (c *Call) ID() string { return c.dialog.callID }

func (c *Call) log() *zap.Logger {
	return c.phone.log.With(zap.String("call_id", c.dialog.callID), zap.String("tag", c.dialog.localTag), zap.String("user", c.account.User))
}

// end closes the media and books the call as ended, once. It must not be called with the lock held.
func (c *Call) end(status int, reason string) {
	c.mu.Lock()
	if c.state == Ended {
		c.mu.Unlock()
		return
	}
	c.state, c.status, c.reason, c.finished = Ended, status, reason, time.Now()
	close(c.done)
	c.mu.Unlock()
	if err := c.media.Close(); err != nil {
		c.log().Warn("media did not close cleanly", zap.Error(err))
	}
	c.phone.remove(c)
	c.log().Info("call ended", zap.Int("status", status), zap.String("reason", reason))
}

// establish marks the call as answered and starts what its account does then; false when it has already ended.
func (c *Call) establish() bool {
	c.mu.Lock()
	if c.state == Ended {
		c.mu.Unlock()
		return false
	}
	c.state, c.status, c.answered = Established, sip.StatusOK, time.Now()
	c.mu.Unlock()
	c.log().Info("call established", zap.String("peer", c.peer))
	if c.account.Behaviour == Callback && c.incoming && c.phone.begin() {
		go func() {
			defer c.phone.work.Done()
			c.callBack()
		}()
	}
	return true
}

// callBack says goodbye, hangs up and calls the caller's address of record.
func (c *Call) callBack() {
	goodbye := tone.Goodbye()
	var length time.Duration
	for _, s := range goodbye {
		length += s.Length
	}
	c.player.Play(goodbye...)
	select {
	case <-c.done:
	case <-time.After(length):
	}
	ctx, cancel := context.WithTimeout(context.Background(), byeTimeout)
	defer cancel()
	if err := c.Hangup(ctx); err != nil {
		c.log().Warn("hang-up failed", zap.Error(err))
	}
	time.Sleep(callBackPause)
	if _, err := c.phone.Call(c.account.User, c.peer, false); err != nil {
		c.log().Warn("call back failed", zap.Error(err))
	}
}

// setState moves an early call on.
func (c *Call) setState(s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Ended && c.state != Established {
		c.state = s
	}
}

// Hangup ends the call in the way its state asks for: CANCEL, a refusal (480) or BYE. It waits for the end or for ctx.
func (c *Call) Hangup(ctx context.Context) error {
	c.mu.Lock()
	state := c.state
	c.mu.Unlock()
	switch state {
	case Ended:
		return nil
	case Established:
		err := c.bye(ctx)
		c.end(sip.StatusOK, "hung up here")
		return err
	}
	c.hangupOnce.Do(func() { close(c.hangup) })
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Call) bye(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, byeTimeout)
	defer cancel()
	c.mu.Lock()
	c.dialog.localSeq++
	req := c.dialog.request(sip.BYE, c.dialog.localSeq)
	c.mu.Unlock()
	done, err := c.phone.transact(ctx, req, c.account, nil, nil)
	if err != nil {
		return err
	}
	if !done.res.IsSuccess() {
		return fmt.Errorf("BYE: %d %s", done.res.StatusCode, done.res.Reason)
	}
	return nil
}

// SendDigits sends digits as RFC 4733 events and tells how many were taken.
func (c *Call) SendDigits(digits string) int { return c.media.SendDigits(digits) }

// Snapshot is what a test sees of a call.
type Snapshot struct {
	ID        string      `json:"id"`
	User      string      `json:"user"`
	Direction string      `json:"direction"` // incoming or outgoing
	Peer      string      `json:"peer"`
	State     State       `json:"state"`
	Status    int         `json:"status"`
	Reason    string      `json:"reason,omitempty"`
	Codec     string      `json:"codec,omitempty"`
	LocalHold bool        `json:"localHold"`
	Media     string      `json:"media"` // this side's direction: sendrecv, sendonly, recvonly, inactive
	LocalSDP  string      `json:"localSdp"`
	RemoteSDP string      `json:"remoteSdp"`
	RTPPort   uint16      `json:"rtpPort"`
	RTP       rtpio.Stats `json:"rtp"`
	Recording string      `json:"recording,omitempty"`
	Started   time.Time   `json:"started"`
	Answered  time.Time   `json:"answered,omitzero"`
	Ended     time.Time   `json:"ended,omitzero"`
}

// Snapshot describes the call now; an ended call keeps its last numbers.
func (c *Call) Snapshot() Snapshot {
	stats := c.media.Stats()
	c.mu.Lock()
	defer c.mu.Unlock()
	direction := "outgoing"
	if c.incoming {
		direction = "incoming"
	}
	return Snapshot{
		ID: c.dialog.callID, User: c.account.User, Direction: direction, Peer: c.peer, State: c.state, Status: c.status,
		Reason: c.reason, Codec: c.session.codec, LocalHold: c.session.held(), Media: string(c.session.direction),
		LocalSDP: c.session.localSDP, RemoteSDP: c.session.remoteSDP, RTPPort: c.media.Port(), RTP: stats,
		Recording: c.wav, Started: c.started, Answered: c.answered, Ended: c.finished,
	}
}
