package admin

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// maxCLI bounds a line of the CLI in a request's body, in bytes.
const maxCLI = 32 << 10

const cliPath = "/cli/"

// handler finds out what a request is about.
func (s *Server) handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, "pong\n") })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(cfg.Metrics())
	})
	mux.HandleFunc("POST /cli", func(w http.ResponseWriter, r *http.Request) {
		line, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCLI))
		if err != nil {
			respond(w, http.StatusRequestEntityTooLarge, "line too long\n")
			return
		}
		respond(w, http.StatusOK, cfg.CLI(string(line)))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusNotFound, "not found\n") })
	if cfg.Others != nil {
		mux.Handle("POST /", cfg.Others)
	}
	sameSite := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, ok := peerOf(r)
		line, isCLI := cliLine(r)
		switch {
		case !ok || cfg.Allow != nil && !cfg.Allow(peer), sameSite.Check(r) != nil, rebound(r):
			respond(w, http.StatusForbidden, "not allowed\n")
		case r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
			s.sockets.serve(w, r, peer)
		case isCLI && r.Header.Get("Sec-Fetch-Site") == "cross-site":
			// Another site's page must not run commands in an operator's browser.
			respond(w, http.StatusForbidden, "not allowed\n")
		case isCLI:
			respond(w, http.StatusOK, cfg.CLI(line))
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// rebound reports whether a browser asks for a name that the page it shows may have made mean this machine: the page is of the same
// origin then, and could read the answers. An attacker has neither addresses nor names without a dot to give, and no certificate.
func rebound(r *http.Request) bool {
	if r.TLS != nil || r.Header.Get("Accept-Language") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return false // no browser
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil && strings.Contains(strings.TrimSuffix(host, ".localhost"), ".")
}

// cliLine returns the line of GET /cli/line, in which "+" stands for a blank.
func cliLine(r *http.Request) (string, bool) {
	path := r.URL.EscapedPath() // a line may hold "//" and "..", so it is no path
	if r.Method != http.MethodGet || !strings.HasPrefix(path, cliPath) {
		return "", false
	}
	line, err := url.PathUnescape(strings.ReplaceAll(path[len(cliPath):], "+", " "))
	return line, err == nil
}

func peerOf(r *http.Request) (netip.AddrPort, bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), err == nil
}

func respond(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}
