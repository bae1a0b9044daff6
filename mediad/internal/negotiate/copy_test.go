package negotiate

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

var copyOptions = Options{Interfaces: []Interface{{Name: "default", IPv4: true}}}

// said is a body of one audio media.
func said(direction string) string {
	return "v=0\r\no=phone 1 2 IN IP4 192.0.2.1\r\ns=talk\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\n" +
		"a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=x:y\r\na=" + direction + "\r\n"
}

// source is a party that has said a body and was told the payload types.
func source(t *testing.T, body string, told ...uint8) Copied {
	t.Helper()
	plan, err := NewPlan(&ng.Request{Command: ng.CommandOffer, SDP: body}, Party{}, Party{}, copyOptions)
	require.NoError(t, err)
	side := &plan.From.Sides[0]
	for _, pt := range told {
		side.Local.Payloads = append(side.Local.Payloads, sdp.Payload{Type: pt})
	}
	side.Local.Direction = sdp.SendRecv
	return Copied{Party: plan.From, Body: body}
}

func TestSubscriptionOfOneParty(t *testing.T) {
	one := source(t, said("sendrecv"), 8, 101)
	one.Labels = []string{"7"}
	plan, lines, err := NewSubscription(&ng.Request{Command: ng.CommandSubscribeRequest}, []Copied{one}, Party{}, Party{}, 5, copyOptions)
	require.NoError(t, err)
	require.Equal(t, []MediaLine{{0, 0}}, lines)
	body := string(plan.doc.Bytes())
	require.Contains(t, body, "o=phone 1 2 IN IP4 192.0.2.1\r\n")
	require.Contains(t, body, "m=audio 4000 RTP/AVP 8 101\r\n")
	require.Equal(t, []string{"7"}, plan.labels)
	require.Contains(t, body, "a=x:y\r\n")
	require.Contains(t, body, "a=sendonly\r\n")
	require.NotContains(t, body, "a=sendrecv")
	require.NotContains(t, body, "PCMU")
	require.True(t, plan.To.Sides[0].Local.Active)
}

func TestSubscriptionOfSeveralParties(t *testing.T) {
	sources := []Copied{source(t, said("recvonly")), source(t, said("sendonly"), 101, 0)}
	plan, lines, err := NewSubscription(&ng.Request{Command: ng.CommandSubscribeRequest}, sources, Party{}, Party{}, 5, copyOptions)
	require.NoError(t, err)
	require.Equal(t, []MediaLine{{0, 0}, {1, 0}}, lines)
	body := string(plan.doc.Bytes())
	require.True(t, strings.HasPrefix(body, "v=0\r\no=- 5 5 IN IP4 192.0.2.1\r\ns=rtpengine\r\nt=0 0\r\n"), body)
	require.NotContains(t, body, "a=x:y")
	medias := plan.doc.Medias()
	require.Len(t, medias, 2)
	first, _ := medias[0].Direction()
	second, _ := medias[1].Direction()
	require.Equal(t, []sdp.Direction{sdp.Inactive, sdp.SendOnly}, []sdp.Direction{first, second})
	m, _, _ := medias[1].Media()
	require.Equal(t, []string{"101", "0"}, m.Formats, "in the order that was agreed")
}

func TestPublication(t *testing.T) {
	publish := func(body string, change func(*ng.Request)) (*Plan, error) {
		req := &ng.Request{Command: ng.CommandPublish, SDP: body}
		if change != nil {
			change(req)
		}
		return NewPublication(req, Party{Tag: "p"}, 5, copyOptions)
	}
	plan, err := publish(said("sendonly"), nil)
	require.NoError(t, err)
	body := string(plan.doc.Bytes())
	require.Contains(t, body, "m=audio 9 RTP/AVP 0\r\n")
	require.Contains(t, body, "a=recvonly\r\n")
	require.True(t, plan.To.Sides[0].Local.Active)

	plan, err = publish(said("recvonly"), func(r *ng.Request) { r.Codec.Accept = []string{"PCMA"} })
	require.NoError(t, err)
	require.Contains(t, string(plan.doc.Bytes()), "m=audio 9 RTP/AVP 8\r\n")
	require.Contains(t, string(plan.doc.Bytes()), "a=inactive\r\n")

	for _, body := range []string{
		strings.ReplaceAll(said("sendonly"), "audio 4000", "audio 0"),
		strings.NewReplacer("PCMU", "foo", "PCMA", "bar", "telephone-event", "baz", " 0 8 101", " 97 98 99", ":0 ", ":97 ", ":8 ", ":98 ", ":101 ", ":99 ").Replace(said("sendonly")),
	} {
		_, err = publish(body, nil)
		require.ErrorIs(t, err, ng.ReasonSDPCreate)
	}
}

func TestCreation(t *testing.T) {
	create := func(codecs ...string) (*Plan, error) {
		req := &ng.Request{Command: ng.CommandCreate}
		req.Codec.Offer = codecs
		return NewCreation(req, Party{Tag: "p"}, 5, copyOptions)
	}
	plan, err := create()
	require.NoError(t, err)
	require.Contains(t, string(plan.doc.Bytes()), "m=audio 9 RTP/AVP 8 0 96\r\n")
	plan, err = create("opus", "G722", "AMR/8000/1")
	require.NoError(t, err)
	require.Contains(t, string(plan.doc.Bytes()), "RTP/AVP 96 9 97\r\n")
	require.Contains(t, string(plan.doc.Bytes()), "a=rtpmap:96 opus/48000/2\r\n")
	require.Contains(t, string(plan.doc.Bytes()), "a=rtpmap:97 AMR/8000\r\n")
	_, err = create("x\r\nm=audio 1 RTP/AVP 0")
	require.ErrorIs(t, err, ng.ReasonSDPCreate, "a codec must not bring lines of its own")
	_, err = create(strings.Split(strings.Repeat("x ", 40)+"x", " ")...)
	require.ErrorIs(t, err, ng.ReasonSDPCreate)
}
