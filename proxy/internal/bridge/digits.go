package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Digits is how dialled digits reach a side.
type Digits uint8

// Values of Digits.
const (
	DigitsAsSent Digits = iota // as the other side sends them
	DigitsRTP                  // as telephone events (RFC 4733), if it has agreed to them
	DigitsInfo                 // as INFO (application/dtmf-relay), from the events that the daemon reports
)

// Types of INFO bodies with a digit. Neither has a standard; these are what gateways have been doing.
const (
	typeRelay = "application/dtmf-relay" // Signal=5, Duration=160 on lines
	typeDTMF  = "application/dtmf"       // the digit alone
)

// codes are the digits by their event codes (RFC 4733 §3.2).
const codes = "0123456789*#ABCD"

// Bounds of a digit's duration in ms: those of play DTMF.
const (
	defaultDuration = 250
	minDuration     = 100
	maxDuration     = 5000
)

// info turns INFO with a digit into telephone events where the receiver wants them. Where the daemon can not, INFO goes on.
func (s *Step) info(ctx context.Context, r *request.Request) (request.Verdict, error) {
	c := s.find(r.MediaID())
	if c == nil || !r.InDialog || len(r.Targets) != 1 {
		return request.Continue, nil
	}
	digit, duration, ok := readDigit(r.Msg)
	receiver, err := s.profile(r.Targets[0].Profile)
	if !ok || err != nil || receiver.digits != DigitsRTP || !c.hearsEvents(r.ToTag()) {
		return request.Continue, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.policy.Load().Timeout)
	defer cancel()
	req := &ng.Request{CallID: c.id, FromTag: r.FromTag(), DTMF: ng.DTMF{Code: digit, Duration: &duration}}
	if err := s.Media.PlayDTMF(ctx, req); err != nil {
		r.Log.Info("digit goes on as INFO", zap.Error(err))
		return request.Continue, nil
	}
	r.Log.Debug("digit turned into telephone events")
	return request.Done, r.Respond(sip.StatusOK, "OK")
}

// hearsEvents reports whether a party has agreed to telephone events.
func (c *call) hearsEvents(tag string) bool {
	a := c.agreed
	if a == nil {
		return false
	}
	for _, side := range []agreementSide{a.offer, a.answer} {
		if side.tag == tag {
			return strings.Contains(strings.ToLower(side.sdp), " telephone-event/")
		}
	}
	return false
}

// readDigit reads the digit of an INFO, and how long it is in ms.
func readDigit(msg sip.Message) (digit string, duration int, ok bool) {
	kind, _, _ := strings.Cut(request.Header(msg, "Content-Type"), ";")
	body := string(msg.Body())
	duration = defaultDuration
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case typeDTMF:
		digit = strings.TrimSpace(body)
	case typeRelay:
		for line := range strings.Lines(body) {
			name, value, _ := strings.Cut(line, "=")
			value = strings.TrimSpace(value)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "signal":
				digit = value
			case "duration":
				if n, err := strconv.Atoi(value); err == nil {
					duration = min(max(n, minDuration), maxDuration)
				}
			}
		}
	}
	digit = strings.ToUpper(digit)
	switch digit { // some write the event's code
	case "10", "11", "12", "13", "14", "15":
		n, _ := strconv.Atoi(digit)
		digit = codes[n : n+1]
	}
	return digit, duration, len(digit) == 1 && strings.Contains(codes, digit)
}

// event is what a media daemon reports of a telephone event, in JSON.
type event struct {
	CallID   string `json:"callid"`
	Tag      string `json:"source_tag"`
	Type     string `json:"type"`
	Code     *int   `json:"event"`
	Duration int    `json:"duration"` // ms
}

// Event takes a report of a media daemon about a telephone event and turns it into INFO where the other side wants that.
// Whoever calls it has checked that it comes from a daemon.
func (s *Step) Event(report []byte) {
	var e event
	if err := json.Unmarshal(report, &e); err != nil || e.Type != "DTMF" || e.Code == nil || *e.Code < 0 || *e.Code >= len(codes) {
		return
	}
	s.mu.Lock()
	c := s.calls[e.CallID]
	s.mu.Unlock()
	if c == nil || s.signalling == nil {
		return
	}
	s.signalling.Post(c.sip, func(ctx context.Context) {
		if c.ended || c.agreed == nil {
			return
		}
		from, to := c.agreed.offer, c.agreed.answer
		if from.tag != e.Tag {
			from, to = to, from
		}
		receiver, err := s.profile(to.profile)
		if err != nil || from.tag != e.Tag || receiver.digits != DigitsInfo {
			return
		}
		duration := time.Duration(e.Duration) * time.Millisecond
		body := fmt.Sprintf("Signal=%c\r\nDuration=%d\r\n", codes[*e.Code], duration.Milliseconds())
		if err := s.signalling.Inform(ctx, c.sip, c.pass, from.tag, to.tag, typeRelay, body); err != nil {
			s.Log.Debug("digit not told", zap.String("call-id", c.sip), zap.Error(err))
		}
	})
}
