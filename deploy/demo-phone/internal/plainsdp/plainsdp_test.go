package plainsdp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func lines(l ...string) []byte { return []byte(strings.Join(l, "\r\n") + "\r\n") }

func local() Local {
	return Local{ID: 7, Version: 2, Address: netip.MustParseAddr("127.0.0.9"), Port: 40000, Codecs: []string{"PCMA", "PCMU"}, Direction: SendRecv}
}

func TestAnswerKeepsOrderAndPayloadTypes(t *testing.T) {
	offer, err := Parse(lines("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
		"m=video 5000 RTP/AVP 96 97", "a=rtpmap:96 VP8/90000",
		"m=audio 4000 RTP/AVP 111 0 8 110 126", "c=IN IP4 127.0.0.2", "a=rtpmap:111 opus/48000/2",
		"a=rtpmap:110 telephone-event/48000", "a=rtpmap:126 telephone-event/8000", "a=rtcp:4007", "a=sendonly"))
	require.NoError(t, err)
	chosen, err := offer.Choose(local().Codecs, local().Address)
	require.NoError(t, err)
	require.Equal(t, []Format{{0, "PCMU", 8000}, {8, "PCMA", 8000}}, chosen.Audio)
	require.Equal(t, uint8(126), chosen.Event.Type)
	require.Equal(t, "127.0.0.2:4007", chosen.RTCP.String())
	require.Equal(t, string(lines("v=0", "o=phone 7 2 IN IP4 127.0.0.9", "s=-", "c=IN IP4 127.0.0.9", "t=0 0",
		"m=video 0 RTP/AVP 96",
		"m=audio 40000 RTP/AVP 0 8 126", "a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000",
		"a=rtpmap:126 telephone-event/8000", "a=fmtp:126 0-15", "a=ptime:20", "a=recvonly")),
		string(local().Answer(offer, chosen)))
}

func TestOfferIsReadBack(t *testing.T) {
	offer, err := Parse(local().Offer())
	require.NoError(t, err)
	chosen, err := offer.Choose([]string{"PCMU"}, local().Address)
	require.NoError(t, err)
	require.Equal(t, []Format{{0, "PCMU", 8000}}, chosen.Audio)
	require.Equal(t, "127.0.0.9:40001", chosen.RTCP.String())
	require.Equal(t, Format{101, event, 8000}, chosen.Event)
}

func TestRefusesWhatItDoesNotSpeak(t *testing.T) {
	for name, media := range map[string]string{
		"secure profile":   "m=audio 4000 UDP/TLS/RTP/SAVPF 8",
		"SDES":             "m=audio 4000 RTP/SAVP 8",
		"feedback profile": "m=audio 4000 RTP/AVPF 8",
		"no known codec":   "m=audio 4000 RTP/AVP 9 18",
		"refused port":     "m=audio 0 RTP/AVP 8",
		"video only":       "m=video 4000 RTP/AVP 8",
	} {
		d, err := Parse(lines("v=0", "c=IN IP4 127.0.0.1", media))
		require.NoError(t, err, name)
		_, err = d.Choose(local().Codecs, local().Address)
		require.ErrorIs(t, err, ErrNotAcceptable, name)
	}
	d, err := Parse(lines("v=0", "c=IN IP6 ::1", "m=audio 4000 RTP/AVP 8"))
	require.NoError(t, err)
	_, err = d.Choose(local().Codecs, local().Address)
	require.ErrorIs(t, err, ErrNotAcceptable, "other address family")
}

func TestMalformed(t *testing.T) {
	for _, body := range []string{"", "hello", "v=0\r\n", "v=0\r\nm=audio x RTP/AVP 0", "v=0\r\nc=IN IP4 host\r\nm=audio 1 RTP/AVP 0",
		"v=0\r\nc=IN IP4 ::1\r\nm=audio 1 RTP/AVP 0", "v=0\r\nm=audio 1 RTP/AVP 0\r\na=rtpmap:0", "v=0\r\nm=audio 1 RTP/AVP 0\r\na=rtcp:-1",
		"v=0\r\n" + strings.Repeat("m=audio 1 RTP/AVP 0\r\n", maxStreams+1)} {
		_, err := Parse([]byte(body))
		require.ErrorIs(t, err, ErrMalformed, "%q", body)
	}
}

func TestDirectionAnswers(t *testing.T) {
	for _, c := range []struct{ offer, want, answer Direction }{
		{SendRecv, SendRecv, SendRecv}, {SendOnly, SendRecv, RecvOnly}, {RecvOnly, SendRecv, SendOnly}, {Inactive, SendRecv, Inactive},
		{SendRecv, SendOnly, SendOnly}, {SendOnly, SendOnly, Inactive}, {RecvOnly, SendOnly, SendOnly}, {SendRecv, Inactive, Inactive},
	} {
		require.Equal(t, c.answer, c.offer.Answer(c.want), "%s wanted %s", c.offer, c.want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(local().Offer())
	f.Add(lines("v=0", "c=IN IP6 ::1", "m=audio 4000/2 RTP/AVP 0 101", "a=rtcp:4007 IN IP6 ::2", "a=rtpmap:101 telephone-event/8000"))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := Parse(body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("unexpected error kind: %v", err)
			}
			return
		}
		if chosen, err := d.Choose([]string{"PCMA", "PCMU"}, netip.MustParseAddr("127.0.0.1")); err == nil {
			if back, err := Parse(local().Answer(d, chosen)); err != nil || len(back.Streams) != len(d.Streams) {
				t.Fatalf("the answer has %d streams of %d: %v", len(back.Streams), len(d.Streams), err)
			}
		}
	})
}
