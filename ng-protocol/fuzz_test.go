package ng

import (
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzDecodeRequest: any body gives an error with a reason or a request that
// survives being written and read again.
func FuzzDecodeRequest(f *testing.F) {
	seed(f, "testdata/requests/*.ng")
	f.Fuzz(func(t *testing.T, body []byte) {
		req, format, err := DecodeRequest(body)
		if err != nil {
			if Fail(err).Reason == "" {
				t.Fatalf("no reason in %v", err)
			}
			return
		}
		if format == FormatJSON {
			return // JSON turns bytes that are not UTF-8 into something else
		}
		survives(t, req)
	})
}

// FuzzFlat: what is decoded here is what the library makes of it.
func FuzzFlat(f *testing.F) {
	seed(f, "testdata/requests/*.ng")
	for _, body := range []string{"de", "d1:ai-7e1:ai8e0:le", "d1:bl1:xi2ee1:a0:e", "d1:ai18446744073709551615ee", "d1:alleee", "d1:adee", "d1:a1:be junk"} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		end, err := bencodeEnd(body)
		if err != nil {
			return
		}
		got, ok := flat(string(body[:end]))
		if !ok {
			return
		}
		var m map[string]any
		if err := new(Decoder).bencode(body[:end], &m); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if want := fieldsOf(m); !reflect.DeepEqual(sortedFields(got), want) {
			t.Fatalf("%q: %v, not %v", body, got, want)
		}
	})
}

// survives writes a request and reads it again.
func survives(t *testing.T, req *Request) {
	t.Helper()
	// The raw string is applied again when read; attribute operations escape
	// some characters without a way back.
	req.RTPPFlags, req.SDPAttr, req.Unknown, req.fields = "", nil, nil, nil
	again, err := EncodeRequest(req, FormatBencode)
	if err != nil {
		t.Fatal(err)
	}
	if len(again) > MaxSize {
		return
	}
	got, _, err := DecodeRequest(again)
	if err != nil {
		t.Fatalf("%q: %v", again, err)
	}
	if len(got.Unknown) > 0 {
		t.Fatalf("%q: not understood: %q", again, got.Unknown)
	}
	if got.fields = nil; !reflect.DeepEqual(got, req) {
		t.Fatalf("%q:\ngot  %+v\nwant %+v", again, got, req)
	}
}

// FuzzKeyValue is FuzzDecodeRequest without the syntax around: one key and one
// word of "flags", both with any text.
func FuzzKeyValue(f *testing.F) {
	for _, c := range [][3]string{
		{"SDES", "no-X,order:a;b", "codec-strip-x--y"}, {"direction", "a,b", "direction=x"}, {"TOS", "5", "TOS=-7"},
		{"received from", "[::1]", "sdp-attr-add-a-b"}, {"codec", "x", "transcode-PCMA/8000"}, {"ICE", "lite-both", "OSRTP-Offer"},
		{"transport protocol", "accept", "to-tag=x"}, {"rtpp-flags", "codec=[mask=[a b]]", "metadata= "},
	} {
		f.Add(c[0], c[1], c[2])
	}
	f.Fuzz(func(t *testing.T, key, value, flag string) {
		req, err := requestOf(fieldsOf(map[string]any{"command": "offer", key: value, "flags": []any{flag}}))
		if err != nil {
			return
		}
		survives(t, req)
	})
}

// FuzzDecodeReply: any body gives an error or a reply that can be written.
func FuzzDecodeReply(f *testing.F) {
	seed(f, "testdata/replies/*.ng")
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, command := range []Command{CommandOffer, CommandQuery, CommandList, CommandStatistics, CommandConnect} {
			reply, err := DecodeReply(command, body)
			if err != nil {
				continue
			}
			for _, format := range []Format{FormatBencode, FormatJSON} {
				if _, err := EncodeReply(reply, format); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// FuzzRTPPFlags: the script string comes from a SIP server's configuration, but
// may hold pieces of a SIP message.
func FuzzRTPPFlags(f *testing.F) {
	for _, raw := range []string{
		"replace-origin ICE=force RTP/SAVPF direction=a direction=b",
		"codec=[strip=[all] transcode=[AMR/8000/1///mode-set=1,2 PCMA]] SDES-off",
		"sdp-attr-substitute-audio-a>b to-tag=x internal external SRTP AVPF",
		"a=[[[]]] ] = [ x=[", "media-address=[2001:db8::1]",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		var r Request
		r.applyRTPPFlags(raw)
		if len(r.Unknown) > maxUnknown {
			t.Fatal(len(r.Unknown))
		}
	})
}

func seed(f *testing.F, pattern string) {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		f.Fatalf("%s: %d files, %v", pattern, len(paths), err)
	}
	for _, path := range paths {
		_, body, err := SplitCookie(read(f, path))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
}
