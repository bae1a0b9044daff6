package request

import (
	"errors"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func TestSetRoutes(t *testing.T) {
	req := sample()
	SetRoutes(req, []string{"<sip:a;lr>", "<sip:b;lr>"})
	SetRoutes(req, []string{`"x, y" <sip:c;lr>`, "<sip:d>"})
	routes, err := Routes(req)
	if err != nil || len(routes) != 2 || routes[0].URI.Host != "c" || routes[0].Display != "x, y" || routes[1].URI.Host != "d" {
		t.Errorf("%+v %v", routes, err)
	}
	if SetRoutes(req, nil); len(req.GetHeaders("Route")) != 0 {
		t.Error("routes are left")
	}
}

// sipgo reads ":x" as a URI without scheme and writes it as "sip:x".
func TestURINeedsItsScheme(t *testing.T) {
	var uri sip.Uri
	for _, s := range []string{":;0", ":000", "a", "", "1sip:a@b", "s ip:a@b", "*"} {
		if err := ParseURI(s, &uri); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"sip:a@b", "tel:+1", "urn:service:sos"} {
		uri = sip.Uri{}
		if err := ParseURI(s, &uri); err != nil || uri.String() != s {
			t.Errorf("%q: %v, written %q", s, err, uri.String())
		}
	}
}

func TestHostPort(t *testing.T) {
	for in, want := range map[string]struct {
		host string
		port int
	}{"h:5060": {"h", 5060}, "[::1]:5061": {"::1", 5061}, "h": {"h", 0}, "h:x": {"h", 0}} {
		if host, port := HostPort(in); host != want.host || port != want.port {
			t.Errorf("%s: %s %d", in, host, port)
		}
	}
}
