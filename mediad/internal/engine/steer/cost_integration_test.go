//go:build integration

package steer

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/sockets"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

const (
	costPorts   = 2000
	costRate    = 50000 // packets a second
	costPackets = 50000 // of a round
)

// BenchmarkBesideSockets relays the packets of a generator, which is a process of its own, over 2,000 ports, by this engine and by that
// of sockets in turn, with one worker each. It tells the CPU time of this process a relayed packet, medians of all rounds, and their
// ratio. Run it with -benchtime=5x.
func BenchmarkBesideSockets(b *testing.B) {
	engines := []struct {
		name string
		open func() (engine.Engine, error)
	}{
		{"steer", func() (engine.Engine, error) { return New(Config{Workers: 1}) }},
		{"epoll", func() (engine.Engine, error) { return sockets.New(sockets.Config{Workers: 1, Ring: sockets.Off}) }},
		{"io_uring", func() (engine.Engine, error) { return sockets.New(sockets.Config{Workers: 1, Ring: sockets.On}) }},
	}
	spent := make([][]float64, len(engines))
	for b.Loop() {
		for i, e := range engines {
			spent[i] = append(spent[i], costRound(b, e.name, e.open))
		}
	}
	for i, e := range engines {
		slices.Sort(spent[i])
		b.ReportMetric(spent[i][len(spent[i])/2], e.name+"-µs/pkt")
		b.ReportMetric(spent[0][len(spent[0])/2]/spent[i][len(spent[i])/2], "ratio-to-"+e.name)
	}
}

// costRound is the CPU time a packet in microseconds.
func costRound(b *testing.B, name string, open func() (engine.Engine, error)) float64 {
	b.Helper()
	e, err := open()
	require.NoError(b, err)
	defer func() { require.NoError(b, e.Close()) }()
	r, err := ports.New([]ports.Interface{{Name: "x", Addresses: []ports.Address{{Local: netip.MustParseAddr("127.0.0.1"), Min: 20000, Max: 29999}}}},
		ports.Options{Open: e.OpenPair})
	require.NoError(b, err)
	sink := netip.MustParseAddrPort("127.0.0.2:9999")
	var all []*flow.Stream
	for range costPorts / 2 {
		p, err := r.Allocate("", ports.AnyFamily)
		require.NoError(b, err)
		defer p.Release()
		all = append(all, flow.NewStream(p.RTP, 0, time.Now()), flow.NewStream(p.RTCP, 0, time.Now()))
	}
	defer func() { e.Detach(all...) }()
	var list strings.Builder
	for i, s := range all {
		s.SetRoute(&flow.Route{Endpoint: sink, Learning: flow.Off, Media: []flow.Output{{Stream: all[i^1]}}})
		fmt.Fprintln(&list, s.LocalAddr())
	}
	require.NoError(b, e.Attach(all...))
	cmd := again("generator")
	cmd.Stdin, cmd.Stderr = strings.NewReader(list.String()), os.Stderr
	before := cpuTime(b)
	said, err := cmd.Output()
	used := cpuTime(b) - before
	require.NoError(b, err)
	got, err := strconv.Atoi(strings.TrimSpace(string(said)))
	require.NoError(b, err)
	var out uint64
	for _, s := range all {
		st := s.Statistics()
		require.Zero(b, st.ErrorsIn+st.ErrorsOut)
		out += st.PacketsOut
	}
	if e, ok := e.(*Engine); ok {
		dropped, _ := e.Dropped()
		b.Logf("dropped by the kernel: %d", dropped)
	}
	b.Logf("%-8s %5.2f µs a packet: %d out, %d at the sink", name, used.Seconds()*1e6/float64(out), out, got)
	require.Greater(b, out, uint64(costPackets/2), "too much was lost to tell anything")
	return used.Seconds() * 1e6 / float64(out)
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// generate sends at an even rate to the ports of the standard input in turn and says how many packets have come to the sink.
func generate() error {
	var to []netip.AddrPort
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		port, err := netip.ParseAddrPort(in.Text())
		if err != nil {
			return err
		}
		to = append(to, port)
	}
	sink, err := udp.Listen(netip.MustParseAddrPort("127.0.0.2:9999"), udp.Options{ReadBuffer: 1 << 20})
	if err != nil {
		return err
	}
	defer sink.Close()
	source, err := udp.Listen(netip.MustParseAddrPort("127.0.0.3:0"), udp.Options{})
	if err != nil {
		return err
	}
	defer source.Close()
	got := make(chan int)
	go func() { got <- count(sink) }()
	pkt := make([]byte, 172)
	pkt[0] = 0x80
	w := udp.NewWriter(64)
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	begin := time.Now()
	for sent := 0; sent < costPackets; {
		due := min(costPackets, int(time.Since(begin).Seconds()*costRate))
		for ; sent < due && !w.Full(); sent++ {
			w.Add(pkt, to[sent%len(to)])
		}
		_, _ = w.Flush(source)
		if sent == due {
			ts := unix.NsecToTimespec(100_000)
			_ = unix.Nanosleep(&ts, nil)
		}
	}
	fmt.Println(<-got)
	return nil
}

// count returns when all packets have come, or none for half a second.
func count(sink *udp.Conn) int {
	r, got := udp.NewReader(64, 2000, 0), 0
	fds := []unix.PollFd{{Fd: int32(sink.FD()), Events: unix.POLLIN}}
	for got < costPackets {
		n, err := unix.Poll(fds, 500)
		if n == 0 && err == nil {
			break
		}
		if n, err = r.Read(sink); err == nil {
			got += n
		}
		ts := unix.NsecToTimespec(300_000) // so that counting costs the machine little
		_ = unix.Nanosleep(&ts, nil)
	}
	return got
}
