package screen

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// maxVias bounds the hops a request may have behind it; Max-Forwards starts at 70.
const maxVias = 70

// Step checks a request as RFC 3261 §16.3 wants it. What the parser could not read was answered before.
type Step struct{ current atomic.Pointer[Config] }

// NewStep makes the step.
func NewStep(cfg Config) *Step {
	s := new(Step)
	s.Configure(cfg)
	return s
}

// Configure makes the step go by another configuration from the next request on.
func (s *Step) Configure(cfg Config) { s.current.Store(&cfg) }

// Handle implements request.Step.
func (s *Step) Handle(_ context.Context, r *request.Request) (request.Verdict, error) {
	err := s.check(r)
	if err == nil {
		return s.options(r)
	}
	if r.Msg.Method == sip.ACK {
		// ACK is never answered.
		r.Log.Info("ACK dropped", zap.Error(err))
		return request.Done, nil
	}
	return request.Done, err
}

func (s *Step) check(r *request.Request) error {
	msg := r.Msg
	if !strings.EqualFold(msg.SipVersion, "SIP/2.0") {
		return request.Fail(sip.StatusVersionNotSupported, "Version Not Supported", nil)
	}
	if seq, method := request.CSeq(msg); method != msg.Method {
		return request.Fail(sip.StatusBadRequest, "CSeq Method Does Not Match", nil)
	} else if seq >= 1<<31 {
		return request.Fail(sip.StatusBadRequest, "CSeq Too Large", nil)
	}
	switch msg.Recipient.Scheme {
	case "sip", "sips", "tel":
	default:
		return request.Fail(sip.StatusRequestedRangeNotSatisfiable, "Unsupported URI Scheme", nil)
	}
	if len(msg.GetHeaders("Via")) > maxVias {
		return request.Fail(sip.StatusTooManyHops, "Too Many Hops", nil)
	}
	if h := msg.MaxForwards(); h != nil && h.Val() == 0 && msg.Method != sip.REGISTER && !s.toProxy(r) {
		return request.Fail(sip.StatusTooManyHops, "Too Many Hops", nil)
	}
	if looped(r.Original) {
		return request.Fail(sip.StatusLoopDetected, "Loop Detected", nil)
	}
	return unsupported(msg)
}

// looped reports a Via of ours with the same routing input as now.
func looped(req *sip.Request) bool {
	vias := req.GetHeaders("Via")
	mark := ""
	for _, v := range vias {
		value := v.Value()
		if !strings.Contains(value, request.BranchMark) {
			continue
		}
		if mark == "" {
			mark = request.BranchMark + request.LoopHash(req)
		}
		if strings.Contains(value, mark) {
			return true
		}
	}
	return false
}

// unsupported refuses what Proxy-Require asks for: this proxy has no extension that must be understood by proxies.
func unsupported(msg *sip.Request) error {
	var names []string
	for _, h := range msg.GetHeaders("Proxy-Require") {
		names = append(names, request.SplitList(h.Value())...)
	}
	if len(names) == 0 || msg.Method == sip.CANCEL || msg.Method == sip.ACK {
		return nil
	}
	err := request.Fail(sip.StatusBadExtension, "Bad Extension", nil)
	err.Headers = []sip.Header{sip.NewHeader("Unsupported", strings.Join(names, ", "))}
	return err
}

// toProxy reports a request for the proxy itself: our address and no user.
func (s *Step) toProxy(r *request.Request) bool {
	cfg := s.current.Load()
	uri := r.Msg.Recipient
	return r.Msg.Method == sip.OPTIONS && !r.InDialog && uri.User == "" && cfg.Owns != nil && cfg.Owns(uri.Host, uri.Port)
}

// options answers the keep-alive of carriers and phones without touching anything else (RFC 3261 §11).
func (s *Step) options(r *request.Request) (request.Verdict, error) {
	if !s.toProxy(r) {
		return request.Continue, nil
	}
	res := r.Response(sip.StatusOK, "OK",
		sip.NewHeader("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, INFO, UPDATE, PRACK, REFER, NOTIFY, SUBSCRIBE"),
		sip.NewHeader("Accept", "application/sdp"), sip.NewHeader("Supported", "path, outbound"))
	if s.reflects(r, res) {
		// The bare answer still says that we are alive, which is all that a short question asks.
		res = r.Response(sip.StatusOK, "OK")
	}
	return request.Done, r.Send(res)
}

// reflects reports an answer with more bytes than its question over UDP to a source that is not trusted: the source may be
// forged, and the answer would hit somebody else.
func (s *Step) reflects(r *request.Request, res *sip.Response) bool {
	cfg := s.current.Load()
	if r.Conn == nil || r.Conn.Transport() != request.UDP || (cfg.Trusted != nil && cfg.Trusted(r.Conn)) {
		return false
	}
	return len(res.String()) > len(r.Original.String())
}
