package request

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Param reads a parameter without regard to the case of its name (RFC 3261 §7.3.1); sipgo's own Get is case-sensitive.
func Param(p sip.HeaderParams, name string) (string, bool) {
	for _, kv := range p {
		if strings.EqualFold(kv.K, name) {
			return kv.V, true
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

// FromTag is the tag of From; empty when absent.
func FromTag(m sip.Message) string {
	if h := m.From(); h != nil {
		tag, _ := Param(h.Params, "tag")
		return tag
	}
	return ""
}

// ToTag is the tag of To; empty when absent.
func ToTag(m sip.Message) string {
	if h := m.To(); h != nil {
		tag, _ := Param(h.Params, "tag")
		return tag
	}
	return ""
}

// NewResponse builds a response to a request as received (RFC 3261 §8.2.6). The To tag is made from the request,
// so that all responses to one request, retransmissions included, carry the same one.
func NewResponse(req *sip.Request, code int, reason string) *sip.Response {
	res := sip.NewResponse(code, reason)
	if code > 100 && code < 300 {
		sip.CopyHeaders("Record-Route", req, res)
	}
	sip.CopyHeaders("Via", req, res)
	for _, name := range []string{"From", "To", "Call-ID", "CSeq"} {
		sip.CopyHeaders(name, req, res)
	}
	if code == sip.StatusTrying {
		sip.CopyHeaders("Timestamp", req, res)
	} else if to := res.To(); to != nil {
		if _, tagged := Param(to.Params, "tag"); !tagged {
			to.Params.Add("tag", localTag(req))
		}
	}
	res.SetBody(nil)
	return res
}

// localTag derives the proxy's own tag for a request from its transaction.
func localTag(req *sip.Request) string {
	branch := ""
	if via := req.Via(); via != nil {
		branch, _ = Param(via.Params, "branch")
	}
	sum := sha256.Sum256([]byte(CallID(req) + "\x00" + FromTag(req) + "\x00" + branch))
	return hex.EncodeToString(sum[:8])
}
