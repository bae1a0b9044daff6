package ng

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// The decoder below the bounds check allocates what a string claims to be long.
// This fails without the check.
func TestHugeStringLengthCostsNothing(t *testing.T) {
	for _, body := range []string{
		"d1:a99999999:xe",
		"d1:a2147483647:xe",
		"d99999999:x",
		"d1:ad1:bl99999999:xeee",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := DecodeRequest([]byte(body))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ReasonBadBencode) {
			t.Errorf("%s: error %v, want %v", body, err, ReasonBadBencode)
		}
		if cost := after.TotalAlloc - before.TotalAlloc; cost > 64<<10 {
			t.Errorf("%s: %d bytes allocated", body, cost)
		}
	}
}

func TestBencodeBounds(t *testing.T) {
	nested := func(n int) string {
		return "d7:command4:ping1:a" + strings.Repeat("l", n) + strings.Repeat("e", n) + "e"
	}
	many := func(n int) string { return "d7:command4:ping1:al" + strings.Repeat("0:", n) + "ee" }
	for _, c := range []struct {
		name, body string
		ok         bool
	}{
		{"ping", "d7:command4:pinge", true},
		{"line end", "d7:command4:pinge\r\n", true},
		{"empty dictionary", "de", true},
		{"negative integer", "d7:command4:ping1:ai-5ee", true},
		{"largest integer", "d7:command4:ping1:ai9223372036854775807ee", true},
		{"smallest integer", "d7:command4:ping1:ai-9223372036854775808ee", true},
		{"integer too large", "d7:command4:ping1:ai9223372036854775808ee", false},
		{"deepest", nested(MaxDepth - 1), true},
		{"too deep", nested(MaxDepth), false},
		{"very deep", "d1:a" + strings.Repeat("l", 60000), false},
		{"many elements", many(MaxElements - 3), true},
		{"too many elements", many(MaxElements - 1), false},
		{"too large", "d1:a65530:" + strings.Repeat("x", 65530) + "e", false},
		{"trailing bytes", "d7:command4:pingexx", true}, // ignored, as rtpengine does
		{"trailing dictionary", "d7:command4:pingede", true},
		{"unterminated", "d7:command4:ping", false},
		{"key without value", "d1:ae", false},
		{"integer key", "di1e1:ae", false},
		{"list key", "dle1:ae", false},
		{"string past the end", "d7:command9:pinge", false},
		{"length leading zero", "d07:command4:pinge", false},
		{"length without colon", "d7command4:pinge", false},
		{"negative length", "d-1:ae", false},
		{"length overflow", "d99999999999999999999999999:ae", false},
		{"empty integer", "d1:aiee", false},
		{"lone minus", "d1:ai-ee", false},
		{"minus zero", "d1:ai-0ee", false},
		{"integer leading zero", "d1:ai01ee", false},
		{"integer with plus", "d1:ai+1ee", false},
		{"integer not a number", "d1:ai1x2ee", false},
		{"integer of many digits", "d1:ai" + strings.Repeat("1", 1000) + "ee", false},
		{"only the start", "d", false},
	} {
		_, _, err := new(Decoder).dictionary([]byte(c.body), true)
		if (err == nil) != c.ok {
			t.Errorf("%s: error %v, want ok=%v", c.name, err, c.ok)
		}
		if err != nil && !errors.Is(err, ReasonBadBencode) {
			t.Errorf("%s: error %v does not wrap %v", c.name, err, ReasonBadBencode)
		}
	}
}

func TestJSONBounds(t *testing.T) {
	nested := func(n int) string {
		return `{"command":"ping","a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}"
	}
	for _, c := range []struct {
		name, body string
		want       error
	}{
		{"ping", `{"command":"ping"}`, nil},
		{"line end", "{\"command\":\"ping\"}\r\n", nil},
		{"deepest", nested(MaxDepth - 1), nil},
		{"too deep", nested(MaxDepth), ReasonBadJSONDictionary},
		{"very deep", `{"a":` + strings.Repeat("[", 60000), ReasonBadJSONDictionary},
		{"brackets in a string", `{"a":"` + strings.Repeat("[", 1000) + `"}`, nil},
		{"escaped quote", `{"a":"\"` + strings.Repeat("[", 1000) + `"}`, nil},
		{"too many elements", `{"a":[` + strings.Repeat("1,", MaxElements) + `1]}`, ReasonBadJSONDictionary},
		{"too large", `{"a":"` + strings.Repeat("x", MaxSize) + `"}`, ReasonBadJSONDictionary},
		{"trailing object", `{"command":"ping"}{}`, ReasonBadJSON},
		{"trailing word", `{"command":"ping"} x`, ReasonBadJSON},
		{"trailing bracket", `{"command":"ping"}}`, ReasonBadJSON},
		{"unterminated", `{"command":"ping"`, ReasonBadJSON},
		{"only the start", `{`, ReasonBadJSON},
	} {
		_, format, err := new(Decoder).dictionary([]byte(c.body), true)
		if !errors.Is(err, c.want) || (c.want == nil && err != nil) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
		if format != FormatJSON {
			t.Errorf("%s: format %d", c.name, format)
		}
	}
}

// What rtpengine answers to the same bodies.
func TestRequestErrors(t *testing.T) {
	for _, c := range []struct {
		body string
		want Reason
	}{
		{"", ReasonNoPayload},
		{"x", ReasonBadFormat},
		{"le", ReasonBadFormat},
		{" d7:command4:pinge", ReasonBadFormat},
		{"d1:ae", ReasonBadBencode},
		{"de", ReasonNoCommand},
		{"d1:a1:be", ReasonNoCommand},
		{"d7:commandi5ee", ReasonNoCommand},
		{"d7:commandlee", ReasonNoCommand},
		{"{", ReasonBadJSON},
		{"{}", ReasonNoCommand},
		{`{"command":1}`, ReasonNoCommand},
		{`{"command":"ping","x":null}`, ReasonBadBencode},
		{`{"command":"ping","x":[1.5]}`, ReasonBadBencode},
	} {
		_, _, err := DecodeRequest([]byte(c.body))
		if got := Fail(err).Reason; got != c.want {
			t.Errorf("%q: %q, want %q", c.body, got, c.want)
		}
	}
}

func TestFailKeepsReason(t *testing.T) {
	if got := Fail(fmt.Errorf("offer: %w", ReasonOutOfPorts)).Reason; got != ReasonOutOfPorts {
		t.Errorf("reason %q", got)
	}
	if got := Fail(errors.New("plain")).Reason; got != "plain" {
		t.Errorf("reason %q", got)
	}
}

func TestSplitCookie(t *testing.T) {
	cookie, body, err := SplitCookie([]byte("12_ab_3 d7:command4:pinge"))
	if err != nil || string(cookie) != "12_ab_3" || string(body) != "d7:command4:pinge" {
		t.Errorf("%q %q %v", cookie, body, err)
	}
	for _, bad := range []string{"", "x", " d", "nospace", strings.Repeat("c", MaxCookie+1) + " d"} {
		if _, _, err := SplitCookie([]byte(bad)); !errors.Is(err, ErrNoCookie) {
			t.Errorf("%.20q: error %v", bad, err)
		}
	}
}
