package quality

import "time"

// Model says for what conversation the score is computed (rtpengine: mos).
type Model uint8

// The models: conversational quality needs the round-trip times of both sides, listening quality counts them only if they are known.
const (
	CQ Model = iota
	LQ
)

// score is the mean opinion score × 10, 9–45 (the curve dips below 1.0 near its lower end), by the usual simplification of the E-model (ITU-T G.107): the delay, with jitter
// counted twice and 10 ms for codecs, and the loss reduce the transmission rating R, from which the score follows. ok is false if the
// model lacks the round-trip time.
func (m Model) score(roundTrip, jitter time.Duration, lossPercent int) (mos int, ok bool) {
	if m == CQ && roundTrip == 0 {
		return 0, false
	}
	delay := int(roundTrip.Milliseconds()) + 2*int(jitter.Milliseconds()) + 10
	r := 93.2
	if delay < 160 {
		r -= float64(delay) / 40
	} else {
		r -= float64(delay-120) / 10
	}
	r = max(r-2.5*float64(lossPercent), 0)
	return int((1 + 0.035*r + 0.000007*r*(r-60)*(100-r)) * 10), true
}
