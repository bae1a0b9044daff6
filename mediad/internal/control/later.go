package control

import (
	"fmt"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// digits are the telephone events that can be played (RFC 4733 §3.2).
const digits = "0123456789*#ABCD"

// playDTMF plays a digit as a telephone event.
func (h *Handler) playDTMF(req *ng.Request) ng.Reply {
	if err := h.calls.Check(req); err != nil {
		return h.failure(req, err)
	}
	code := strings.Index(digits, strings.ToUpper(req.DTMF.Code))
	if len(req.DTMF.Code) != 1 || code < 0 {
		return ng.Fail(ng.ReasonBadDTMFCode)
	}
	if err := h.calls.PlayDTMF(req, uint8(code)); err != nil {
		return h.failure(req, err)
	}
	return &ng.Ack{}
}

// later answers the commands that need a recorder, a player or a transcoder:
// with what is wrong with the request first, then that there is none.
func (h *Handler) later(req *ng.Request) ng.Reply {
	if req.Command != ng.CommandTransform { // which needs no call
		if err := h.calls.Check(req); err != nil {
			return h.failure(req, err)
		}
	}
	switch req.Command {
	case ng.CommandPlayMedia:
		if req.Play.From == "" {
			return ng.Fail(ng.ReasonNoMediaFile)
		}
	case ng.CommandStopMedia:
		return ng.Fail(ng.ReasonNotPlaying)
	}
	return &ng.Failure{Reason: ng.Reason(fmt.Sprintf("%s is not available in this version", what(req.Command)))}
}

// what a command needs.
func what(c ng.Command) string {
	switch c {
	case ng.CommandStartRecording, ng.CommandStopRecording, ng.CommandPauseRecording:
		return "Recording"
	case ng.CommandTransform:
		return "Transcoding"
	}
	return "Media playback"
}
