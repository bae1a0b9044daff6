package negotiate

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// payloadsOf returns the payload types of an m= line with such formats.
func payloadsOf(t *testing.T, formats string) []sdp.Payload {
	t.Helper()
	d, err := sdp.Parse([]byte("v=0\r\nm=audio 1 RTP/AVP " + formats + "\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:111 opus/48000/2\r\n" +
		"a=rtpmap:101 telephone-event/8000\r\na=rtpmap:100 telephone-event/8000\r\na=rtpmap:110 telephone-event/48000\r\n"))
	require.NoError(t, err)
	return d.Medias()[0].Payloads()
}

func numbers(list []sdp.Payload) string { return strings.Join(formats(list), " ") }

// TestSelected: what rtpengine 10.5 makes of the codec lists of an offer.
func TestSelected(t *testing.T) {
	list := func(words ...string) []string { return words }
	for _, c := range []struct {
		codec    ng.Codec
		in, want string
	}{
		{ng.Codec{Strip: list("pcmu")}, "0 8 96 101", "8 96 101"},
		{ng.Codec{Strip: list("PCMU/8000")}, "0 8", "8"},
		{ng.Codec{Strip: list("PCMU/8000/1")}, "0 8", "8"},
		{ng.Codec{Strip: list("PCMU/8000/2")}, "0 8", "0 8"},
		{ng.Codec{Strip: list("opus/48000/2")}, "96 8", "8"},
		{ng.Codec{Strip: list("opus/48000")}, "96 8", "96 8"},
		{ng.Codec{Strip: list("0")}, "0 8", "0 8"},
		{ng.Codec{Strip: list("all")}, "0 8 101", "0 8 101"},
		{ng.Codec{Strip: list("PCMU", "PCMA")}, "0 8 96 101", "96"},
		{ng.Codec{Strip: list("opus")}, "0 13 101 110 96", "0 13 101"},
		{ng.Codec{Strip: list("foo")}, "96 101", "96 101"},
		{ng.Codec{Strip: list("PCMU")}, "101 0 8", "101 8"},
		{ng.Codec{Strip: list("PCMU")}, "120 0", "120"},
		{ng.Codec{Strip: list("all"), Offer: list("PCMA", "PCMU")}, "0 8 96 101", "8 0"},
		{ng.Codec{Strip: list("full"), Offer: list("telephone-event", "PCMA")}, "0 8 96 101", "8 101"},
		{ng.Codec{Strip: list("all"), Offer: list("opus", "telephone-event")}, "0 13 101 110 96", "96 110"},
		{ng.Codec{Strip: list("all"), Except: list("telephone-event", "PCMU")}, "101 0 8", "101 0"},
		{ng.Codec{Strip: list("all"), Offer: list("PCMA"), Except: list("PCMU")}, "101 0 8 9", "8 0"},
		{ng.Codec{Strip: list("PCMA"), Except: list("PCMA")}, "0 8", "0"},
		{ng.Codec{Strip: list("PCMA"), Offer: list("PCMA")}, "0 8 96 101", "0 96 8 101"},
		{ng.Codec{Offer: list("PCMA")}, "0 8", "0 8"},
		{ng.Codec{Mask: list("PCMU"), Offer: list("PCMU")}, "0 8 96 101", "8 96 0 101"},
		{ng.Codec{Mask: list("all"), Offer: list("opus", "PCMU")}, "0 8 96 101", "96 0"},
		{ng.Codec{Mask: list("all"), Strip: list("PCMU"), Except: list("PCMU")}, "0 8", "0 8"},
		{ng.Codec{Mask: list("all"), Transcode: list("PCMA", "PCMU")}, "0 8 96 101", "8 0"},
		{ng.Codec{Mask: list("all"), Transcode: list("PCMA"), Except: list("PCMU")}, "0 8 96 101", "0 8"},
		{ng.Codec{Mask: list("all"), Transcode: list("telephone-event", "PCMA", "G722")}, "0 8 96 101", "8 101"},
		{ng.Codec{Strip: list("all"), Transcode: list("PCMA"), Offer: list("PCMU")}, "0 8 96 101", "0 8"},
		{ng.Codec{Strip: list("PCMA"), Transcode: list("PCMA")}, "0 8 96 101", "0 96 8 101"},
		{ng.Codec{Transcode: list("G722")}, "0 8", "0 8"},
		{ng.Codec{Consume: list("PCMU")}, "0 8", "8"},
		{ng.Codec{Ignore: list("all"), Accept: list("all")}, "0 8", "0 8"},
	} {
		require.Equal(t, c.want, numbers(selected(payloadsOf(t, c.in), &c.codec)), "%+v of %s", c.codec, c.in)
	}
}

func TestAnswered(t *testing.T) {
	for _, c := range []struct{ told, answer, want string }{
		{"0 8 101", "8 101", "8 101"},
		{"0 8", "8 0", "8 0"},
		{"0 8", "9 8", "8"},
		{"0 8", "9", "0"},
		{"0 8", "0 0 8", "0 8"},
		{"0 8 101", "8 100", "8"},
		{"96 0", "111 0", "0"},
		{"98", "98", "98"},
		{"96 0", "111", "111"}, // the same codec: RFC 3264 §6.1
		{"0 8", "", ""},
		{"", "0", "0"},
	} {
		require.Equal(t, c.want, numbers(answered(payloadsOf(t, c.answer), payloadsOf(t, c.told))), "%+v", c)
	}
}

// TestRepeatedPayloadTypes: a payload type named again is described again, but
// not at any length.
func TestRepeatedPayloadTypes(t *testing.T) {
	for length, want := range map[int]int{10: 3, 1000: 1} {
		body := strings.Replace(plainOffer, "RTP/AVP 8", "RTP/AVP 96 96 96", 1) + "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 " +
			strings.Repeat("x", length) + "\r\na=rtcp-fb:96 nack\r\n"
		out, _, err := newPorts().step(&ng.Request{Command: ng.CommandOffer, SDP: body}, "A", "B")
		require.NoError(t, err)
		require.Equal(t, want, strings.Count(out, "a=rtpmap:96"))
		require.Equal(t, want, strings.Count(out, "a=fmtp:96"))
		require.Equal(t, 1, strings.Count(out, "a=rtcp-fb:96"))
	}
}

// TestEventsAsOffered: where an offer was told only in part, an answer has the
// offer's description of events.
func TestEventsAsOffered(t *testing.T) {
	told := payloadsOf(t, "0 8 101 13")
	told[2].Format = "0-15"
	got := asOffered(payloadsOf(t, "101 8 13 0"), told)
	require.Equal(t, "8 0 13 101", numbers(got))
	require.Equal(t, "0-15", got[3].Format)
}

func TestSingle(t *testing.T) {
	for in, want := range map[string]string{"8 0 101": "8 101", "101 8 0": "101 8", "8 0 13 101": "8 13 101", "0 96 101 110 8": "0 101", "101": "101"} {
		require.Equal(t, want, numbers(single(payloadsOf(t, in))), in)
	}
}
