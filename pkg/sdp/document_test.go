package sdp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const phone = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n" +
	"m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n" +
	"m=video 4002 RTP/AVP 96\r\nc=IN IP4 192.0.2.2\r\na=rtpmap:96 H264/90000\r\n"

// nasty are bodies from the field that strict parsers reject or change.
func nasty() map[string]string {
	return map[string]string{
		"t38":              phone + "m=image 4004 udptl t38\r\na=T38FaxVersion:0\r\n",
		"gb28181":          "v=0\r\no=3402 0 0 IN IP4 192.0.2.1\r\ns=Play\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=video 6000 RTP/AVP 96\r\na=rtpmap:96 PS/90000\r\ny=0100000001\r\nf=v/////a///\r\n",
		"no s= nor t=":     "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\n",
		"a= before t=":     "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\na=x\r\nt=0 0\r\nc=IN IP4 192.0.2.1\r\nb=AS:1\r\nm=audio 4000 RTP/AVP 8\r\n",
		"no final newline": strings.TrimSuffix(phone, "\r\n"),
		"LF only":          strings.ReplaceAll(phone, "\r\n", "\n"),
		"mixed line ends":  strings.Replace(phone, "\r\n", "\n", 3),
		"two c= lines":     phone + "c=IN IP4 192.0.2.3\r\n",
		"23-digit id":      strings.Replace(phone, "o=- 1 2", "o=- 12345678901234567890123 00098765432109876543210", 1),
		"user with spaces": strings.Replace(phone, "o=-", "o=John Q.  Public", 1),
		"leading zeros":    strings.Replace(phone, "o=- 1 2", "o=- 0001 0002", 1),
		"trailing spaces":  strings.ReplaceAll(phone, "sendrecv", "sendrecv  "),
		"a=foo:":           phone + "a=foo:\r\na=:\r\na=\r\n",
		"junk":             phone + "hello\r\n=\r\n\x00\xff\r\n",
		"CR within a line": phone + "a=x\ra=y\r\r\n",
		"LF at the end":    phone + "\n",
	}
}

func TestUnchanged(t *testing.T) {
	for name, body := range nasty() {
		t.Run(name, func(t *testing.T) {
			d, err := Parse([]byte(body))
			require.NoError(t, err)
			require.Equal(t, body, string(d.Bytes()))
			require.False(t, d.Changed())
		})
	}
}

func TestChromiumUnchanged(t *testing.T) {
	files, err := filepath.Glob("testdata/*.sdp")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		body, err := os.ReadFile(f)
		require.NoError(t, err)
		d, err := Parse(body)
		require.NoError(t, err)
		require.Equal(t, string(body), string(d.Bytes()), f)
		require.NotEmpty(t, d.Medias())
	}
}

func TestRefused(t *testing.T) {
	for name, body := range map[string]string{
		"empty":           "",
		"text":            "hello",
		"no v=":           "o=- 1 2 IN IP4 192.0.2.1\r\n",
		"only blank":      "\r\n\r\n",
		"too many bytes":  "v=0\r\n" + strings.Repeat("a", MaxBytes),
		"too many lines":  "v=0\r\n" + strings.Repeat("a\n", MaxLines),
		"too many medias": "v=0\r\n" + strings.Repeat("m=x\n", MaxMedias+1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(body))
			require.Error(t, err)
		})
	}
	_, err := Parse([]byte("v=0\r\n" + strings.Repeat("a\n", MaxLines)))
	require.ErrorIs(t, err, ErrTooBig)
	_, err = Parse([]byte("x"))
	require.ErrorIs(t, err, ErrNoSDP)
}

func TestEdits(t *testing.T) {
	d, err := Parse([]byte(phone))
	require.NoError(t, err)
	_, conn, ok := d.Session().Connection()
	require.True(t, ok)
	d.Session().Replace(conn, "IN IP6 ::1")
	d.Session().Append("a=group:LS 1 2")
	audio, video := d.Medias()[0], d.Medias()[1]
	m, line, ok := audio.Media()
	require.True(t, ok)
	m.Port, m.Protocol = 9, "RTP/SAVP"
	audio.Replace(line, m.String())
	audio.InsertAfter(line, "c=IN IP4 0.0.0.0")
	audio.InsertAfter(line, "b=AS:64")
	for a := range audio.Attributes("rtpmap") {
		audio.Delete(a.Line)
	}
	video.Append("a=mid:2")
	video.Append("a=evil\r\na=smuggled")
	require.True(t, d.Changed())
	require.Equal(t, `v=0
o=- 1 2 IN IP4 192.0.2.1
s=-
c=IN IP6 ::1
t=0 0
a=group:LS 1 2
m=audio 9 RTP/SAVP 8 101
c=IN IP4 0.0.0.0
b=AS:64
a=sendrecv
m=video 4002 RTP/AVP 96
c=IN IP4 192.0.2.2
a=rtpmap:96 H264/90000
a=mid:2
a=evil
`, strings.ReplaceAll(string(d.Bytes()), "\r\n", "\n"))
}

func TestAppendWithoutFinalNewline(t *testing.T) {
	d, err := Parse([]byte("v=0\r\nm=audio 1 RTP/AVP 0"))
	require.NoError(t, err)
	d.Medias()[0].Append("a=x")
	require.Equal(t, "v=0\r\nm=audio 1 RTP/AVP 0\r\na=x\r\n", string(d.Bytes()))
}

