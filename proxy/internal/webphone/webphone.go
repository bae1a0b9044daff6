// Package webphone serves the telephone page that is built from src/ into dist/ and embedded into the proxy.
package webphone

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
)

//go:embed all:dist
var dist embed.FS

// Config is what the page is told in /config.json. Whoever can load the page can read all of it.
type Config struct {
	// Domain of the users' addresses of record.
	Domain string `json:"domain"`
	// WSPath is where SIP over WebSocket is answered on the page's own host and port; empty means /ws.
	WSPath string `json:"wsPath"`
	// Users the page may sign in as without asking. Only for demonstrations: their passwords are public.
	Users []User `json:"users,omitempty"`
	// Dial is the list of numbers that the page proposes.
	Dial []Suggestion `json:"dial,omitempty"`
}

// User is one account of the page.
type User struct {
	User     string `json:"user"`
	Password string `json:"password"`
	Name     string `json:"name,omitempty"` // display name
}

// Suggestion is a number with what one hears there.
type Suggestion struct {
	Number string `json:"number"`
	Text   string `json:"text"`
}

const notBuilt = "The web phone is not part of this build: run `make webphone`, then build the proxy again.\n"

// Handler serves the page at /, its script and style, and config as /config.json; everything else is 404.
// Without a built dist/ every path answers 503 and says how to build it.
func Handler(config Config) http.Handler {
	files, err := fs.Sub(dist, "dist")
	if err != nil { // the name is constant: dist is embedded or this file does not compile
		panic(fmt.Sprintf("webphone: %v", err))
	}
	return handler(files, config)
}

func handler(files fs.FS, config Config) http.Handler {
	if config.WSPath == "" {
		config.WSPath = "/ws"
	}
	settings, err := json.Marshal(config)
	if err != nil { // strings only
		panic(fmt.Sprintf("webphone: %v", err))
	}
	mux := http.NewServeMux()
	if _, err := fs.Stat(files, "index.html"); err != nil {
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, notBuilt, http.StatusServiceUnavailable) })
		return secured(mux)
	}
	page := http.FileServerFS(files)
	for _, path := range []string{"GET /{$}", "GET /app.js", "GET /style.css"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache")
			page.ServeHTTP(w, r)
		})
	}
	mux.HandleFunc("GET /config.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(settings) // the client has gone
	})
	return secured(mux)
}

// secured lets the page talk to its own host only and be framed by nobody.
func secured(next http.Handler) http.Handler {
	plainHost := regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?$`)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connect := "'self'"
		if plainHost.MatchString(r.Host) { // browsers differ on whether 'self' covers wss
			connect += " wss://" + r.Host
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "+
			"media-src 'self' blob:; connect-src "+connect+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Permissions-Policy", "microphone=(self), camera=(), geolocation=(), display-capture=()")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
