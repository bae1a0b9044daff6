package negotiate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// fuzzRequest makes a request out of a few bits, so that the fuzzer can reach
// every flag that matters here.
func fuzzRequest(command ng.Command, bits uint64, body string) *ng.Request {
	take := func(n uint64) int {
		v := bits % n
		bits /= n
		return int(v)
	}
	profiles := []ng.TransportProtocol{
		"", "RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF", "accept",
	}
	names := []string{"", "pub", "six", "unknown"}
	req := &ng.Request{
		Command:           command,
		SDP:               body,
		TransportProtocol: profiles[take(8)],
		ICE:               ng.ICE(take(6)),
		ICELite:           ng.ICELite(take(5)),
		DTLS:              ng.DTLS(take(4)),
		DTLSReverse:       ng.DTLS(take(4)),
		RTCPMux:           ng.RTCPMux(take(32)),
		Replace:           ng.Replace(take(128)),
		AddressFamily:     ng.AddressFamily(take(3)),
		Direction:         [2]string{names[take(4)], names[take(4)]},
	}
	req.SDES.Off = take(4) == 0
	req.SDES.NoNew = take(4) == 0
	for _, f := range []ng.Flag{
		ng.FlagGenerateMID, ng.FlagFullRTCPAttribute, ng.FlagNoRTCPAttribute, ng.FlagOriginalSendrecv,
		ng.FlagLoopProtect, ng.FlagTrickleICE, ng.FlagRejectICE, ng.FlagReset, ng.FlagPadCrypto, ng.FlagStripExtmap, ng.FlagInactive,
	} {
		if take(2) == 1 {
			req.Flags.Set(f)
		}
	}
	if take(8) == 0 {
		req.Codec.Strip = []string{"all"}
		req.Codec.Offer = []string{"PCMA", "opus/48000/2"}
	}
	return req
}

// FuzzExchange plays offer, answer and a re-offer from the other side with
// arbitrary bodies and flags. Whatever happens, nothing panics, errors carry a
// reason, number and order of m= lines stay, and what comes out can be read.
func FuzzExchange(f *testing.F) {
	files, _ := filepath.Glob("testdata/golden/*.txt")
	for n, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		var bodies []string
		for part := range strings.SplitSeq(string(raw), "\n-- ") {
			if head, body, ok := strings.Cut(part, "\n"); ok && (strings.HasPrefix(head, "offer") || strings.HasPrefix(head, "answer")) {
				bodies = append(bodies, body)
			}
		}
		if len(bodies) > 1 {
			f.Add(bodies[0], bodies[1], uint64(n)*7919, uint64(n)*104729)
		}
	}
	f.Fuzz(func(t *testing.T, offer, answer string, offerBits, answerBits uint64) {
		call := newPorts()
		exchange(t, call, fuzzRequest(ng.CommandOffer, offerBits, offer), "A", "B")
		exchange(t, call, fuzzRequest(ng.CommandAnswer, answerBits, answer), "B", "A")
		exchange(t, call, fuzzRequest(ng.CommandOffer, answerBits, answer), "B", "A")
		exchange(t, call, fuzzRequest(ng.CommandAnswer, offerBits, offer), "A", "B")
	})
}

func exchange(t *testing.T, call *ports, req *ng.Request, from, to string) {
	before := call.parties[from]
	text := fmt.Sprintf("%+v %+v", before, call.parties[to])
	other := call.parties[to]
	out, plan, err := call.step(req, from, to)
	if text != fmt.Sprintf("%+v %+v", before, other) {
		t.Fatal("the snapshots handed in were changed")
	}
	if err != nil {
		var reason ng.Reason
		if !errors.As(err, &reason) {
			t.Fatalf("no reason in %v", err)
		}
		return
	}
	if plan.Untouched {
		return
	}
	if len(plan.From.Sides) < len(before.Sides) {
		t.Fatalf("a party shrank from %d to %d sides", len(before.Sides), len(plan.From.Sides))
	}
	in, err := sdp.Parse([]byte(req.SDP))
	if err != nil {
		t.Fatalf("accepted what cannot be parsed: %v", err)
	}
	if len(out) > sdp.MaxBytes {
		return
	}
	again, err := sdp.Parse([]byte(out))
	if errors.Is(err, sdp.ErrTooBig) {
		return
	}
	if err != nil {
		t.Fatalf("cannot read what was written: %v\n%q", err, out)
	}
	types := func(d *sdp.Document) (list []string) {
		for _, s := range d.Medias() {
			m, _, ok := s.Media()
			if !ok {
				t.Fatalf("m= line cannot be read\n%q", out)
			}
			list = append(list, m.Type)
		}
		return list
	}
	if want, got := types(in), types(again); !slices.Equal(want, got) {
		t.Fatalf("m= lines %q became %q", want, got)
	}
	for i := range again.Medias() {
		l := &plan.To.Sides[i].Local
		m, _, _ := again.Medias()[i].Media()
		if l.Active && m.Port == 0 || !l.Active && m.Port != 0 && relayed(m.Type) {
			t.Fatalf("media %d: active %v but port %d", i, l.Active, m.Port)
		}
		if a, ok := again.Medias()[i].Attribute("crypto"); ok && l.Active && !l.Raw && !secure(l.Protocol) {
			if _, isKey := sdp.ParseCrypto(a.Value); isKey { // what none is passes as any other line
				t.Fatalf("key %q in a plain media", a.Value)
			}
		}
	}
}
