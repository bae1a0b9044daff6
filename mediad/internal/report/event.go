package report

import (
	"encoding/json"
	"net/netip"
	"time"

	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Event is a telephone event that has ended.
type Event struct {
	CallID string
	Tag    string   // of the party that has sent it
	Tags   []string // of all parties of the call; must not be changed any more
	Source netip.Addr
	At     time.Time

	Code     uint8 // RFC 4733
	Volume   uint8 // −dBm0
	Duration time.Duration
}

// Event reports a telephone event.
func (r *Reporter) Event(e Event) {
	if r == nil || (r.events == nil && r.cfg.Notify == nil && r.cfg.Event == nil) {
		return
	}
	r.enqueue(item{event: &e})
}

// tell sends an event to all who want it.
func (r *Reporter) tell(e *Event) {
	if r.events != nil || r.cfg.Event != nil {
		text, err := json.Marshal(e.object())
		if err != nil { // strings and numbers only
			r.cfg.Log.Error("telephone event not encoded", zap.String("call-id", e.CallID), zap.Error(err))
			return
		}
		if r.events != nil {
			_, _ = r.events.Write(text) // who does not listen does not want to know
		}
		if r.cfg.Event != nil {
			r.cfg.Event(string(text))
		}
	}
	if r.cfg.Notify != nil {
		r.cfg.Notify(ng.Dict{{Key: "notify", Value: "onDTMF"}, {Key: "data", Value: e.dict()}})
	}
}

// eventType is the only one there is.
const eventType = "DTMF"

// object has the keys of the JSON form, in rtpengine's order.
func (e *Event) object() any {
	return struct {
		CallID    string   `json:"callid"`
		Tag       string   `json:"source_tag"`
		Tags      []string `json:"tags"`
		Type      string   `json:"type"`
		Timestamp int64    `json:"timestamp"`
		Source    string   `json:"source_ip"`
		Event     uint8    `json:"event"`
		Duration  int64    `json:"duration"`
		Volume    uint8    `json:"volume"`
	}{e.CallID, e.Tag, e.Tags, eventType, e.At.Unix(), e.Source.String(), e.Code, e.Duration.Milliseconds(), e.Volume}
}

func (e *Event) dict() ng.Dict {
	return ng.Dict{
		{Key: "tags", Value: e.Tags},
		{Key: "callid", Value: e.CallID},
		{Key: "source_tag", Value: e.Tag},
		{Key: "type", Value: eventType},
		{Key: "source_ip", Value: e.Source.String()},
		{Key: "timestamp", Value: e.At.Unix()},
		{Key: "event", Value: int(e.Code)},
		{Key: "duration", Value: e.Duration.Milliseconds()},
		{Key: "volume", Value: int(e.Volume)},
	}
}
