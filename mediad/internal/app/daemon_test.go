package app

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testPorts = 200

// handedOut are the lower ends of the ranges in use by daemons of this process:
// those of tests that run side by side must not overlap, or each would find the
// other's sockets in its own.
var handedOut portRanges

type portRanges struct {
	mu   sync.Mutex
	lows []int
}

func (r *portRanges) take(t *testing.T, interfaces []settings.Interface) (low, high int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		low, high, err := freeRange(testPorts, interfaces)
		require.NoError(t, err)
		if !slices.ContainsFunc(r.lows, func(other int) bool { return low < other+testPorts && other < low+testPorts }) {
			r.lows = append(r.lows, low)
			t.Cleanup(func() { r.release(low) })
			return low, high
		}
	}
}

func (r *portRanges) release(low int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lows = slices.DeleteFunc(r.lows, func(other int) bool { return other == low })
}

// daemon is the whole of mediad, driven over UDP like from outside.
type daemon struct {
	t      *testing.T
	app    *App
	client *ngclient.Client
	config settings.Settings
	errors *observer.ObservedLogs // what was logged as an error
}

// startDaemon starts mediad on 127.0.0.1 with free ports. At the end of the
// test it must be without calls, with all ports free again.
func startDaemon(t *testing.T, change func(*settings.Settings)) *daemon {
	t.Helper()
	s := settings.Defaults()
	local := netip.MustParseAddr("127.0.0.1")
	s.Network.Interfaces = []settings.Interface{{Name: "default", Address: local, Advertised: local}}
	s.Control.NG = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	s.Limits.DeleteDelay = 0
	if change != nil {
		change(&s)
	}
	if s.Network.PortMin == settings.Defaults().Network.PortMin {
		s.Network.PortMin, s.Network.PortMax = handedOut.take(t, s.Network.Interfaces)
	}
	log := zap.NewNop()
	if testing.Verbose() {
		log = zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel))
	}
	errorCore, seen := observer.New(zap.ErrorLevel)
	log = log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewTee(c, errorCore) }))
	a, err := New(Config{Settings: &s, Log: log})
	require.NoError(t, err)
	a.Start()
	client, err := ngclient.New(ngclient.Config{
		Nodes: []ngclient.NodeConfig{{Address: a.NG()[0].String(), Weight: 1}}, PingInterval: -1,
	})
	require.NoError(t, err)
	d := &daemon{t: t, app: a, client: client, config: s, errors: seen}
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) stop() {
	if !d.t.Failed() {
		d.checkIdle()
	}
	require.NoError(d.t, d.client.Close())
	require.NoError(d.t, d.app.Close())
	for _, e := range d.errors.All() {
		if strings.Contains(e.Message, "panic") { // contained, so that other calls go on
			d.t.Errorf("%s: %v", e.Message, e.ContextMap())
		}
	}
}

// checkIdle checks that nothing is left of any call: no port is in use by the
// books, and this process has no socket in the range. (That the ports can be
// bound would say less: other processes come and go.) A call that a timer ends
// is off the list a moment before its sockets are closed.
func (d *daemon) checkIdle() {
	d.t.Helper()
	require.Empty(d.t, d.list())
	require.EventuallyWithT(d.t, func(t *assert.CollectT) {
		stats, err := d.client.Statistics(context.Background())
		require.NoError(t, err)
		for _, s := range stats {
			for _, i := range s.Get("interfaces").([]any) {
				assert.EqualValues(t, 0, i.(ng.Dict).Get("ports").(ng.Dict).Get("used"))
			}
		}
		assert.Empty(t, d.openPorts())
	}, 5*time.Second, 20*time.Millisecond)
}

// openPorts are the ports of the daemon's range that this process has a socket on.
func (d *daemon) openPorts() []int {
	d.t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(d.t, err)
	var open []int
	for _, entry := range fds {
		fd, err := strconv.Atoi(entry.Name())
		require.NoError(d.t, err)
		addr, err := unix.Getsockname(fd)
		if err != nil {
			continue
		}
		port := 0
		switch a := addr.(type) {
		case *unix.SockaddrInet4:
			port = a.Port
		case *unix.SockaddrInet6:
			port = a.Port
		}
		if port >= d.config.Network.PortMin && port <= d.config.Network.PortMax {
			open = append(open, port)
		}
	}
	return open
}

func (d *daemon) list() []string {
	d.t.Helper()
	calls, err := d.client.List(context.Background(), 1000)
	require.NoError(d.t, err)
	return calls
}

// offer sends an offer and returns the body for the receiver.
func (d *daemon) offer(req *ng.Request) string {
	d.t.Helper()
	r := *req
	r.Command = ng.CommandOffer
	reply, err := d.client.Offer(context.Background(), &r)
	require.NoError(d.t, err)
	return reply.SDP
}

func (d *daemon) answer(req *ng.Request) string {
	d.t.Helper()
	r := *req
	r.Command = ng.CommandAnswer
	reply, err := d.client.Answer(context.Background(), &r)
	require.NoError(d.t, err)
	return reply.SDP
}

func (d *daemon) query(callID string) *ng.CallState {
	d.t.Helper()
	reply, err := d.client.Query(context.Background(), &ng.Request{Command: ng.CommandQuery, CallID: callID})
	require.NoError(d.t, err)
	require.NotNil(d.t, reply.Call)
	return reply.Call
}

func (d *daemon) delete(req *ng.Request) *ng.CallReply {
	d.t.Helper()
	r := *req
	r.Command = ng.CommandDelete
	reply, err := d.client.Delete(context.Background(), &r)
	require.NoError(d.t, err)
	return reply
}

// eventually waits until cond holds.
func eventually(t *testing.T, within time.Duration, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// reason checks that err is a refusal with the text.
func reason(t *testing.T, err error, want ng.Reason) {
	t.Helper()
	require.Error(t, err)
	require.ErrorIs(t, err, want, fmt.Sprint(err))
}
