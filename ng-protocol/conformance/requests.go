package conformance

import (
	"fmt"
	"math/rand/v2"
)

// commandNames are the commands that need no decoded audio, and some that are none.
func commandNames() []string {
	return []string{
		"ping", "offer", "answer", "delete", "query", "list", "block media", "unblock media", "silence media", "unsilence media", "block DTMF", "unblock DTMF",
		"start forwarding", "stop forwarding", "subscribe request", "subscribe answer", "unsubscribe", "publish", "Ping", "offer ", "", "no such command",
	}
}

// strange are values of types and contents that a key does not expect.
func strange() []any {
	return []any{
		0, 1, -1, 9007199254740991, "", "0", "A", "off", "yes", []any{}, []any{"A", "B"}, []any{[]any{}}, []any{7}, map[string]any{}, map[string]any{"a": map[string]any{"b": []any{"c"}}},
		"\x00", "a=b", "IP4", "ä\r\nm=audio 0 RTP/AVP 0", "all", "v=0\r\n",
	}
}

// selectors are the keys that choose a call or its parties.
func selectors() []choice {
	return []choice{
		{"from-tag", 6, []any{"A", "B", "Z", ""}}, {"to-tag", 4, []any{"A", "B", "S", ""}}, {"label", 2, []any{"caller", "nobody"}}, {"address", 2, []any{"127.0.0.9", "203.0.113.99", "x"}},
		{"via-branch", 2, []any{"one", "two"}}, {"all", 1, []any{"yes", "none", "offer-answer", "flows"}}, {"from-tags", 2, []any{[]any{"A"}, []any{"A", "B"}, []any{"Z"}}},
		{"flags", 5, []any{[]any{"directional"}, []any{"all"}, []any{"fatal"}, []any{"to-tag"}, []any{"fast"}, []any{"unsubscribe"}}}, {"limit", 1, []any{0, 1, "2"}},
		{"delete delay", 1, []any{0, "0"}},
	}
}

// Requests makes sequence number n of commands of all kinds, with keys that
// belong to them and with keys and types that do not. Half of them begin with
// an established call.
func (g Generator) Requests(n int) Scenario {
	d := draw{rand.New(rand.NewPCG(g.Seed, uint64(n)))}
	s := Scenario{Name: fmt.Sprintf("commands: %d of seed %d", n, g.Seed)}
	o := d.description(plain, []section{{kind: "audio", port: "{P}", protocol: "RTP/AVP", formats: []string{"0"}}})
	add := func(command, from, to string, keys map[string]any, body []string) {
		s.Steps = append(s.Steps, Step{Kind: Ask, Line: len(s.Steps) + 1, Command: command, Party: from, To: to, Keys: keys, Body: body, JSON: d.one(6)})
	}
	if d.one(2) {
		add("offer", "A", "", map[string]any{"label": "caller"}, d.write(o, "A"))
		add("answer", "A", "B", map[string]any{}, d.write(o, "B"))
	}
	for range 1 + d.IntN(4) {
		command := pickOne(d, commandNames())
		keys := map[string]any{}
		for range d.IntN(3) {
			c := pickOne(d, selectors())
			keys[c.key] = pickOne(d, c.values)
		}
		for range d.IntN(3) {
			c := pickOne(d, offerKeys())
			keys[c.key] = d.value(c)
		}
		if d.one(3) {
			keys[pickOne(d, append(selectors(), offerKeys()...)).key] = pickOne(d, strange())
		}
		var body []string
		switch command {
		case "offer", "answer", "publish", "subscribe answer":
			if !d.one(5) {
				body = d.write(o, pickOne(d, []string{"A", "B"}))
			}
		}
		from, to := "", ""
		if d.one(2) {
			from = pickOne(d, []string{"A", "B"})
		}
		if d.one(3) && from != "" {
			to = pickOne(d, []string{"A", "B", "S"})
		}
		add(command, from, to, keys, body)
	}
	return s
}
