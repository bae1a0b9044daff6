package chart

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// elements parses a document and counts its elements by name.
func elements(t *testing.T, doc []byte) map[string]int {
	t.Helper()
	count := make(map[string]int)
	for decoder := xml.NewDecoder(strings.NewReader(string(doc))); ; {
		token, err := decoder.Token()
		if err == io.EOF {
			return count
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if start, is := token.(xml.StartElement); is {
			count[start.Name.Local]++
		}
	}
}

func TestChartsAreDocumentsWithAllPoints(t *testing.T) {
	lines := Chart{Title: "a < b", X: "x", Y: "y", Log: true, Series: []Series{
		{Name: "one", Points: []Point{{10, 1}, {100, 7}, {1000, 3}}}, {Name: "two", Points: []Point{{10, 2}}}, {Name: "none"},
	}}
	if n := elements(t, lines.SVG())["circle"]; n != 4 {
		t.Errorf("%d points, want 4", n)
	}
	bars := Chart{Title: "bars", Groups: []string{"p", "q"}, Series: []Series{{Name: "one", Points: []Point{{0, 1}, {1, 2500}}}}}
	if n := elements(t, bars.SVG())["title"]; n != 2 {
		t.Errorf("%d bars, want 2", n)
	}
	if !strings.Contains(string(bars.SVG()), "2.5k") {
		t.Error("a bar lacks its value")
	}
	elements(t, (&Chart{}).SVG())
}
