// Command webrtcpeer is the browser-like party of the integration exams that
// need a network of their own: it registers over WSS, speaks
// UDP/TLS/RTP/SAVPF through pion/webrtc, sends a sine and reports the dominant
// frequency of what it hears. It runs as a process so that a test can put it
// into a network namespace.
//
// It prints one JSON object a line on standard output:
//
//	{"event":"registered"} {"event":"incoming"} {"event":"connected"}
//	{"event":"media","frequency":440,"packets":50,"lost":0,"ice":"connected"}
//	{"event":"reinvited"} {"event":"ended","reason":"..."} {"event":"error","reason":"..."}
//
// "webrtcpeer get URL" and "webrtcpeer post URL BODY" are small HTTP clients
// for the control interface of a phone that lives in a namespace.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 2 && (os.Args[1] == "get" || os.Args[1] == "post") {
		os.Exit(control(os.Args[1:]))
	}
	cfg := config{}
	flag.StringVar(&cfg.url, "url", "", "address of the SIP WebSocket, wss://host:port/ws")
	flag.StringVar(&cfg.domain, "domain", "", "SIP domain of the account")
	flag.StringVar(&cfg.user, "user", "", "user name")
	flag.StringVar(&cfg.password, "password", "", "digest password")
	flag.StringVar(&cfg.call, "call", "", "user to call; empty waits to be called")
	flag.DurationVar(&cfg.hold, "talk", 6*time.Second, "time to talk before BYE")
	flag.DurationVar(&cfg.wait, "wait", 30*time.Second, "time to wait for the call to be set up")
	flag.DurationVar(&cfg.every, "every", time.Second, "time between reports of media")
	flag.Float64Var(&cfg.tone, "tone", 1000, "frequency sent, Hz")
	flag.BoolVar(&cfg.waitBye, "wait-bye", false, "leave ending the call to the other side")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out := &reporter{enc: json.NewEncoder(os.Stdout)}
	if err := run(ctx, cfg, out); err != nil {
		out.emit(event{Event: "error", Reason: err.Error()})
		os.Exit(1)
	}
}

type config struct {
	url, domain, user, password, call string
	hold, wait, every                 time.Duration
	tone                              float64
	waitBye                           bool
}

// event is one line of the report.
type event struct {
	Event     string  `json:"event"`
	Reason    string  `json:"reason,omitempty"`
	Frequency float64 `json:"frequency,omitempty"` // Hz, dominant in the last second heard
	Packets   int     `json:"packets,omitempty"`   // RTP packets received
	Lost      int     `json:"lost,omitempty"`      // gaps in the sequence numbers
	ICE       string  `json:"ice,omitempty"`
	SDP       string  `json:"sdp,omitempty"` // the session description received
}

type reporter struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func (r *reporter) emit(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.enc.Encode(e)
}

func run(ctx context.Context, cfg config, out *reporter) error {
	ua, err := dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer ua.close()
	if err := ua.register(ctx); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	out.emit(event{Event: "registered"})

	med, err := newMedia(cfg.tone)
	if err != nil {
		return err
	}
	defer func() { med.close() }()

	setup, cancel := context.WithTimeout(ctx, cfg.wait)
	defer cancel()
	if cfg.call != "" {
		err = ua.invite(setup, cfg.call, med)
	} else {
		err = ua.answer(setup, med, out)
	}
	if err != nil {
		return err
	}
	out.emit(event{Event: "connected", SDP: med.remoteSDP()})

	talk := time.After(cfg.hold)
	tick := time.NewTicker(cfg.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = ua.bye()
			return nil
		case <-ua.ended:
			out.emit(med.report())
			out.emit(event{Event: "ended", Reason: "remote BYE"})
			return nil
		case msg := <-ua.in:
			if renewed, err := ua.reinvited(ctx, msg, med); err != nil {
				return err
			} else if renewed != nil {
				med.close()
				med = renewed
				out.emit(event{Event: "reinvited", SDP: med.remoteSDP()})
			}
		case <-tick.C:
			out.emit(med.report())
		case <-talk:
			if cfg.waitBye {
				return fmt.Errorf("no BYE within %s", cfg.hold)
			}
			out.emit(med.report())
			if err := ua.bye(); err != nil {
				return fmt.Errorf("bye: %w", err)
			}
			out.emit(event{Event: "ended", Reason: "local BYE"})
			return nil
		}
	}
}

// control runs one HTTP request and prints the reply's body.
func control(args []string) int {
	client := &http.Client{Timeout: 10 * time.Second}
	var resp *http.Response
	var err error
	if args[0] == "get" {
		resp, err = client.Get(args[1])
	} else {
		body := ""
		if len(args) > 2 {
			body = args[2]
		}
		resp, err = client.Post(args[1], "application/json", strings.NewReader(body))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer resp.Body.Close()
	_, _ = io.Copy(os.Stdout, io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode >= 300 {
		fmt.Fprintln(os.Stderr, resp.Status)
		return 1
	}
	return 0
}
