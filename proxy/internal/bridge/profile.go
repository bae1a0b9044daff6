package bridge

import (
	"errors"
	"fmt"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Profile is a compiled leg profile: what the media daemon is told about one
// side.
type Profile struct {
	flags   ng.Request // only what the flags set
	iface   string     // logical interface of the daemon; empty = its first
	sdpOnly bool
	digits  Digits
}

// ErrFlags means that a leg profile has words that the ng protocol does not
// know. A daemon would ignore them in silence.
var ErrFlags = errors.New("unknown flags")

// Compile makes a profile of rtpengine's words ("RTP/AVP ICE=remove …"), an
// interface name, whether of a multipart body only the SDP is passed on to this
// side, and how digits reach it.
func Compile(words, iface string, sdpOnly bool, digits Digits) (*Profile, error) {
	// Through the codec, so that words mean here what they mean to a daemon.
	body, err := ng.EncodeRequest(&ng.Request{Command: ng.CommandOffer, CallID: "x", FromTag: "x", SDP: "x", RTPPFlags: words}, ng.FormatBencode)
	if err != nil {
		return nil, fmt.Errorf("flags: %w", err)
	}
	req, _, err := ng.DecodeRequest(body)
	if err != nil {
		return nil, fmt.Errorf("flags: %w", err)
	}
	if len(req.Unknown) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrFlags, strings.Join(req.Unknown, ", "))
	}
	p := &Profile{flags: *req, iface: iface, sdpOnly: sdpOnly, digits: digits}
	p.flags.CallID, p.flags.FromTag, p.flags.SDP, p.flags.RTPPFlags = "", "", "", ""
	return p, nil
}

// request makes a command towards the side of this profile, from the side of
// sender.
func (p *Profile) request(command ng.Command, sender *Profile) *ng.Request {
	req := p.flags
	req.Command = command
	if p.iface != "" && sender.iface != "" {
		req.Direction = [2]string{sender.iface, p.iface}
	}
	return &req
}
