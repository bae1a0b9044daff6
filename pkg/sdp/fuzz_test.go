package sdp

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzDocument checks that a body without edits comes out as it went in, up to a
// blank line, that
// edits only ever change what they are about, and that what comes out can be
// read again with the same m= lines.
func FuzzDocument(f *testing.F) {
	for _, body := range nasty() {
		f.Add([]byte(body))
	}
	files, _ := filepath.Glob("testdata/*.sdp")
	for _, name := range files {
		body, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := Parse(body)
		if err != nil {
			return
		}
		out := d.Bytes()
		rest, same := bytes.CutPrefix(body, out)
		if !same || len(rest) > 0 && !bytes.HasPrefix(rest, []byte("\n")) && !bytes.HasPrefix(rest, []byte("\r\n")) {
			t.Fatalf("changed without an edit:\n%q\n%q", body, out)
		}
		read(d.Session())
		for _, s := range d.Medias() {
			read(s)
			edit(s)
		}
		d.Session().Append("a=session-mark")
		out = d.Bytes()
		again, err := Parse(out)
		if err != nil {
			if len(out) > MaxBytes || bytes.Count(out, []byte{'\n'}) > MaxLines-8 || bytes.Count(out, []byte{'\r'}) > MaxLines-8 {
				return // grown beyond the bounds
			}
			t.Fatalf("cannot read again: %v\n%q", err, out)
		}
		if len(again.Medias()) != len(d.Medias()) {
			t.Fatalf("%d m= lines became %d\n%q", len(d.Medias()), len(again.Medias()), out)
		}
		if _, ok := again.Session().Attribute("session-mark"); !ok {
			t.Fatalf("session attribute lost\n%q", out)
		}
		for i, s := range again.Medias() {
			if _, ok := s.Attribute("mark"); !ok {
				t.Fatalf("attribute of media %d lost\n%q", i, out)
			}
		}
	})
}

func read(s *Section) {
	s.Connection()
	s.Direction()
	s.Payloads()
	for l := range s.Lines() {
		ParseOrigin(l.Value)
	}
	for a := range s.Attributes() {
		ParseCandidate(a.Value)
		ParseCrypto(a.Value)
		ParseFingerprint(a.Value)
		ParseRTCP(a.Value)
		ParseExtmap(a.Value)
		ParseGroup(a.Value)
	}
}

func edit(s *Section) {
	s.Append("a=mark")
	n := 0
	for l := range s.Lines() {
		switch n++; {
		case l.Type == 'm':
			if m, line, ok := s.Media(); ok {
				m.Port = 9
				s.Replace(line, m.String())
			}
		case n%3 == 0:
			s.Delete(l)
		case n%3 == 1:
			s.Replace(l, l.Value+"\nm=smuggled")
		}
	}
}
