package ngserver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// post sends one request to the HTTP side of s.
func post(t testing.TB, s *Server, path, kind, body string) (int, string) {
	t.Helper()
	web := httptest.NewServer(s.HTTP())
	defer web.Close()
	client := web.Client()
	defer client.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodPost, web.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := kind; res.StatusCode == 200 && want != "" && res.Header.Get("Content-Type") != want {
		t.Errorf("content type %q", res.Header.Get("Content-Type"))
	}
	return res.StatusCode, string(got)
}

func TestHTTP(t *testing.T) {
	s := serve(t, pong)
	for _, c := range []struct {
		path, kind, body string
		status           int
		want             string // part of the body
	}{
		{"/ng", typeNG, "c d7:command4:pinge", 200, "c d6:result4:ponge"},
		{"/ng", "", "d d7:command4:pinge", 404, "not found"},
		{"/ng", typeNG, `e {"command":"ping"}`, 200, `e {"result":"pong"}`},
		{"/ng", typeNG, "f rubbish", 200, "22:Invalid NG data formate"},
		{"/ng", typeNG, "rubbish", 600, "error"},
		{"/ng", typeJSON, `g {"command":"ping"}`, 404, ""},
		{"/ng", typeNG, "h " + strings.Repeat("x", ng.MaxSize+ng.MaxCookie+1), 413, ""},
		{"/ng-plain", typeNG, "d7:command4:pinge", 200, "d6:result4:ponge"},
		{"/ng-plain", typeJSON, `{"command":"ping"}`, 200, `{"result":"pong"}`},
		{"/ng-plain", typeJSON, `{`, 200, `"error-reason"`},
		{"/ng-plain", "text/plain", `{"command":"ping"}`, 404, ""},
		{"/other", typeNG, "c d7:command4:pinge", 404, ""},
	} {
		status, body := post(t, s, c.path, c.kind, c.body)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s %.40q: %d %q, want %d %q", c.path, c.kind, c.body, status, body, c.status, c.want)
		}
	}
}

// A client that goes away while its command runs leaves nothing behind (goleak
// looks), and the reply is kept for its repetition.
func TestHTTPClientGone(t *testing.T) {
	release, started := make(chan struct{}), make(chan struct{}, 1)
	s := serve(t, func(ctx context.Context, _ *ng.Request) ng.Reply {
		started <- struct{}{}
		await(ctx, release)
		return &ng.Pong{}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := httptest.NewRequest(http.MethodPost, "/ng", strings.NewReader("c d7:command4:pinge")).WithContext(ctx)
		r.Header.Set("Content-Type", typeNG)
		s.HTTP().ServeHTTP(httptest.NewRecorder(), r)
	}()
	<-started
	cancel()
	<-done
	close(release)
	if status, body := post(t, s, "/ng", typeNG, "c d7:command4:pinge"); status != 200 || body != "c d6:result4:ponge" {
		t.Errorf("%d %q", status, body)
	}
}
