package settings

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestEveryOptionIsDocumented: docs/mediad.md names every option, those
// without effect in the table of such options and only there.
func TestEveryOptionIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/mediad.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## Options\n")
	options1, _, ok2 := strings.Cut(rest, "\n## ")
	works, idle, ok3 := strings.Cut(options1, "\n### Accepted without effect\n")
	if !ok || !ok2 || !ok3 {
		t.Fatal("docs/mediad.md is not divided as expected")
	}
	for _, o := range options() {
		name := "`" + o.long + "`"
		if sub, ok := strings.CutPrefix(o.long, "log-level-"); ok && sub != "core" {
			name = "`-" + sub + "`"
		}
		place, other := works, idle
		if o.effect != effective {
			place, other = idle, works
		}
		if !strings.Contains(place, name) {
			t.Errorf("%s is not documented", o.long)
		}
		if strings.Contains(other, name) && o.long != "listen-tcp" {
			t.Errorf("%s is documented in the wrong place", o.long)
		}
		if o.short != 0 && o.effect == effective && !strings.Contains(works, "`-"+string(o.short)+"`") {
			t.Errorf("-%c is not documented", o.short)
		}
	}
}

// TestSampleIsRightWhereItIsAComment reads deploy/mediad.conf with all that is
// only shown there.
func TestSampleIsRightWhereItIsAComment(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/mediad.conf")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile(`(?m)^# (\[[a-z-]+\]|[A-Za-z-]+ = .*)$`).ReplaceAllString(string(text), "$1")
	s, err := Load([]string{"--config-file=" + writeFile(t, shown)})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Notes) > 0 || len(s.Control.Templates) != 2 || len(s.Network.Interfaces) < 5 {
		t.Errorf("notes %v, templates %v, interfaces %v", s.Notes, s.Control.Templates, s.Network.Interfaces)
	}
}
