package app

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func (d *daemon) cli(line string) string {
	d.t.Helper()
	conn, err := net.Dial("tcp", d.app.CLI()[0].String())
	require.NoError(d.t, err)
	defer conn.Close()
	require.NoError(d.t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = io.WriteString(conn, line+"\n")
	require.NoError(d.t, err)
	text, err := io.ReadAll(conn)
	require.NoError(d.t, err)
	return string(text)
}

func TestOperatorSeesAndEndsACall(t *testing.T) {
	d := startDaemon(t, func(s *settings.Settings) {
		s.Control.CLI = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		s.Control.HTTP = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	})
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	connectPhones(d, a, b, nil)
	talk(t, a, b)
	require.Regexp(t, `^callid: {57}call \| deletionmark:  no \| created: +\d+ \| proxy:127\.0\.0\.1:\d+ \| redis_keyspace:0 \| foreign:no\n$`,
		d.cli("list sessions all"))
	require.Contains(t, d.cli("list numsessions"), "Current sessions own: 1\nCurrent sessions foreign: 0\nCurrent sessions total: 1\n"+
		"Current transcoded media: 0\nCurrent sessions ipv4 only media: 1\n")
	text := d.cli("list sessions call")
	for _, pattern := range []string{
		`^\ncallid: call\ndeletionmark: no\ncreated: \d+\nproxy: 127\.0\.0\.1:\d+\ntos: 0\nlast_signal: \d+\nredis_keyspace: 0\nforeign: no\n\n`,
		`--- Tag 'a', type: FROM_TAG, label '', branch '', callduration \d\.\d{6}\n---     subscribed to 'b'\n---     subscription of 'b'\n`,
		`------ Media #1 \(audio over RTP/AVP\) using PCMU/8000\n-------- Port       127\.0\.0\.1:\d{1,5} +<>       127\.0\.0\.1:\d{1,5} *, SSRC [0-9a-f]+, [1-9]\d* p, \d+ b, 0 e, \d+ ts\n`,
		`--- Tag 'b', type: TO_TAG, `,
		`\n\n$`,
	} {
		require.Regexp(t, regexp.MustCompile(pattern), text)
	}
	require.Equal(t, text[len(text)-1:], "\n")
	require.Equal(t, "Enabled debugging for call 'call'\n", d.cli("debug call on"))
	require.Equal(t, "Ok, all calls set to 'foreign (standby)'\n", d.cli("standby"))
	require.Contains(t, d.cli("list numsessions"), "Current sessions own: 0\nCurrent sessions foreign: 1\n")
	require.Contains(t, d.cli("list jsonstats"), `{"currentstatistics":{"sessionsown":0,"sessionsforeign":1,"sessionstotal":1,`)
	require.Equal(t, "All own calls terminated by operator.\n", d.cli("terminate own"))
	require.NotEmpty(t, d.list())
	require.Equal(t, "\nCall Id (call) successfully terminated by operator.\n\n", d.http(http.MethodGet, "/cli/terminate+call", "", ""))
	require.Empty(t, d.list())
	require.EqualValues(t, 1, d.metric(`rtpengine_closed_sessions_total{reason="force_terminated"}`))

	require.Equal(t, "Success setting maxsessions to 0\n", d.cli("set maxsessions 0"))
	reply := d.app.front.handler.Handle(t.Context(), &ng.Request{Command: ng.CommandOffer, CallID: "x", FromTag: "a", SDP: a.sdp(0)})
	require.Equal(t, &ng.Failure{Reason: ng.ReasonSessionLimit}, reply)
	require.Equal(t, "max-sessions: -1 => 0\n", d.cli("params diff"))
}
