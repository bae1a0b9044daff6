package legacy

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
)

// failed is the answer to what could not be done.
const failed = "E8"

// version is the date of the protocol.
const version = "20040107"

// Config holds what commands act on.
type Config struct {
	Handler ng.Handler
	// SilentTimeout is that of rtpengine's option: what Q counts down from.
	SilentTimeout func() time.Duration
	Log           *zap.Logger
}

// Interpreter executes datagrams. Its methods are called by one goroutine for
// each address at most.
type Interpreter struct {
	cfg     Config
	noisy   *zap.Logger // for what a client can repeat at will
	answers *answers
	further *further
}

// New returns an Interpreter.
func New(cfg Config) *Interpreter {
	return &Interpreter{cfg: cfg, noisy: telemetry.Sampled(cfg.Log, 10, time.Second), answers: newAnswers(time.Now), further: newFurther()}
}

// Handle executes a datagram and returns the answer, nil if it has no cookie.
func (i *Interpreter) Handle(ctx context.Context, data []byte, client netip.AddrPort) (answer []byte) {
	if len(data) > 0 && isBlank(data[0]) {
		return nil
	}
	words := strings.Fields(string(data))
	if len(words) == 0 {
		return nil
	}
	cookie := words[0]
	if known, ok := i.answers.get(cookie); ok {
		return known
	}
	defer func() {
		if fault := recover(); fault != nil {
			i.cfg.Log.Error("panic in a legacy command", zap.Any("panic", fault), zap.Stack("stack"))
			answer = []byte(cookie + " " + failed + "\n")
		}
	}()
	text, keep := failed, false
	if len(words) > 1 {
		text, keep = i.execute(ctx, words[1:], client)
	}
	if text == failed {
		i.noisy.Warn("command failed", zap.Strings("words", words), zap.Stringer("peer", client))
	}
	answer = []byte(cookie + " " + text + "\n")
	if keep {
		i.answers.put(cookie, answer)
	}
	return answer
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }

// execute returns the answer, and whether a repetition gets the same one.
func (i *Interpreter) execute(ctx context.Context, words []string, client netip.AddrPort) (string, bool) {
	switch words[0][0] {
	case 'U', 'u':
		return i.signal(ctx, ng.CommandOffer, words, client), true
	case 'L', 'l':
		return i.signal(ctx, ng.CommandAnswer, words, client), true
	case 'D', 'd':
		return i.remove(ctx, words, client), true
	case 'Q', 'q':
		return i.query(ctx, words, client), true
	case 'V', 'v':
		return versions(words), false
	}
	return failed, false
}

// versions answers V and VF: which dates are understood.
func versions(words []string) string {
	if !strings.EqualFold(words[0], "VF") {
		return version
	}
	if len(words) > 1 {
		switch words[1] {
		case version, "20050322", "20060704":
			return "1"
		}
	}
	return "0"
}

// signal executes U and L.
func (i *Interpreter) signal(ctx context.Context, command ng.Command, words []string, client netip.AddrPort) string {
	s := parseStream(words)
	switch {
	case !s.hasAddresses:
		return failed
	case !s.understood:
		return s.rawPort + " " + s.rawAddress
	case !s.address.IsValid() || s.port < 0 || s.index > maxIndex:
		return failed
	}
	req := &ng.Request{
		Command: command, Peer: client, CallID: callID(s.callID, s.index), FromTag: s.fromTag, ToTag: s.toTag,
		SDP: body(s.address, s.port), ICE: ng.ICERemove, Replace: ng.ReplaceOrigin,
	}
	if d, ok := s.direction(); ok {
		req.Direction = d
	}
	switch reply := i.cfg.Handler.Handle(ctx, req).(type) {
	case *ng.SDPReply:
		if place, ok := mediaPlace(reply.SDP); ok {
			i.further.note(s.callID, s.index)
			return place
		}
	case *ng.Failure:
		if command == ng.CommandAnswer && reply.Reason == ng.ReasonUnknownCallID {
			return "0 0.0.0.0"
		}
	}
	return failed
}

// body is an SDP body with one media. The protocol tells nothing of codecs, so
// all static ones are there.
func body(addr netip.Addr, port int) string {
	family := "IP6"
	if addr.Is4() {
		family = "IP4"
	}
	return fmt.Sprintf("v=0\r\no=- 1 1 IN %[1]s %[2]s\r\ns=-\r\nc=IN %[1]s %[2]s\r\nt=0 0\r\nm=audio %[3]d RTP/AVP 0 3 4 8 9 18\r\n",
		family, addr, port)
}

// mediaPlace returns port, address and family of the first media of a body.
func mediaPlace(text string) (string, bool) {
	port, address, family := "", "", ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "m=") && port != "":
			return place(port, address, family)
		case strings.HasPrefix(line, "m=") && len(words) > 1:
			port = words[1]
		case strings.HasPrefix(line, "c=") && len(words) > 2:
			address, family = words[2], words[1]
		}
	}
	return place(port, address, family)
}

func place(port, address, family string) (string, bool) {
	return port + " " + address + " " + strings.TrimPrefix(family, "IP"), port != "" && address != ""
}

// remove executes D.
func (i *Interpreter) remove(ctx context.Context, words []string, client netip.AddrPort) string {
	if len(words) < 3 {
		return failed
	}
	id, _, _ := strings.Cut(words[1], ";")
	done := false
	for _, part := range i.further.callIDs(id) {
		req := &ng.Request{
			Command: ng.CommandDelete, Peer: client, CallID: part, FromTag: withoutIndex(words[2]),
			Flags: ng.FlagsOf(ng.FlagFatal, ng.FlagFast),
		}
		if len(words) > 3 {
			req.ToTag = withoutIndex(words[3])
		}
		_, isFailure := i.cfg.Handler.Handle(ctx, req).(*ng.Failure)
		done = done || !isFailure
	}
	if !done {
		return failed
	}
	return "0"
}

// query executes Q: the seconds until the call ends if it stays silent, and
// how many packets of RTP and of RTCP have come.
func (i *Interpreter) query(ctx context.Context, words []string, client netip.AddrPort) string {
	if len(words) < 3 {
		return failed
	}
	id, _, _ := strings.Cut(words[1], ";")
	var rtp, rtcp uint64
	var last int64
	for _, part := range i.further.callIDs(id) {
		reply := i.cfg.Handler.Handle(ctx, &ng.Request{Command: ng.CommandQuery, Peer: client, CallID: part})
		r, ok := reply.(*ng.CallReply)
		if !ok || r.Call == nil || r.Call.Tags[withoutIndex(words[2])] == nil {
			continue
		}
		rtp += r.Call.RTP.Packets
		rtcp += r.Call.RTCP.Packets
		last = max(last, lastPacket(r.Call))
	}
	if last == 0 {
		return failed
	}
	silent := time.Since(time.Unix(last, 0)).Truncate(time.Second)
	rest := max(i.cfg.SilentTimeout()-silent, 0)
	return fmt.Sprintf("%d %d %d 0 0", rest/time.Second, rtp, rtcp)
}

// lastPacket is when a call was heard or signalled last, in Unix time.
func lastPacket(c *ng.CallState) int64 {
	last := c.LastSignal
	for _, t := range c.Tags {
		for _, m := range t.Medias {
			for _, s := range m.Streams {
				last = max(last, s.LastPacket)
			}
		}
	}
	return last
}
