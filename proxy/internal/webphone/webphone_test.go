package webphone

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func built() fstest.MapFS {
	return fstest.MapFS{
		"index.html": {Data: []byte("<!doctype html>page")}, "app.js": {Data: []byte("script")},
		"style.css": {Data: []byte("style")}, ".gitkeep": {}, "secret.txt": {Data: []byte("x")},
	}
}

func get(t *testing.T, h http.Handler, method, host, path string) *httptest.ResponseRecorder {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, "https://x"+path, nil)
	r.Host = host
	h.ServeHTTP(w, r)
	return w
}

func TestPageAndConfig(t *testing.T) {
	h := handler(built(), Config{Domain: "example.org", Users: []User{{"alice", "pw", "Alice"}}, Dial: []Suggestion{{"600", "Echo"}}})
	for path, kind := range map[string]string{"/": "text/html; charset=utf-8", "/app.js": "text/javascript; charset=utf-8", "/style.css": "text/css; charset=utf-8"} {
		w := get(t, h, "GET", "localhost:8443", path)
		require.Equal(t, 200, w.Code, path)
		require.Equal(t, kind, w.Header().Get("Content-Type"), path)
	}
	w := get(t, h, "GET", "localhost:8443", "/config.json")
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	var got Config
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Equal(t, Config{"example.org", "/ws", []User{{"alice", "pw", "Alice"}}, []Suggestion{{"600", "Echo"}}}, got)
	for _, path := range []string{"/secret.txt", "/.gitkeep", "/x/", "/../webphone.go"} {
		require.NotEqual(t, 200, get(t, h, "GET", "localhost", path).Code, path)
	}
	require.Equal(t, 405, get(t, h, "POST", "localhost", "/config.json").Code)
}

func TestConfigHidesNothingAndInventsNothing(t *testing.T) {
	w := get(t, handler(built(), Config{Domain: "example.org", WSPath: "/sip"}), "GET", "localhost", "/config.json")
	require.JSONEq(t, `{"domain":"example.org","wsPath":"/sip"}`, w.Body.String())
}

func TestEveryAnswerIsSecured(t *testing.T) {
	for name, h := range map[string]http.Handler{"built": handler(built(), Config{}), "not built": handler(fstest.MapFS{".gitkeep": {}}, Config{})} {
		for host, connect := range map[string]string{
			"localhost:8443": "connect-src 'self' wss://localhost:8443;", "[::1]:8443": "connect-src 'self' wss://[::1]:8443;",
			"evil; script-src *": "connect-src 'self';", "a b": "connect-src 'self';", "": "connect-src 'self';",
		} {
			for _, path := range []string{"/", "/config.json", "/missing"} {
				header := get(t, h, "GET", host, path).Header()
				require.Contains(t, header.Get("Content-Security-Policy"), connect, name+path)
				require.Contains(t, header.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self';")
				require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
				require.Equal(t, "no-referrer", header.Get("Referrer-Policy"))
				require.Contains(t, header.Get("Permissions-Policy"), "microphone=(self)")
			}
		}
	}
}

func TestWithoutBuildItSaysHow(t *testing.T) {
	for _, path := range []string{"/", "/app.js", "/config.json"} {
		w := get(t, handler(fstest.MapFS{".gitkeep": {}}, Config{}), "GET", "localhost", path)
		require.Equal(t, 503, w.Code)
		require.Contains(t, w.Body.String(), "make webphone")
	}
}

func TestEmbeddedHandlerAnswers(t *testing.T) {
	require.Contains(t, []int{200, 503}, get(t, Handler(Config{}), "GET", "localhost", "/").Code)
}
