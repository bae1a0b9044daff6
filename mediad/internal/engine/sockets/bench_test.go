package sockets

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

// generatorVariable makes the test program a generator: packets a second, their number and the sink, then the ports on the standard input.
const generatorVariable = "TANDEM_SOCKETS_GENERATOR"

const (
	benchSockets = 2000
	benchRate    = 50000 // packets a second
	benchPackets = 50000 // of a round
	benchSize    = 172
)

// BenchmarkRelay relays the packets of a generator, which is a process of its own, over 2,000 sockets, by each loop in turn. It tells the
// CPU time of this process a relayed packet, medians of all rounds, and their ratio. Run it with -benchtime=5x.
func BenchmarkRelay(b *testing.B) {
	needRing(b)
	var poll, ring []float64
	for b.Loop() {
		poll = append(poll, relayRound(b, Off))
		ring = append(ring, relayRound(b, On))
	}
	median := func(v []float64) float64 {
		slices.Sort(v)
		return v[len(v)/2]
	}
	b.ReportMetric(median(poll), "epoll-µs/pkt")
	b.ReportMetric(median(ring), "io_uring-µs/pkt")
	b.ReportMetric(median(ring)/median(poll), "ratio")
}

// relayRound is the CPU time a packet in microseconds.
func relayRound(b *testing.B, ring Ring) float64 {
	b.Helper()
	e, err := New(Config{Ring: ring})
	require.NoError(b, err)
	defer func() { require.NoError(b, e.Close()) }()
	sink, err := udp.Listen(netip.MustParseAddrPort("127.0.0.2:0"), udp.Options{ReadBuffer: 1 << 20})
	require.NoError(b, err)
	local := sink.LocalAddr()
	require.NoError(b, sink.Close()) // the generator opens it
	streams := listenStreams(b, benchSockets, 0, local)
	defer closeAll(b, e, streams)
	require.NoError(b, e.Attach(streams...))
	var ports strings.Builder
	for _, s := range streams {
		fmt.Fprintln(&ports, s.LocalAddr())
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %s", generatorVariable, benchRate, benchPackets, local))
	cmd.Stdin, cmd.Stderr = strings.NewReader(ports.String()), os.Stderr
	before := cpuTime(b)
	said, err := cmd.Output()
	used := cpuTime(b) - before
	require.NoError(b, err)
	got, err := strconv.Atoi(strings.TrimSpace(string(said)))
	require.NoError(b, err)
	var in, out, lost uint64
	for _, s := range streams {
		st := s.Statistics()
		in, out, lost = in+st.PacketsIn, out+st.PacketsOut, lost+st.ErrorsIn+st.ErrorsOut
	}
	b.Logf("%-8s %5.2f µs a packet: %d in, %d out, %d at the sink", e.Detail(), used.Seconds()*1e6/float64(out), in, out, got)
	require.Zero(b, lost)
	require.Greater(b, out, uint64(benchPackets/2), "too much was lost to tell anything")
	return used.Seconds() * 1e6 / float64(out)
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// generate is the generator: it sends at an even rate to the ports in turn and says how many packets have come to the sink.
func generate(args string) error {
	var rate, packets int
	var local string
	if _, err := fmt.Sscan(args, &rate, &packets, &local); err != nil {
		return err
	}
	var ports []netip.AddrPort
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		port, err := netip.ParseAddrPort(in.Text())
		if err != nil {
			return err
		}
		ports = append(ports, port)
	}
	sink, err := udp.Listen(netip.MustParseAddrPort(local), udp.Options{ReadBuffer: 1 << 20})
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
	go func() { got <- count(sink, packets) }()
	pkt := make([]byte, benchSize)
	pkt[0] = 0x80
	w := udp.NewWriter(64)
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	begin := time.Now()
	for sent := 0; sent < packets; {
		due := min(packets, int(time.Since(begin).Seconds()*float64(rate)))
		for ; sent < due && !w.Full(); sent++ {
			w.Add(pkt, ports[sent%len(ports)])
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
func count(sink *udp.Conn, packets int) int {
	r := udp.NewReader(64, 2000, 0)
	fds := []unix.PollFd{{Fd: int32(sink.FD()), Events: unix.POLLIN}}
	got := 0
	for got < packets {
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
