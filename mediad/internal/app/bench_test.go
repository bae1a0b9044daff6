package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/control"
	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/sockets"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/mediad/internal/metrics"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/ng-protocol/ngserver"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

// numbers is an engine whose ports are numbers: it leaves of a call what the
// commands themselves cost.
type numbers struct{ engine.Engine }

type portNumber struct{ at netip.AddrPort }

func (numbers) Name() string                               { return "numbers" }
func (numbers) Carrier(*flow.Stream) (name, reason string) { return "numbers", "" }

func (numbers) OpenPair(addr netip.Addr, even uint16) (rtp, rtcp udp.Port, err error) {
	return portNumber{netip.AddrPortFrom(addr, even)}, portNumber{netip.AddrPortFrom(addr, even+1)}, nil
}
func (numbers) Attach(...*flow.Stream) error { return nil }
func (numbers) Detach(streams ...*flow.Stream) {
	for _, s := range streams {
		s.Retire()
	}
}
func (numbers) CatchUp(...*flow.Stream) {}
func (numbers) Report(...*flow.Stream)  {}
func (numbers) Close() error            { return nil }

func (n portNumber) LocalAddr() netip.AddrPort          { return n.at }
func (portNumber) WriteTo([]byte, netip.AddrPort) error { return nil }
func (portNumber) SetTOS(uint8) error                   { return nil }
func (portNumber) Close() error                         { return nil }

// controlPath is all that a command passes, but for the packets.
type controlPath struct {
	calls   *call.Registry
	handler ng.Handler
	server  *ngserver.Server

	client   *net.UDPConn
	sent     int
	message  []byte // the last one sent
	reply    [4096]byte
	patterns map[ng.Command][]byte // with "###" in place of the Call-ID
}

func newControlPath(tb testing.TB, e engine.Engine) *controlPath {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.ErrorLevel)
	log := zap.New(core)
	local := netip.MustParseAddr("127.0.0.1")
	// Ports outside of what the system hands out to others.
	pairs, err := ports.New([]ports.Interface{{Name: "default", Addresses: []ports.Address{{Local: local, Advertised: local, Min: 1024, Max: 65000}}}},
		ports.Options{Open: e.OpenPair, Quarantine: time.Millisecond})
	require.NoError(tb, err)
	certificate, err := secure.NewCertificate()
	require.NoError(tb, err)
	p := &controlPath{patterns: make(map[ng.Command][]byte), calls: call.NewRegistry(call.Config{
		Ports: pairs, Engine: e, Certificate: certificate,
		Negotiate: negotiate.Options{
			Interfaces: []negotiate.Interface{{Name: "default", IPv4: true}}, Instance: "benchmark", Rotate: pairs.Rotate,
		},
		Limits: limits.NewLive(limits.Values{}), Admit: func(int) error { return nil }, Log: log, Pion: telemetry.PionFactory{Log: log},
	})}
	p.calls.Start()
	p.handler = control.New(control.Config{
		Calls: p.calls, Metrics: &metrics.Source{Calls: p.calls, Commands: metrics.NewCommands()}, Log: log,
		Templates: func() map[string]string { return nil },
	})
	p.server, err = ngserver.New(ngserver.Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Handler: p.handler, Log: telemetry.Slog(log),
	})
	require.NoError(tb, err)
	p.server.Start()
	p.client, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.server.Addrs()[0]))
	require.NoError(tb, err)
	return p
}

func (p *controlPath) close(tb testing.TB) {
	require.NoError(tb, p.client.Close())
	require.NoError(tb, p.server.Close())
	p.calls.Close()
}

// exchange is what the messages of one kind of call are made of.
type exchange struct {
	offer, answer ng.Request
}

func exchanges() map[string]exchange {
	const phone = "v=0\r\no=phone 1337 1 IN IP4 127.0.0.1\r\ns=call\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\n" +
		"a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
	key := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("k", 40) + "\r\n"
	keyed := strings.Replace(phone, "RTP/AVP", "RTP/SAVP", 1) + key
	web := strings.Replace(phone, "RTP/AVP", "UDP/TLS/RTP/SAVPF", 1) +
		"a=mid:0\r\na=rtcp-mux\r\na=setup:active\r\na=fingerprint:sha-256 " + strings.Repeat("AB:", 31) + "AB\r\n" +
		"a=ice-ufrag:abcd\r\na=ice-pwd:" + strings.Repeat("p", 24) + "\r\na=candidate:1 1 udp 2130706431 127.0.0.1 4000 typ host\r\n"
	offer := ng.Request{Command: ng.CommandOffer, FromTag: "a", SDP: phone, ICE: ng.ICERemove, Replace: ng.ReplaceOrigin}
	answer := ng.Request{Command: ng.CommandAnswer, FromTag: "a", ToTag: "b", SDP: phone, ICE: ng.ICERemove, Replace: ng.ReplaceOrigin}
	with := func(r ng.Request, change func(*ng.Request)) ng.Request { change(&r); return r }
	return map[string]exchange{
		"plain": {offer, answer},
		"SDES": {
			with(offer, func(r *ng.Request) { r.TransportProtocol, r.DTLS = ng.ProtocolRTPSAVP, ng.DTLSOff }),
			with(answer, func(r *ng.Request) { r.TransportProtocol, r.SDP = ng.ProtocolRTPAVP, keyed }),
		},
		"WebRTC": {
			with(offer, func(r *ng.Request) {
				r.TransportProtocol, r.ICE, r.RTCPMux = ng.ProtocolTLSSAVPF, ng.ICEForce, ng.RTCPMuxOffer
			}),
			with(answer, func(r *ng.Request) { r.TransportProtocol, r.SDP, r.RTCPMux = ng.ProtocolRTPAVP, web, ng.RTCPMuxDemux }),
		},
	}
}

