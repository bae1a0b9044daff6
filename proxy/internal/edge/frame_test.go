package edge

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// cut reads all messages of a stream.
func cut(in io.Reader) (messages []string, pongs int, err error) {
	f := frames{in: in, header: 2048, body: 2048, started: func() {}, pong: func() { pongs++ }}
	for {
		msg, err := f.next()
		if err != nil {
			return messages, pongs, err
		}
		messages = append(messages, string(msg))
	}
}

// Wherever the network cuts the stream, the same messages come out, and the same keep-alives are answered.
func TestStreamSplitAtEveryByte(t *testing.T) {
	want := []string{message("one", "a\r\n\r\nb"), message("two", ""), message("three", strings.Repeat("z", 100)), message("four", "")}
	stream := "\r\n\r\n" + want[0] + want[1] + "\r\n\r\n\r\n\r\n" + want[2] + "\r\n" + want[3]
	check := func(name string, in io.Reader) {
		t.Helper()
		got, pongs, err := cut(in)
		if !slices.Equal(got, want) || pongs != 3 || !errors.Is(err, io.EOF) {
			t.Fatalf("%s: %d messages, %d pongs, %v", name, len(got), pongs, err)
		}
	}
	check("in one read", strings.NewReader(stream))
	check("byte by byte", iotest.OneByteReader(strings.NewReader(stream)))
	for i := range len(stream) {
		check(fmt.Sprint("cut at ", i), io.MultiReader(strings.NewReader(stream[:i]), strings.NewReader(stream[i:])))
	}
}

func TestStreamFaultsAreFatal(t *testing.T) {
	length := "Content-Length: 0\r\n"
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"no length":              {strings.Replace(message("x", ""), length, "", 1), errNoLength},
		"two lengths":            {strings.Replace(message("x", ""), length, length+"l: 5\r\n", 1), errNoLength},
		"twice the same":         {strings.Replace(message("x", ""), length, length+length, 1), io.EOF}, // a 400 later
		"negative":               {strings.Replace(message("x", ""), length, "Content-Length: -5\r\n", 1), errNoLength},
		"plus":                   {strings.Replace(message("x", ""), length, "Content-Length: +5\r\n", 1), errNoLength},
		"hexadecimal":            {strings.Replace(message("x", ""), length, "Content-Length: 0x5\r\n", 1), errNoLength},
		"list":                   {strings.Replace(message("x", ""), length, "Content-Length: 0, 0\r\n", 1), errNoLength},
		"over 2^31":              {strings.Replace(message("x", ""), length, "Content-Length: 4294967296\r\n", 1), errNoLength},
		"folded":                 {strings.Replace(message("x", ""), length, "Content-Length:\r\n 0\r\n", 1), errNoLength},
		"in a continuation line": {strings.Replace(message("x", ""), length, "X: y\r\n Content-Length: 0\r\n", 1), errNoLength},
		"body over the limit":    {strings.Replace(message("x", ""), length, "Content-Length: 2049\r\n", 1), errBodyTooLarge},
		"header over the limit":  {strings.Replace(message("x", ""), length, "X: "+strings.Repeat("x", 2048)+"\r\n"+length, 1), errHeaderTooLarge},
		"endless header":         {strings.Repeat("x", 10000), errHeaderTooLarge},
		"half a message":         {message("x", "")[:50], io.EOF},
	} {
		got, _, err := cut(strings.NewReader(c.in))
		if !errors.Is(err, c.want) || (len(got) != 0 && name != "twice the same") {
			t.Errorf("%s: %d messages, %v", name, len(got), err)
		}
	}
}

// An endless header is refused when the limit is reached, not held until memory ends.
func TestStreamHoldsNoMoreThanItsLimits(t *testing.T) {
	f := frames{in: endless{}, header: 2048, body: 2048, started: func() {}, pong: func() {}}
	if _, err := f.next(); !errors.Is(err, errHeaderTooLarge) || cap(f.buf) > 32<<10 {
		t.Errorf("%v with %d bytes held", err, cap(f.buf))
	}
	// Ten thousand messages on one connection leave no more behind than one.
	f.in = strings.NewReader(strings.Repeat(message("x", "y"), 10000))
	f.buf = nil
	for range 10000 {
		if _, err := f.next(); err != nil {
			t.Fatal(err)
		}
	}
	if cap(f.buf) > 32<<10 {
		t.Errorf("%d bytes held", cap(f.buf))
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

// However a stream is cut, the framer gives the same messages as from one read, and each has its length.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(message("one", "body")+"\r\n\r\n"+message("two", "")), uint8(1))
	f.Add([]byte("\r\n\r\n\r\nINVITE\r\nl : 3\r\n\r\nabcSIP/2.0 200 OK\r\nContent-Length:0\r\n\r\n"), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		whole, pongs, err := cut(strings.NewReader(string(data)))
		pieces, piecePongs, pieceErr := cut(chunks{strings.NewReader(string(data)), int(size) + 1})
		// The limits are looked at after each read, so that a header over them may be seen as such or as unfinished.
		if !slices.Equal(whole, pieces) || pongs != piecePongs || (err == nil) != (pieceErr == nil) {
			t.Fatalf("%d messages, %v from one read; %d, %v from pieces of %d", len(whole), err, len(pieces), pieceErr, size)
		}
		total := 0
		for _, msg := range whole {
			if total += len(msg); !strings.Contains(msg, "\r\n\r\n") || msg[0] == '\r' {
				t.Fatalf("no message: %q", msg)
			}
		}
		if total > len(data) {
			t.Fatal("more came out than went in")
		}
	})
}

// chunks reads no more than size bytes at once.
type chunks struct {
	in   io.Reader
	size int
}

func (c chunks) Read(b []byte) (int, error) { return c.in.Read(b[:min(len(b), c.size)]) }

// addTorture seeds a fuzz target with the messages of RFC 4475.
func addTorture(f *testing.F, add func(data []byte)) {
	f.Helper()
	files, err := filepath.Glob("../../../integration/hostile/testdata/rfc4475/*/*.dat")
	if err != nil || len(files) < 40 {
		f.Fatalf("%d messages, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		add(data)
	}
}

// The Call-ID that orders datagrams is the one the parser finds, so that no spelling splits a call over two workers.
func TestOrderKeyIsTheCallID(t *testing.T) {
	for _, line := range []string{"Call-ID: k", "call-id:k", "CALL-ID : k ", "i: k", "I:\tk"} {
		data := "BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=1\r\nContact: <sip:i: x@y>\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:a@b>\r\n" +
			line + "\r\nCSeq: 1 BYE\r\n\r\ni: body"
		if got := string(orderKey([]byte(data))); got != "k" {
			t.Errorf("%q: %q", line, got)
		}
		msg, reason, err := parse([]byte(data))
		if err != nil || reason != "" || request.CallID(msg) != "k" {
			t.Errorf("%q: %v %q", line, err, reason)
		}
	}
	for _, odd := range []string{"", "\n", "x", "BYE\r\n\r\ni: body", "BYE\r\ni", "BYE\r\ni:"} {
		orderKey([]byte(odd)) // must not panic
	}
}
