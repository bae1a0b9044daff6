package ng

import "testing"

// Templates stand before the keys of the request, the named one after the
// general ones.
func TestTemplates(t *testing.T) {
	templates := map[string]string{
		"default": "ICE=remove label=default replace-origin", "offer": "label=offer media-address=192.0.2.1", "web": "ICE=force label=web",
	}
	decode := func(body string) *Request {
		t.Helper()
		req, _, err := DecodeRequest([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return req.WithTemplates(templates)
	}
	if r := decode(`{"command":"answer"}`); r.ICE != ICERemove || r.Label != "default" || !r.Replace.Has(ReplaceOrigin) {
		t.Errorf("default: %+v", r)
	}
	if r := decode(`{"command":"offer","call-id":"c"}`); r.Label != "offer" || r.ICE != ICERemove || r.MediaAddress != "192.0.2.1" || r.CallID != "c" {
		t.Errorf("offer: %+v", r)
	}
	if r := decode(`{"command":"offer","template":"web"}`); r.Label != "web" || r.ICE != ICEForce {
		t.Errorf("named: %+v", r)
	}
	if r := decode(`{"command":"offer","template":"web","label":"own","ICE":"remove"}`); r.Label != "own" || r.ICE != ICERemove {
		t.Errorf("keys go before: %+v", r)
	}
	req := &Request{Command: CommandOffer}
	if req.WithTemplates(templates) != req || req.WithTemplates(nil) != req {
		t.Error("nothing to decode again")
	}
}

// An empty text is given, another type is not.
func TestGivenKeys(t *testing.T) {
	req, _, err := DecodeRequest([]byte("d7:command5:offer7:call-id0:8:from-tagi5e6:to-tagle3:sdp0:e"))
	if err != nil {
		t.Fatal(err)
	}
	if !req.HasCallID() || !req.HasSDP() || req.HasFromTag() || req.HasToTag() {
		t.Errorf("given: %v %v %v %v", req.HasCallID(), req.HasSDP(), req.HasFromTag(), req.HasToTag())
	}
	if len(req.Unknown) != 2 {
		t.Errorf("unknown: %q", req.Unknown)
	}
}

func TestParticipants(t *testing.T) {
	req, _, err := DecodeRequest([]byte(`{"command":"mesh","from-tags":["a,b","c"],"flags":["from-tags-d..e","directional"],` +
		`"tags":[{"from":"x","to":["y","z"]},{"from":"q"}],"address":"192.0.2.1","all":"flows","to-call-id":"t"}`))
	if err != nil {
		t.Fatal(err)
	}
	p := req.Participants
	if len(p.FromTags) != 3 || p.FromTags[0] != "d e" || p.FromTags[1] != "a,b" {
		t.Errorf("from-tags %q", p.FromTags)
	}
	if len(p.Mesh) != 1 || p.Mesh[0].From != "x" || len(p.Mesh[0].To) != 2 || p.Address == "" || p.All != "flows" || p.ToCallID != "t" {
		t.Errorf("%+v", p)
	}
	if len(req.Unknown) != 1 {
		t.Errorf("unknown: %q", req.Unknown)
	}
}
