package request

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"strconv"

	"github.com/emiago/sipgo/sip"
)

// Routes returns the Route values of a request, topmost first.
func Routes(req *sip.Request) ([]Address, error) { return Addresses(req, "Route") }

// SetRoutes replaces all Route headers by the values given ("<sip:…;lr>"), in order. sipgo keeps a pointer to the first
// Route it read, so its Route method must not be used on requests in flight.
func SetRoutes(req *sip.Request, values []string) {
	for req.RemoveHeader("Route") {
	}
	for _, v := range values {
		req.AppendHeader(sip.NewHeader("Route", v))
	}
}

// RouteValue writes a URI as a Route value.
func RouteValue(uri sip.Uri) string { return "<" + uri.String() + ">" }

// LoopHash identifies what routing decides by (RFC 3261 §16.6 step 8, as corrected by RFC 5393 §4.2.1: without Via). The
// same hash in a Via of ours means a loop; a spiral comes back with another request URI.
func LoopHash(req *sip.Request) string {
	h := sha256.New()
	write := func(s string) {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	seq, method := CSeq(req)
	write(req.Recipient.String())
	write(CallID(req))
	write(FromTag(req))
	write(ToTag(req))
	write(strconv.FormatUint(uint64(seq), 10) + string(method))
	for _, name := range []string{"Route", "Proxy-Require", "Proxy-Authorization"} {
		for _, v := range req.GetHeaders(name) {
			write(v.Value())
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// BranchMark stands between the random part and the loop hash of our branches.
const BranchMark = "-tdm-"

// SealParam is the Record-Route URI parameter that carries the sealed knowledge about the legs.
const SealParam = "seal"

// HostPort splits "host:port" of Connection.SentBy.
func HostPort(sentBy string) (host string, port int) {
	h, p, err := net.SplitHostPort(sentBy)
	if err != nil {
		return sentBy, 0
	}
	n, err := strconv.Atoi(p)
	if err != nil {
		return h, 0
	}
	return h, n
}
