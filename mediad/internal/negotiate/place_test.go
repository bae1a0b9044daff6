package negotiate

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// placeOptions are interfaces as in the runs of rtpengine that the expectations
// of this file come from.
func placeOptions() Options {
	turns := map[string]int{}
	return Options{
		Interfaces: []Interface{
			{Name: "four", IPv4: true}, {Name: "six", IPv6: true}, {Name: "both", IPv4: true, IPv6: true},
			{Name: "pub:1", IPv4: true}, {Name: "pub:2", IPv4: true}, {Name: "pub:3", IPv4: true}, {Name: "pub:4", IPv6: true},
		},
		Rotate: func(name string, members []string) int {
			turns[name]++
			return (turns[name] - 1) % len(members)
		},
	}
}

// placed runs an offer and returns where both parties have been put.
func placed(t *testing.T, o Options, req ng.Request, medias int, v6 bool, from, to Party) (*Plan, string) {
	t.Helper()
	req.Command, req.CallID, req.FromTag = ng.CommandOffer, "c", "a"
	req.SDP = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n" +
		strings.Repeat("m=audio 4000 RTP/AVP 8\r\n", medias)
	if v6 {
		req.SDP = strings.ReplaceAll(req.SDP, "IP4 198.51.100.1", "IP6 2001:db8::1")
	}
	p, err := NewPlan(&req, from, to, o)
	require.NoError(t, err)
	var words []string
	for _, party := range []*Party{&p.From, &p.To} {
		for _, s := range party.Sides {
			family := map[ng.AddressFamily]string{ng.FamilyIP4: "/4", ng.FamilyIP6: "/6"}[s.Local.Family]
			words = append(words, s.Local.Interface+family)
		}
	}
	return p, strings.Join(words, " ")
}

func TestPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		direction [2]string
		family    ng.AddressFamily
		v6        bool
		want      string
	}{
		"nothing said":             {want: "four/4 four/4"},
		"nothing said, IPv6":       {v6: true, want: "six/6 six/6"},
		"other family":             {family: ng.FamilyIP6, want: "four/4 six/6"},
		"names":                    {direction: [2]string{"both", "four"}, want: "both/4 four/4"},
		"names, IPv6":              {direction: [2]string{"both", "both"}, v6: true, want: "both/6 both/6"},
		"offerer's family lacks":   {direction: [2]string{"four", "four"}, v6: true, want: "six/6 four/4"},
		"receiver's family lacks":  {direction: [2]string{"both", "six"}, want: "both/4 six/6"},
		"unknown":                  {direction: [2]string{"x", "y"}, want: "four/4 four/4"},
		"families as names":        {direction: [2]string{"internal", "external"}, want: "four/4 six/6"},
		"names beat the key":       {direction: [2]string{"external", "internal"}, family: ng.FamilyIP6, want: "six/6 four/4"},
		"group, receiver first":    {direction: [2]string{"pub", "pub"}, want: "pub:2/4 pub:1/4"},
		"group with one of IPv6":   {direction: [2]string{"pub", "pub"}, v6: true, want: "pub:4/6 pub:4/6"},
		"member of a group":        {direction: [2]string{"pub:3", "pub:1"}, want: "pub:3/4 pub:1/4"},
		"all in turn":              {direction: [2]string{anyInTurn, anyInTurn}, want: "both/4 four/4"},
		"not a group without name": {direction: [2]string{"pu", "pub:9"}, want: "four/4 four/4"},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := placed(t, placeOptions(), ng.Request{Direction: c.direction, AddressFamily: c.family}, 1, c.v6, Party{}, Party{})
			require.Equal(t, c.want, got)
		})
	}
}

