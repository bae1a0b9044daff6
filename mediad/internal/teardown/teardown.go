// Package teardown asks a SIP server by XML-RPC to end a call whose media has
// timed out (rtpengine's b2b-url and xmlrpc-format).
package teardown

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Bounds. Who does not answer in time is not asked again: the SIP server has
// timers of its own.
const (
	queueLength = 1024
	workers     = 4
	patience    = 10 * time.Second
	maxReply    = 4096
)

// placeholder in a URL stands for the address that the call was made from.
const placeholder = "%%"

// Format is the method that is called and with what.
type Format int

// Values of xmlrpc-format.
const (
	SEMS       Format = iota // di("sbc", "postControlCmd", tag, "teardown"), once a party
	CallIDOnly               // teardown(call-id)
	Kamailio                 // dlg.terminate_dlg(call-id, from-tag, to-tag)
)

// Config says who is asked and how.
type Config struct {
	URL    string // %% in it stands for the address that the call was made from
	Format Format
	Log    *zap.Logger
}

// Call is a call to end.
type Call struct {
	ID      string
	Parties []Party    // in the order in which they came to the call
	From    netip.Addr // who has made it: the ng client, or what its key xmlrpc-callback says
}

// Party is one side of a Call, with the tag of the one that it talks to.
type Party struct{ Tag, Peer string }

// Caller asks. Calls wait in a bounded queue; what does not fit is told in the
// log and forgotten.
type Caller struct {
	cfg    Config
	client *http.Client
	queue  chan Call
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// New starts a caller. The error says what is wrong with the URL.
func New(cfg Config) (*Caller, error) {
	u, err := url.Parse(strings.ReplaceAll(cfg.URL, placeholder, "127.0.0.1"))
	if err != nil {
		return nil, fmt.Errorf("b2b-url: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("b2b-url: %q is not a URL of HTTP", cfg.URL)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Caller{
		cfg: cfg, queue: make(chan Call, queueLength), stop: cancel,
		client: &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	for range workers {
		c.done.Add(1)
		go c.run(ctx)
	}
	return c, nil
}

// Tell asks to end a call. It does not wait. A nil Caller asks nobody.
func (c *Caller) Tell(call *Call) {
	if c == nil || call == nil {
		return
	}
	select {
	case c.queue <- *call:
	default:
		c.cfg.Log.Warn("teardown not asked for: too many wait", zap.String("call-id", call.ID))
	}
}

// Close ends what is under way and waits for it.
func (c *Caller) Close() {
	if c == nil {
		return
	}
	c.stop()
	c.done.Wait()
}

func (c *Caller) run(ctx context.Context) {
	defer c.done.Done()
	for {
		select {
		case <-ctx.Done():
			return
		case call := <-c.queue:
			for _, body := range c.cfg.Format.requests(call) {
				if err := c.post(ctx, call, body); err != nil {
					c.cfg.Log.Warn("teardown failed", zap.String("call-id", call.ID), zap.Error(err))
				}
			}
		}
	}
}

func (c *Caller) post(ctx context.Context, call Call, body []byte) error {
	host := call.From.String()
	if call.From.Is6() {
		host = "[" + host + "]"
	}
	target := strings.ReplaceAll(c.cfg.URL, placeholder, host)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/xml")
	reply, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, maxReply))
	switch {
	case err != nil:
		return err
	case reply.StatusCode != http.StatusOK:
		return fmt.Errorf("answered %s", reply.Status)
	case bytes.Contains(text, []byte("<fault>")):
		return fmt.Errorf("refused: %q", text)
	}
	c.cfg.Log.Info("teardown asked for", zap.String("call-id", call.ID), zap.String("url", target))
	return nil
}
