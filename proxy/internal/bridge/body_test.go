package bridge

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

const isup = "Content-Type: application/ISUP;version=x\r\nContent-Disposition: signal;handling=optional\r\n\r\n\x01\x00\r\n\xff--b1\n\r\n"

func multipart(sdp string) string {
	return "preamble\r\n--b1\r\n" + isup + "\r\n--b1\r\nContent-Type: application/sdp\r\nContent-ID: <x@y>\r\n\r\n" + sdp + "\r\n--b1--\r\nepilogue"
}

func TestOnlyTheSDPPartIsReplaced(t *testing.T) {
	f := newFixture(t)
	body := `multipart/mixed;boundary="b1"|` + multipart("v=0\r\na=x\r\n")
	invite, err := f.send("INVITE", page, "", body, phone, page)
	require.NoError(t, err)
	require.Equal(t, "v=0\r\na=x\r\n", f.daemon.asked[0].SDP)
	require.Equal(t, multipart("v=0 offer#1(v=0\r\na=x\r\n)"), invite.body(0), "all other bytes stay")
	require.Equal(t, `multipart/mixed;boundary="b1"`, invite.branches[0].Msg.ContentType().Value())
	require.Equal(t, fmt.Sprint(len(invite.body(0))), invite.branches[0].Msg.ContentLength().Value())

	require.Equal(t, "v=0 offer#2(v=0\r\na=x\r\n)", invite.body(1), "a browser gets the SDP alone")
	require.Equal(t, typeSDP, invite.branches[1].Msg.ContentType().Value())
}

func TestBodiesWithoutSDPPassUnchanged(t *testing.T) {
	f := newFixture(t)
	for _, body := range []string{"application/pidf+xml|<x/>", "multipart/mixed;boundary=q|--q\r\n\r\nx\r\n--q--", "nonsense|v=0", "multipart/mixed;boundary=b1|" + "--b1\r\n" + isup} {
		invite, err := f.send("INVITE", page, "", body, phone)
		require.NoError(t, err)
		_, content, _ := strings.Cut(body, "|")
		require.Equal(t, content, invite.body(0))
	}
	require.Empty(t, f.daemon.lines())
	_, err := f.send("INVITE", page, "", "multipart/mixed|--x", phone)
	require.ErrorIs(t, err, errBoundary)
}

func FuzzFindPart(f *testing.F) {
	f.Add([]byte(multipart("v=0\r\n")), "b1")
	f.Add([]byte("--a\n\n--a--"), "a")
	f.Add([]byte("--\r\nContent-Type: application/sdp\r\n\r\n\r\n--"), "")
	f.Fuzz(func(t *testing.T, body []byte, boundary string) {
		p, ok := findPart(body, boundary)
		if !ok {
			return
		}
		if p.start < 0 || p.end < p.start || p.end > len(body) {
			t.Fatalf("part %+v of %d bytes", p, len(body))
		}
		msg := sip.NewRequest(sip.INVITE, sip.Uri{Host: "x"})
		msg.SetBody(body)
		replaceSDP(msg, p, string(body[p.start:p.end]), false)
		if !bytes.Equal(msg.Body(), body) {
			t.Fatal("the same SDP put back changes the body")
		}
	})
}