// TestPlacesStay: the medias of a party are together, and stay where they are
// unless a re-offer names another place or another family.
func TestPlacesStay(t *testing.T) {
	o := placeOptions()
	pub := ng.Request{Direction: [2]string{"pub", "pub"}}
	p, got := placed(t, o, pub, 3, false, Party{}, Party{})
	require.Equal(t, "pub:2/4 pub:2/4 pub:2/4 pub:1/4 pub:1/4 pub:1/4", got)
	for _, again := range []ng.Request{pub, {}} {
		_, got = placed(t, o, again, 3, false, p.From, p.To)
		require.Equal(t, "pub:2/4 pub:2/4 pub:2/4 pub:1/4 pub:1/4 pub:1/4", got)
	}
	_, got = placed(t, o, ng.Request{Direction: [2]string{"", "both"}}, 1, false, p.From, p.To)
	require.Equal(t, "pub:2/4 pub:2/4 pub:2/4 both/4 pub:1/4 pub:1/4", got)
	_, got = placed(t, o, ng.Request{AddressFamily: ng.FamilyIP6}, 3, false, p.From, p.To)
	require.Equal(t, "pub:2/4 pub:2/4 pub:2/4 six/6 six/6 six/6", got)

	p, got = placed(t, o, ng.Request{Direction: [2]string{anyInTurn, anyInTurn}}, 2, false, Party{}, Party{})
	require.Equal(t, "both/4 both/4 four/4 four/4", got)
	_, got = placed(t, o, ng.Request{}, 2, false, p.From, p.To)
	require.Equal(t, "both/4 both/4 four/4 four/4", got)
}

// TestAnswerMovesTheOfferer: an answer may name another interface for the one
// that it goes to.
func TestAnswerMovesTheOfferer(t *testing.T) {
	o := placeOptions()
	p, _ := placed(t, o, ng.Request{}, 1, false, Party{}, Party{})
	req := ng.Request{
		Command: ng.CommandAnswer, CallID: "c", FromTag: "a", ToTag: "b", SDP: p.req.SDP, Direction: [2]string{"pub", "both"},
	}
	q, err := NewPlan(&req, p.To, p.From, o)
	require.NoError(t, err)
	require.Equal(t, "both", q.To.Sides[0].Local.Interface)
	require.Equal(t, "four", q.From.Sides[0].Local.Interface, "it has been told already")

	req.Direction, req.AddressFamily = [2]string{}, ng.FamilyIP6
	q, err = NewPlan(&req, p.To, p.From, o)
	require.NoError(t, err)
	require.Equal(t, "six", q.To.Sides[0].Local.Interface)
}

// TestBlankLines end a body, unless they are to be an error.
func TestBlankLines(t *testing.T) {
	for body, blank := range map[string]bool{plainOffer: false, plainOffer + "\r\n": true, plainOffer + "\n": true} {
		req := ng.Request{Command: ng.CommandOffer, SDP: body}
		_, err := NewPlan(&req, Party{}, Party{}, placeOptions())
		require.NoError(t, err)
		o := placeOptions()
		o.RejectBlank = true
		if _, err = NewPlan(&req, Party{}, Party{}, o); blank {
			require.ErrorIs(t, err, ng.ReasonSDPParse)
		} else {
			require.NoError(t, err)
		}
	}
}

// TestDefaultIsAGroup: if the first interface belongs to a group, all of it is
// the default, in turn.
func TestDefaultIsAGroup(t *testing.T) {
	o := placeOptions()
	o.Interfaces = o.Interfaces[3:]
	p, got := placed(t, o, ng.Request{}, 2, false, Party{}, Party{})
	require.Equal(t, "pub:2/4 pub:2/4 pub:1/4 pub:1/4", got)
	for _, again := range []ng.Request{{}, {Direction: [2]string{"pub", "pub"}}} {
		_, got = placed(t, o, again, 2, false, p.From, p.To)
		require.Equal(t, "pub:2/4 pub:2/4 pub:1/4 pub:1/4", got)
	}
	_, got = placed(t, o, ng.Request{}, 1, false, Party{}, Party{})
	require.Equal(t, "pub:1/4 pub:3/4", got)
}

// TestDefaultWithoutAGroup: a name that begins with the colon of a group is a
// name like any other.
func TestDefaultWithoutAGroup(t *testing.T) {
	o := placeOptions()
	for _, name := range []string{":x", ":"} {
		o.Interfaces = []Interface{{Name: name, IPv4: true}}
		_, got := placed(t, o, ng.Request{}, 1, true, Party{}, Party{})
		require.Equal(t, name+"/4 "+name+"/4", got)
	}
}
