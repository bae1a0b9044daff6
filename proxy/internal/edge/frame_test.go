package edge

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// cut reads all messages of a stream.
func cut(in io.Reader, header, body int) (messages []string, pongs int, err error) {
	f := frames{in: in, header: header, body: body, started: func() {}, pong: func() { pongs++ }}
	for {
		data, err := f.next()
		if err != nil {
			return messages, pongs, err
		}
		messages = append(messages, string(data))
	}
}

func TestFramesAreTheSameByteByByte(t *testing.T) {
	a, b := message("one", "body of one"), message("two", "")
	stream := "\r\n\r\n" + a + "\r\n" + b + a + "\r\n\r\n\r\n\r\n"
	for name, in := range map[string]io.Reader{
		"whole": bytes.NewBufferString(stream), "bytes": iotest.OneByteReader(bytes.NewBufferString(stream)),
		"halves": iotest.HalfReader(bytes.NewBufferString(stream)),
	} {
		got, pongs, err := cut(in, 1000, 1000)
		if !errors.Is(err, io.EOF) || len(got) != 3 || got[0] != a || got[1] != b || got[2] != a {
			t.Errorf("%s: %d messages, %v: %q", name, len(got), err, got)
		}
		if pongs != 3 {
			t.Errorf("%s: %d pongs for 3 pings", name, pongs)
		}
	}
}

func TestFramesAreBounded(t *testing.T) {
	endless := io.MultiReader(bytes.NewBufferString("OPTIONS sip:x SIP/2.0\r\nX: "), repeat('a'))
	if _, _, err := cut(endless, 2000, 1000); !errors.Is(err, errHeaderTooLarge) {
		t.Errorf("endless header: %v", err)
	}
	if _, _, err := cut(bytes.NewBufferString("A b SIP/2.0\r\nContent-Length: 1001\r\n\r\n"), 2000, 1000); !errors.Is(err, errBodyTooLarge) {
		t.Errorf("large body: %v", err)
	}
	for _, length := range []string{"", "Content-Length: x\r\n", "Content-Length: 1\r\nl: 2\r\n", "Content-Length: -1\r\n"} {
		if _, _, err := cut(bytes.NewBufferString("A b SIP/2.0\r\n"+length+"\r\nabc"), 2000, 1000); !errors.Is(err, errNoLength) {
			t.Errorf("%q: %v", length, err)
		}
	}
}

// repeat reads one byte for ever.
type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(message("one", "body") + "\r\n\r\n" + message("two", "")))
	f.Add([]byte("\r\n\r\nA b SIP/2.0\r\nl : 3\r\n\r\nabcA"))
	f.Add([]byte("Content-Length: 1\r\nContent-Length: 2\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, pongs, err := cut(bytes.NewReader(data), 300, 300)
		slow, slowPongs, slowErr := cut(iotest.OneByteReader(bytes.NewReader(data)), 300, 300)
		if len(whole) != len(slow) || pongs != slowPongs {
			t.Fatalf("cut by arrival: %q and %q, %v and %v", whole, slow, err, slowErr)
		}
		for i := range whole {
			if whole[i] != slow[i] {
				t.Fatalf("cut by arrival: %q and %q", whole[i], slow[i])
			}
			if len(whole[i]) > 600 {
				t.Fatalf("%d bytes over the limits", len(whole[i]))
			}
		}
	})
}
