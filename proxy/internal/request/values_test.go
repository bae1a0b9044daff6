package request

import (
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func TestSplitList(t *testing.T) {
	for in, want := range map[string][]string{
		`<sip:a,b@x>, "c, \" d" <sip:e> ;p="f,g",h`: {`<sip:a,b@x>`, `"c, \" d" <sip:e> ;p="f,g"`, `h`},
		"":         nil,
		" , ,":     nil,
		`"open, <`: {`"open, <`},
	} {
		if got := SplitList(in); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for in, want := range map[string][4]string{ // display, URI, tag, expires
		`"A \"B\", C" <sip:u@h:5070;transport=tcp?x=y>;TAG=1 ; Expires = 60`: {`A "B", C`, "sip:u@h:5070;transport=tcp?x=y", "1", "60"},
		`Bob Smith <sips:h>;tag=2`:                  {"Bob Smith", "sips:h", "2", ""},
		`sip:u@h;tag=3`:                             {"", "sip:u@h", "3", ""}, // without brackets parameters are the header's
		`<sip:[2001:db8::1]:5060;lr>`:               {"", "sip:[2001:db8::1]:5060;lr", "", ""},
		`<tel:+49;phone-context=x>;tag=4`:           {"", "tel:+49;phone-context=x", "4", ""},
		`<sip:a@x>;+sip.instance="<urn:u:1>";tag=5`: {"", "sip:a@x", "5", ""},
	} {
		a, err := ParseAddress(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		tag, _ := a.Param("tag")
		expires, _ := a.Param("expires")
		if got := [4]string{a.Display, a.URI.String(), tag, expires}; got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"", "<sip:a", "<sip:a b>", "<sip:>", "<>", "sip:a@h:99999", "<sip:a@x> junk", "<sip:a@x\x01>", "a"} {
		if a, err := ParseAddress(in); err == nil {
			t.Errorf("%q was read as %q", in, a.URI.String())
		}
	}
	if a, err := ParseAddress("*"); err != nil || !a.Wildcard() {
		t.Errorf("wildcard: %v", err)
	}
}

func TestParseVia(t *testing.T) {
	for in, want := range map[string]string{
		"SIP/2.0/UDP h;branch=z9hG4bK1":                    "SIP/2.0/UDP h;branch=z9hG4bK1",
		"SIP / 2.0 / TCP\t h : 5070 ; rport ; branch = a":  "SIP/2.0/TCP h:5070;rport;branch=a",
		`SIP/2.0/WSS x.invalid;a="b;c,d";q="with  blanks"`: `SIP/2.0/WSS x.invalid;a="b;c,d";q="with  blanks"`,
		"SIP/2.0/UDP [2001:db8::9]:5060;branch=z":          "SIP/2.0/UDP [2001:db8::9]:5060;branch=z",
	} {
		via, err := ParseVia(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if got := via.Value(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{"", "SIP/2.0", "SIP/2.0/UDP", "SIP/2.0/UDP h:x", "SIP/2.0/UDP [::1", "SIP/2.0/UDP h:70000", "SIP/2.0/UDP a b"} {
		if via, err := ParseVia(in); err == nil {
			t.Errorf("%q was read as %q", in, via.Value())
		}
	}
}

func sample() *sip.Request {
	req := sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", User: "b", Host: "x"})
	via, _ := ParseVia("SIP/2.0/UDP h;branch=z9hG4bK1")
	callID, hops := sip.CallIDHeader("c"), sip.MaxForwardsHeader(70)
	for _, h := range []sip.Header{
		via, &hops, &callID, sip.NewHeader("From", "<sip:a@x>;tag=1"), sip.NewHeader("To", "<sip:b@x>"),
		&sip.CSeqHeader{SeqNo: 1, MethodName: sip.INVITE}, sip.NewHeader("Route", "<sip:p;lr>"), sip.NewHeader("Record-Route", "<sip:r;lr>"),
	} {
		req.AppendHeader(h)
	}
	req.SetBody([]byte("body"))
	return req
}

// sipgo's Clone shares Max-Forwards by pointer: one branch would count down the hops of the others.
func TestCloneSharesNothingThatChanges(t *testing.T) {
	req := sample()
	before := req.String()
	c := Clone(req)
	c.MaxForwards().Dec()
	*c.CallID() = "other"
	c.Via().Params.Add("received", "192.0.2.1")
	c.Recipient.User = "other"
	c.SetBody([]byte("longer body"))
	SetRoutes(c, []string{"<sip:q;lr>", "<sip:s;lr>"})
	if req.String() != before {
		t.Errorf("the original has changed:\n%s", req)
	}
	if got := c.GetHeaders("Route"); len(got) != 2 || got[0].Value() != "<sip:q;lr>" {
		t.Errorf("Route %v", got)
	}
	shared := req.Clone()
	shared.MaxForwards().Dec()
	if req.MaxForwards().Val() == 70 {
		t.Error("sipgo's Clone copies Max-Forwards now: the guard may go")
	}
}

func TestResponses(t *testing.T) {
	req := sample()
	first, again := NewResponse(req, 180, "Ringing"), NewResponse(req, 200, "OK")
	if tag := ToTag(first); tag == "" || tag != ToTag(again) {
		t.Errorf("tags %q and %q of one transaction", tag, ToTag(again))
	}
	if ToTag(NewResponse(req, 100, "Trying")) != "" {
		t.Error("100 has a tag")
	}
	if Header(first, "Record-Route") == "" || Header(NewResponse(req, 486, "Busy Here"), "Record-Route") != "" {
		t.Error("Record-Route belongs into 18x and 2xx only")
	}
	if ViaBranch(first) != "z9hG4bK1" || Header(first, "From") != "<sip:a@x>;tag=1" || CallID(first) != "c" {
		t.Errorf("not the request's:\n%s", first)
	}
}

func TestLoopHash(t *testing.T) {
	base := LoopHash(sample())
	same := sample()
	same.MaxForwards().Dec()
	same.PrependHeader(sip.NewHeader("Via", "SIP/2.0/UDP us;branch=z9hG4bK2"))
	if LoopHash(same) != base {
		t.Error("another hop makes another hash: loops are not found")
	}
	for name, change := range map[string]func(*sip.Request){
		"request URI": func(r *sip.Request) { r.Recipient.User = "carol" },
		"CSeq":        func(r *sip.Request) { r.CSeq().SeqNo = 2 },
		"Route":       func(r *sip.Request) { SetRoutes(r, nil) },
		"credentials": func(r *sip.Request) { r.AppendHeader(sip.NewHeader("Proxy-Authorization", "Digest")) },
	} {
		other := sample()
		change(other)
		if LoopHash(other) == base {
			t.Errorf("%s does not count: a spiral is taken for a loop", name)
		}
	}
}

func FuzzValues(f *testing.F) {
	f.Add(`"A" <sip:u@h:5070;transport=tcp>;tag=1, <sip:x>`)
	f.Add(`SIP / 2.0 / UDP [::1]:5060;branch=z9hG4bK1;x="a,b"`)
	f.Add(`sip:u:p@h;a=b?c=d`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, v := range SplitList(s) {
			if strings.TrimSpace(v) != v || v == "" {
				t.Fatalf("%q in %q", v, s)
			}
			a, err := ParseAddress(v)
			if err != nil || a.Wildcard() || (a.URI.Scheme != "sip" && a.URI.Scheme != "sips") {
				continue
			}
			if strings.ContainsAny(a.URI.String(), "\r\n") {
				t.Fatalf("line end in %q of %q", a.URI.String(), v)
			}
		}
		if via, err := ParseVia(s); err == nil {
			again, err := ParseVia(via.Value())
			if err != nil || again.Host != via.Host || again.Port != via.Port {
				t.Fatalf("%q became %q: %v", s, via.Value(), err)
			}
		}
	})
}

func TestMediaIDTellsPassesApart(t *testing.T) {
	for pass, want := range []string{"c~1;x@h", "c~1;x@h;pass=1"} {
		id := sip.CallIDHeader("c~1;x@h")
		msg := sip.NewRequest(sip.INVITE, sip.Uri{})
		msg.AppendHeader(&id)
		r := &Request{Msg: msg, Pass: pass}
		if got := r.MediaID(); got != want {
			t.Errorf("pass %d: %q", pass, got)
		}
		if callID, n := CallIDOfMedia(want); callID != "c~1;x@h" || n != pass {
			t.Errorf("%s: %q, %d", want, callID, n)
		}
	}
}
