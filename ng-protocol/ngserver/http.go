package ngserver

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Types of HTTP bodies.
const (
	typeNG   = "application/x-rtpengine-ng"
	typeJSON = "application/json"
)

// answerTimeout is how long an HTTP request waits for its command.
const answerTimeout = 10 * time.Second

var errAnswered = errors.New("ngserver: answered before")

// HTTP serves POST /ng, whose body is a message as over UDP, and POST
// /ng-plain, whose body has no cookie. The caller brings the HTTP server, ends
// it before this one and bounds connections, headers and the time to read.
func (s *Server) HTTP() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ng", func(w http.ResponseWriter, r *http.Request) { s.serveHTTP(w, r, false) })
	mux.HandleFunc("POST /ng-plain", func(w http.ResponseWriter, r *http.Request) { s.serveHTTP(w, r, true) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "not found") })
	return mux
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request, plain bool) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		refuse(w, http.StatusForbidden, "no address")
		return
	}
	peer := &exchange{peer: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), reply: make(chan []byte, 1)}
	if !s.admit(peer.peer, peer) {
		refuse(w, http.StatusForbidden, "not allowed")
		return
	}
	kind, ok := bodyType(r, plain)
	if !ok {
		refuse(w, http.StatusNotFound, "not found") // as rtpengine answers other types
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ng.MaxCookie+1+ng.MaxSize))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		refuse(w, http.StatusRequestEntityTooLarge, "message too large")
		return
	case err != nil:
		return // the client has gone
	}
	s.received.Add(1)
	if !plain {
		if _, _, err := ng.SplitCookie(body); err != nil {
			s.drop("ng message without cookie", peer)
			refuse(w, statusNoCookie, "error")
			return
		}
	}
	accept := s.message
	if plain {
		accept = s.plainMessage
	}
	if !accept(body, peer) {
		refuse(w, http.StatusServiceUnavailable, "no room for the command")
		return
	}
	s.await(w, r, peer, kind)
}

// await writes the reply once it is there.
func (s *Server) await(w http.ResponseWriter, r *http.Request, peer *exchange, kind string) {
	timeout := time.NewTimer(answerTimeout)
	defer timeout.Stop()
	select {
	case reply := <-peer.reply:
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(reply)
	case <-r.Context().Done():
	case <-s.ctx.Done():
		refuse(w, http.StatusServiceUnavailable, "closing")
	case <-timeout.C:
		refuse(w, http.StatusGatewayTimeout, "no answer in time")
	}
}

// statusNoCookie is what rtpengine answers a message without cookie with.
const statusNoCookie = 600

func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// bodyType returns the type of request and reply; false if it is none that the
// path takes. The type has to be given, so that no page in a browser can send
// commands without asking before.
func bodyType(r *http.Request, plain bool) (string, bool) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind, err == nil && (kind == typeNG || plain && kind == typeJSON)
}

// plainMessage handles a message without cookie: nobody can repeat it.
func (s *Server) plainMessage(body []byte, peer recipient) bool {
	answer := func(reply ng.Reply, format ng.Format) {
		if message, err := s.encode("", reply, format); err == nil {
			s.send(message, peer)
		}
	}
	req, format, err := s.decode(body, peer)
	if err != nil {
		answer(ng.Fail(err), format)
		return true
	}
	if !s.dispatch.submit(req.CallID, len(body), func() { answer(s.handle(req), format) }) {
		s.drop("ng queue full", peer)
		return false
	}
	return true
}

// exchange is one HTTP request that waits for its reply.
type exchange struct {
	peer  netip.AddrPort
	reply chan []byte // room for one
}

func (e *exchange) String() string { return "http:" + e.peer.String() }

func (e *exchange) address() netip.AddrPort { return e.peer }

func (e *exchange) deliver(message []byte) error {
	select {
	case e.reply <- message:
		return nil
	default:
		return errAnswered
	}
}
