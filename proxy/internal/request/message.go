package request

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Param reads a parameter without regard to the case of its name and to blanks around it (RFC 3261 §7.3.1); sipgo's
// own Get is case-sensitive.
func Param(p sip.HeaderParams, name string) (string, bool) {
	for _, kv := range p {
		if strings.EqualFold(strings.TrimSpace(kv.K), name) {
			return strings.TrimSpace(kv.V), true
		}
	}
	return "", false
}

// CallID is the Call-ID of a message; empty when it has none.
func CallID(m sip.Message) string {
	if h := m.CallID(); h != nil {
		return h.Value()
	}
	return ""
}

// Header is the value of the first header of that name; "" when absent.
func Header(m sip.Message, name string) string {
	if hs := m.GetHeaders(name); len(hs) > 0 {
		return hs[0].Value()
	}
	return ""
}

// FromTag is the tag of From; empty when absent.
func FromTag(m sip.Message) string { return tag(m, "From") }

// ToTag is the tag of To; empty when absent.
func ToTag(m sip.Message) string { return tag(m, "To") }

// tag does not use sipgo's parser of From and To, which takes "; TAG = x" for another parameter.
func tag(m sip.Message, name string) string {
	if v := Header(m, name); v != "" {
		if a, err := ParseAddress(v); err == nil {
			t, _ := a.Param("tag")
			return t
		}
	}
	return ""
}

// ViaBranch is the branch parameter of the topmost Via; empty when absent.
func ViaBranch(m sip.Message) string {
	if via := m.Via(); via != nil {
		branch, _ := Param(via.Params, "branch")
		return branch
	}
	return ""
}

// CSeq is the sequence number and method of a message; zero values when absent.
func CSeq(m sip.Message) (uint32, sip.RequestMethod) {
	if h := m.CSeq(); h != nil {
		return h.SeqNo, h.MethodName
	}
	return 0, ""
}

// Clone copies a request so that neither copy sees changes of the other. The body's bytes are shared: they are replaced by
// SetBody, never written to. sipgo's own Clone shares Max-Forwards, Call-ID and Content-Type by pointer.
func Clone(req *sip.Request) *sip.Request {
	c := sip.NewRequest(req.Method, *req.Recipient.Clone())
	c.SipVersion = req.SipVersion
	for _, h := range req.Headers() {
		c.AppendHeader(cloneHeader(h))
	}
	c.SetBody(req.Body())
	return c
}

// CloneResponse copies a response; see Clone.
func CloneResponse(res *sip.Response) *sip.Response {
	c := sip.NewResponse(res.StatusCode, res.Reason)
	c.SipVersion = res.SipVersion
	for _, h := range res.Headers() {
		c.AppendHeader(cloneHeader(h))
	}
	c.SetBody(res.Body())
	return c
}

func cloneHeader(h sip.Header) sip.Header {
	switch v := h.(type) {
	case *sip.MaxForwardsHeader:
		c := *v
		return &c
	case *sip.ContentTypeHeader:
		c := *v
		return &c
	case *sip.ContentLengthHeader:
		c := *v
		return &c
	case *sip.CallIDHeader:
		c := *v
		return &c
	default:
		return sip.HeaderClone(h)
	}
}

// NewResponse builds a response to a request as received (RFC 3261 §8.2.6). The To tag is made from the request,
// so that all responses to one request, retransmissions included, carry the same one.
func NewResponse(req *sip.Request, code int, reason string) *sip.Response {
	res := sip.NewResponse(code, reason)
	if code > 100 && code < 300 && req.Method != sip.REGISTER {
		sip.CopyHeaders("Record-Route", req, res)
	}
	sip.CopyHeaders("Via", req, res)
	sip.CopyHeaders("From", req, res)
	if to := req.GetHeader("To"); to != nil {
		value := to.Value()
		if code != sip.StatusTrying && ToTag(req) == "" {
			value += ";tag=" + localTag(req)
		}
		res.AppendHeader(sip.NewHeader("To", value))
	}
	sip.CopyHeaders("Call-ID", req, res)
	sip.CopyHeaders("CSeq", req, res)
	if code == sip.StatusTrying {
		sip.CopyHeaders("Timestamp", req, res)
	}
	res.SetBody(nil)
	return res
}

// localTag derives the proxy's own tag for a request from its transaction.
func localTag(req *sip.Request) string {
	sum := sha256.Sum256([]byte(CallID(req) + "\x00" + FromTag(req) + "\x00" + ViaBranch(req)))
	return hex.EncodeToString(sum[:8])
}