// BenchmarkCall measures offer, answer and delete of a call: by the handler
// alone, and by datagrams. With "numbers" there are no sockets for media.
func BenchmarkCall(b *testing.B) {
	engines := map[string]func() engine.Engine{
		"numbers": func() engine.Engine { return numbers{} },
		"sockets": func() engine.Engine {
			e, err := sockets.New(sockets.Config{Workers: 1})
			require.NoError(b, err)
			return e
		},
	}
	for _, name := range []string{"numbers", "sockets"} {
		for _, kind := range []string{"plain", "SDES", "WebRTC"} {
			x := exchanges()[kind]
			for _, way := range []struct {
				name    string
				command func(*controlPath, *ng.Request) error
			}{{"handler", (*controlPath).handle}, {"datagrams", (*controlPath).send}} {
				b.Run(name+"/"+kind+"/"+way.name, func(b *testing.B) {
					e := engines[name]()
					p := newControlPath(b, e)
					defer func() { p.close(b); require.NoError(b, e.Close()) }()
					b.ReportAllocs()
					before := busy()
					for i := 0; b.Loop(); i++ {
						if err := p.call(way.command, fmt.Sprintf("call-%09d", i), x, true); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64((busy()-before).Microseconds())/float64(b.N), "cpu-µs/op")
				})
			}
		}
	}
}

// call sets a call up, and deletes it.
func (p *controlPath) call(command func(*controlPath, *ng.Request) error, id string, x exchange, remove bool) error {
	requests := []ng.Request{x.offer, x.answer, {Command: ng.CommandDelete, FromTag: "a"}}
	if !remove {
		requests = requests[:2]
	}
	for _, req := range requests {
		req.CallID = id
		if err := command(p, &req); err != nil {
			return fmt.Errorf("%s: %w", req.Command, err)
		}
	}
	return nil
}

func (p *controlPath) handle(req *ng.Request) error {
	if f, failed := p.handler.Handle(context.Background(), req).(*ng.Failure); failed {
		return f.Reason
	}
	return nil
}

// send makes a datagram after the pattern of an earlier one of the command, so
// that most of what is measured is the server's.
func (p *controlPath) send(req *ng.Request) error {
	pattern := p.patterns[req.Command]
	if pattern == nil {
		named := *req
		named.CallID = strings.Repeat("#", len(req.CallID))
		var err error
		if pattern, err = ng.EncodeRequest(&named, ng.FormatBencode); err != nil {
			return err
		}
		p.patterns[req.Command] = pattern
	}
	p.sent++
	p.message = append(strconv.AppendInt(append(p.message[:0], "12345_"...), int64(p.sent), 10), ' ')
	p.message = append(p.message, pattern...)
	copy(p.message[bytes.IndexByte(p.message, '#'):], req.CallID)
	if _, err := p.client.Write(p.message); err != nil {
		return err
	}
	n, err := p.client.Read(p.reply[:])
	if err != nil {
		return err
	}
	if !bytes.Contains(p.reply[:n], []byte("6:result2:ok")) {
		return fmt.Errorf("%s", p.reply[:n])
	}
	return nil
}

// busy is the processor time of this process, generator included.
func busy() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStanding measures calls that stay: the memory of each, and what a
// look at their timers costs a second.
func BenchmarkStanding(b *testing.B) {
	for _, kind := range []string{"plain", "SDES"} {
		for _, n := range []int{1000, 5000, 15000} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				for b.Loop() {
					measureStanding(b, exchanges()[kind], n)
				}
			})
		}
	}
}

func measureStanding(b *testing.B, x exchange, n int) {
	p := newControlPath(b, numbers{})
	defer p.close(b)
	idle := heapInUse()
	start := busy()
	for i := range n {
		require.NoError(b, p.call((*controlPath).handle, fmt.Sprintf("call-%09d", i), x, false))
	}
	b.ReportMetric(float64((busy()-start).Microseconds())/float64(n), "cpu-µs/call")
	b.ReportMetric(float64(heapInUse()-idle)/float64(n), "B/call")
	start = busy()
	const seconds = 3
	time.Sleep(seconds * time.Second)
	b.ReportMetric(float64((busy()-start).Microseconds())/seconds, "cpu-µs/s")
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