func TestBlankLineEndsTheBody(t *testing.T) {
	for body, want := range map[string]string{
		"v=0\nm=audio 1 RTP/AVP 0\n\n\n":              "v=0\nm=audio 1 RTP/AVP 0\na=x\r\n",
		"v=0\nm=audio 1 RTP/AVP 0\r\n\r\nm=x 1 y\r\n": "v=0\nm=audio 1 RTP/AVP 0\r\na=x\r\n",
		"v=0\nm=audio 1 RTP/AVP 0\n\n":                "v=0\nm=audio 1 RTP/AVP 0\na=x\r\n\n",
	} {
		d, err := Parse([]byte(body))
		require.NoError(t, err)
		require.Len(t, d.Medias(), 1)
		d.Medias()[0].Append("a=x")
		require.Equal(t, want, string(d.Bytes()))
	}
}

func TestCheck(t *testing.T) {
	for name, body := range map[string]string{
		"phone":            phone,
		"LF only":          strings.ReplaceAll(phone, "\r\n", "\n"),
		"no o=, s= nor t=": "v=0\r\nc=IN IP6 ::1\r\nm=audio 4000 RTP/AVP 8\r\n",
		"all types":        "v=0\r\no=a b c 1 1 IN IP4 x\r\ns=\r\ni=\r\nu=\r\ne=\r\np=\r\nb=\r\nt=\r\nr=\r\nz=\r\nk=\r\na=\r\n",
		"text behind c=":   "v=0\r\nc=IN IP4 192.0.2.1 x\r\n",
	} {
		d, err := Parse([]byte(body))
		require.NoError(t, err, name)
		require.NoError(t, d.Check(), name)
	}
	for name, line := range map[string]string{
		"no type": "hello", "unknown type": "y=1", "second v=": "v=0", "short o=": "o=- 1 1 IN IP4", "name": "c=IN IP4 localhost",
		"other family": "c=IN IP4 ::1", "TTL": "c=IN IP4 224.0.0.1/127", "two spaces": "c=IN  IP4 192.0.2.1", "no number": "m=audio x RTP/AVP 0",
		"no protocol": "m=audio 1", "count of 0": "m=audio 1/0 RTP/AVP 0", "space before the type": "m= audio 1 RTP/AVP 0", "tab": "m=audio\t1 RTP/AVP 0 0",
	} {
		d, err := Parse([]byte("v=0\r\n" + line + "\r\n"))
		require.NoError(t, err, name)
		require.ErrorIs(t, d.Check(), ErrSyntax, name)
	}
	for name, body := range map[string]string{
		"version": "v=1\r\n", "two c= lines": phone + "c=IN IP4 192.0.2.3\r\n", "s= of a media": phone + "s=x\r\n",
		"two o= lines": "v=0\r\no=- 1 1 IN IP4 x\r\no=- 1 1 IN IP4 x\r\n",
	} {
		d, err := Parse([]byte(body))
		require.NoError(t, err, name)
		require.ErrorIs(t, d.Check(), ErrSyntax, name)
	}
}

func TestDeletedLastLineWithoutNewline(t *testing.T) {
	d, err := Parse([]byte("v=0\nm=audio 1 RTP/AVP 0\na=x"))
	require.NoError(t, err)
	a, ok := d.Medias()[0].Attribute("x")
	require.True(t, ok)
	d.Medias()[0].Delete(a.Line)
	d.Medias()[0].Append("a=y")
	require.Equal(t, "v=0\nm=audio 1 RTP/AVP 0\na=y\r\n", string(d.Bytes()))
}

func TestEditsAreSeen(t *testing.T) {
	d, err := Parse([]byte(phone))
	require.NoError(t, err)
	audio := d.Medias()[0]
	m, line, _ := audio.Media()
	m.Port = 77
	audio.Replace(line, m.String())
	m, _, ok := audio.Media()
	require.True(t, ok)
	require.EqualValues(t, 77, m.Port)
}

func TestDropAndHolds(t *testing.T) {
	d, err := Parse([]byte(phone))
	require.NoError(t, err)
	audio, video := d.Medias()[0], d.Medias()[1]
	audio.Append("a=x")
	video.Append("a=y")
	for _, a := range []string{"a=sendrecv", "a=x", "a=x\r\na=z"} {
		require.True(t, audio.Holds(a), a)
	}
	require.False(t, audio.Holds("a=y"))
	video.Drop()
	require.False(t, video.Holds("a=y"))
	require.Equal(t, phone[:strings.Index(phone, "m=video")]+"a=x\r\n", string(d.Bytes()))
	d.Session().Append("a=s")
	require.True(t, d.Session().Holds("a=s"))
}

func TestFragment(t *testing.T) {
	d, err := ParseFragment([]byte("a=ice-ufrag:abcd\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 UDP 1 192.0.2.1 5 typ host\r\n"))
	require.NoError(t, err)
	require.Len(t, d.Medias(), 1)
	a, ok := d.Session().Attribute("ice-ufrag")
	require.True(t, ok)
	require.Equal(t, "abcd", a.Value)
	_, err = ParseFragment(make([]byte, MaxBytes+1))
	require.ErrorIs(t, err, ErrTooBig)
}
