package metrics

import (
	"bufio"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// A report has the lines of rtpengine 10.5's, in its order, and the numbers of
// the interval are those that statistics show afterwards.
func TestGraphite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	s := source(t, "b")
	g := NewGraphite(GraphiteConfig{
		Address: l.Addr().(*net.TCPAddr).AddrPort(), Prefix: "px", Every: time.Second, Source: s, Log: zap.NewNop(),
	})
	s.Graphite = g
	g.Start()
	defer g.Close()
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	var report strings.Builder
	r := bufio.NewReader(conn)
	for !strings.Contains(report.String(), "pxports_used_b_") {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		report.WriteString(line)
	}
	golden(t, "graphite.txt", regexp.MustCompile(` \d+\n`).ReplaceAllString(report.String(), " 0\n"))
	d := s.Gather().Statistics().Get("intervalstatistics").(ng.Dict)
	require.Equal(t, "0.250000", d.Get("minpingdelay"))
	require.Equal(t, "1.000000", d.Get("avgofferdelay"))
	require.Equal(t, "3", d.Get("maxpingrequestrate"))
}

// Nobody there: reports are lost, nothing else happens.
func TestGraphiteGone(t *testing.T) {
	s := source(t, "b")
	g := NewGraphite(GraphiteConfig{Address: netip.MustParseAddrPort("127.0.0.1:1"), Source: s, Log: zap.NewNop()})
	g.send([]byte("x 1 1\n"))
	require.Nil(t, g.conn)
	g.Start()
	g.Close()
	NewGraphite(GraphiteConfig{Source: s}).Close()
}

func TestSpans(t *testing.T) {
	var s span
	s.add(2 * time.Millisecond)
	s.add(4 * time.Millisecond)
	s.tick(1)
	s.tick(2)
	s.add(9 * time.Millisecond)
	s.tick(3)
	require.Equal(t, CommandInterval{
		Min: 2 * time.Millisecond, Max: 9 * time.Millisecond, Mean: 5 * time.Millisecond, MinRate: 0, MaxRate: 2, MeanRate: 1,
	}, s.cut(3))
	require.Equal(t, span{}, s)
}
