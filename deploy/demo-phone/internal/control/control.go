// Package control is the HTTP API by which tests drive and watch the demo phone. It has no authentication: bind it to loopback.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/phone"
	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/plainsdp"
)

const (
	maxBody = 4096
	timeout = 20 * time.Second
)

// command is the body of every POST; each path reads what it needs.
type command struct {
	To        string             `json:"to"`        // /call, /transfer: sip: address
	User      string             `json:"user"`      // /call: own user
	LateOffer bool               `json:"lateOffer"` // /call: INVITE without SDP
	ID        string             `json:"id"`        // other paths: Call-ID; empty = the only live call
	Digits    string             `json:"digits"`    // /dtmf
	Direction plainsdp.Direction `json:"direction"` // /hold: sendonly (default) or inactive
}

// Handler serves
//
//	GET  /calls      all calls, ended ones first
//	GET  /accounts   registrations
//	POST /call       {"to","user","lateOffer"} → {"id"}
//	POST /hold /resume /hangup /dtmf /transfer  {"id",…}
//
// Errors are {"error"} with 400 (bad body), 404 (no such call or user), 409 (the call's state or the peer forbids it).
func Handler(p *phone.Phone) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, p.Calls()) })
	mux.HandleFunc("GET /accounts", func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, p.Registrations()) })
	mux.HandleFunc("POST /call", post(func(_ context.Context, c command) (any, error) {
		call, err := p.Call(c.User, c.To, c.LateOffer)
		if err != nil {
			return nil, err
		}
		return map[string]string{"id": call.ID()}, nil
	}))
	for path, act := range map[string]func(context.Context, *phone.Call, command) error{
		"/hold": func(ctx context.Context, call *phone.Call, c command) error {
			if c.Direction == "" {
				c.Direction = plainsdp.SendOnly
			}
			return call.Hold(ctx, c.Direction)
		},
		"/resume":   func(ctx context.Context, call *phone.Call, _ command) error { return call.Resume(ctx) },
		"/transfer": func(ctx context.Context, call *phone.Call, c command) error { return call.Transfer(ctx, c.To) },
		"/hangup":   func(ctx context.Context, call *phone.Call, _ command) error { return call.Hangup(ctx) },
		"/dtmf": func(_ context.Context, call *phone.Call, c command) error {
			if n := call.SendDigits(c.Digits); n != len(c.Digits) {
				return errDigits
			}
			return nil
		},
	} {
		mux.HandleFunc("POST "+path, post(func(ctx context.Context, c command) (any, error) {
			call, err := p.Find(c.ID)
			if err != nil {
				return nil, err
			}
			return map[string]string{"id": call.ID()}, act(ctx, call, c)
		}))
	}
	return mux
}

var errDigits = errors.New("not all digits can be sent: the peer takes no telephone-event, or the queue is full")

func post(act func(context.Context, command) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var c command
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
			write(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		answer, err := act(ctx, c)
		switch {
		case err == nil:
			write(w, http.StatusOK, answer)
		case errors.Is(err, phone.ErrNoCall), errors.Is(err, phone.ErrNoAccount):
			write(w, http.StatusNotFound, map[string]string{"error": err.Error()})
		default:
			write(w, http.StatusConflict, map[string]string{"error": err.Error()})
		}
	}
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}
