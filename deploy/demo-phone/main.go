// Command demo-phone is a plain SIP phone: UDP, RTP/AVP, G.711, telephone-event; no ICE, no SRTP, no rtcp-mux.
// It is the far end of the demo and of the black-box exams. `demo-phone -help` lists its flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/control"
	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/phone"
	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/wire"
)

// maxUDP lets sipgo send any datagram: this phone has no other transport to fall back to.
const maxUDP = 65000

func main() {
	sip.UDPMTUSize = maxUDP
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo-phone:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	phone   phone.Config
	control string
	sipLog  string
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	o, err := parse(args)
	if err != nil {
		return err
	}
	config := zap.NewProductionConfig()
	config.Sampling, config.DisableStacktrace, config.DisableCaller = nil, true, true
	if o.phone.Log, err = config.Build(); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if o.sipLog != "" {
		file, err := os.Create(o.sipLog)
		if err != nil {
			return fmt.Errorf("log-sip: %w", err)
		}
		defer file.Close()
		o.phone.SIPLog = wire.NewLog(file)
	}
	if o.phone.Record != "" {
		if err := os.MkdirAll(o.phone.Record, 0o755); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	return serve(ctx, o)
}

// serve runs the phone and its control API until ctx ends.
func serve(ctx context.Context, o options) error {
	p, err := phone.Start(o.phone)
	if err != nil {
		return err
	}
	started := []zap.Field{zap.Stringer("sip", p.Address())}
	if o.control == "" {
		o.phone.Log.Info("phone started", started...)
		<-ctx.Done()
		return p.Close()
	}
	listener, err := net.Listen("tcp", o.control)
	if err != nil {
		return errors.Join(fmt.Errorf("control: %w", err), p.Close())
	}
	server := &http.Server{Handler: control.Handler(p), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	o.phone.Log.Info("phone started", append(started, zap.Stringer("control", listener.Addr()))...)
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	return errors.Join(err, p.Close(), server.Close())
}

func parse(args []string) (options, error) {
	flags := flag.NewFlagSet("demo-phone", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "SIP over UDP on this `address:port`; port 0 takes a free one")
	media := flags.String("media", "", "RTP on this `address` (default: that of -listen)")
	registrar := flags.String("registrar", "", "`host:port` of registrar and outbound proxy; empty: do not register")
	domain := flags.String("domain", "", "SIP `domain` of the accounts (default: the registrar's host)")
	expires := flags.Duration("expires", 5*time.Minute, "registration time asked for")
	codecs := flags.String("codecs", "PCMA,PCMU", "codecs in order of preference")
	ring := flags.Duration("ring", 500*time.Millisecond, "time from ringing to answer")
	early := flags.Bool("early-media", false, "183 with SDP in place of 180")
	busy := flags.Bool("busy", false, "answer every call with 486")
	silent := flags.Bool("no-answer", false, "ring and never answer")
	record := flags.String("record", "", "write the received audio of each call as WAV into this `folder`")
	api := flags.String("control", "", "HTTP control API on this `address:port`; it has no password, use loopback")
	sipLog := flags.String("log-sip", "", "write every SIP message as a line of JSON into this `file`")
	var accounts []string
	flags.Func("account", "`user:password:behaviour[,busy][,no-answer][,early-media][,ring=2s]`; behaviour is echo, tone, callback or silence; repeatable",
		func(text string) error { accounts = append(accounts, text); return nil })
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	o := options{control: *api, sipLog: *sipLog, phone: phone.Config{
		Registrar: *registrar, Domain: *domain, Expires: *expires, Record: *record,
	}}
	var err error
	if o.phone.Listen, err = netip.ParseAddrPort(*listen); err != nil {
		return options{}, fmt.Errorf("-listen: %w", err)
	}
	if *media != "" {
		if o.phone.Media, err = netip.ParseAddr(*media); err != nil {
			return options{}, fmt.Errorf("-media: %w", err)
		}
	}
	if err := o.target(); err != nil {
		return options{}, err
	}
	if o.phone.Codecs, err = codecList(*codecs); err != nil {
		return options{}, err
	}
	defaults := phone.Account{Ring: *ring, EarlyMedia: *early, Busy: *busy, NoAnswer: *silent}
	for _, text := range accounts {
		account, err := phone.ParseAccount(text, defaults)
		if err != nil {
			return options{}, err
		}
		o.phone.Accounts = append(o.phone.Accounts, account)
	}
	if len(accounts) == 0 {
		return options{}, errors.New("no -account")
	}
	return o, nil
}

// target checks the registrar and takes the domain from it.
func (o *options) target() error {
	if o.phone.Registrar == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(o.phone.Registrar)
	if err != nil {
		return fmt.Errorf("-registrar: %w", err)
	}
	if o.phone.Domain == "" {
		o.phone.Domain = host
	}
	if o.phone.Expires < time.Second {
		return fmt.Errorf("-expires %v is shorter than a second", o.phone.Expires)
	}
	return nil
}

func codecList(text string) ([]string, error) {
	list := strings.Split(text, ",")
	for _, name := range list {
		if name != "PCMA" && name != "PCMU" {
			return nil, fmt.Errorf("-codecs: unknown codec %q (PCMA, PCMU)", name)
		}
	}
	return list, nil
}
