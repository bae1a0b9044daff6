package conformance

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Runner plays scenarios to one daemon. The daemon is expected to have the
// interfaces that README.md names.
type Runner struct {
	Target string // udp:host:port of the ng listener
	Local  string // address of the parties' media sockets; default 127.0.0.9
	// Unordered takes no offence at another order of attributes.
	Unordered bool
}

// Event is what came back in one step, normalized.
type Event struct {
	Line  int // of the step in its file
	What  string
	Lines []string
	Want  []string       // nil if the scenario expects nothing
	Keys  map[string]any // of the reply that count
}

// Play runs one scenario and returns an event for every step that asks or
// receives. An error means that the scenario could not be played at all.
func (r Runner) Play(s Scenario) ([]Event, error) {
	l, err := dial(r.Target)
	if err != nil {
		return nil, err
	}
	defer l.close()
	p := &play{runner: r, link: l, id: strings.ToLower(rand.Text()[:12]), parties: map[string]*party{}}
	p.normal.names = map[int]string{}
	defer p.end()
	for _, step := range s.Steps {
		event, err := p.step(step)
		if err != nil {
			return p.events, fmt.Errorf("line %d: %w", step.Line, err)
		}
		if event != nil {
			event.Line = step.Line
			p.events = append(p.events, *event)
		}
	}
	return p.events, nil
}

// play is a scenario under way.
type play struct {
	runner  Runner
	link    *link
	id      string
	count   int
	last    []byte // reply to the last datagram
	normal  normalizer
	parties map[string]*party
	heard   []heard
	events  []Event
}

// end frees what the scenario has used; its calls too, so that hundreds of
// scenarios fit into a small range of ports.
func (p *play) end() {
	for _, party := range p.parties {
		party.close()
	}
	body, err := encode(map[string]any{"command": "delete", "call-id": p.id, "delete delay": json.Number("0")}, false)
	if err == nil {
		_, _ = p.link.exchange(append([]byte(p.cookie()+" "), body...), replyTime)
	}
}

func (p *play) cookie() string {
	p.count++
	return p.id + "-" + strconv.Itoa(p.count)
}

func (p *play) party(name string) (*party, error) {
	if q := p.parties[name]; q != nil {
		return q, nil
	}
	host := p.runner.Local
	if host == "" {
		host = "127.0.0.9"
	}
	q, err := newParty(host)
	if err == nil {
		p.parties[name] = q
		p.normal.names[q.port()], p.normal.names[q.port()+1] = name, name+"+1"
		for _, h := range p.heard {
			h.tell(name, q)
		}
	}
	return q, err
}

func (p *play) step(s Step) (*Event, error) {
	switch s.Kind {
	case Ask:
		return p.ask(s)
	case Raw:
		text, err := p.fill(s.Command)
		if err != nil {
			return nil, err
		}
		return p.exchange(s, []byte(strings.ReplaceAll(text, "{cookie}", p.cookie())))
	case Repeat:
		before := p.last
		event, err := p.exchange(s, p.link.last)
		if err == nil && s.Want != nil && s.Want.Result == "same" {
			event.Want, event.Lines = []string{"the same bytes"}, []string{"the same bytes"}
			if !bytes.Equal(before, p.last) {
				event.Lines = []string{"other bytes"}
			}
		}
		return event, err
	case Send:
		q, err := p.party(s.Party)
		if err != nil {
			return nil, err
		}
		if other := s.Packet["to"]; other != "" { // a stranger to that stream
			victim, err := p.party(other)
			if err != nil {
				return nil, err
			}
			q.peer, q.control = victim.peer, victim.control
		}
		return nil, q.send(s.Packet)
	}
	return p.receive(s)
}

func (p *play) receive(s Step) (*Event, error) {
	q, err := p.party(s.Party)
	if err != nil {
		return nil, err
	}
	limit := replyTime
	if s.Packet["kind"] == "nothing" {
		limit = quietTime
	}
	event := &Event{What: s.Party + " receives"}
	var got string
	if s.Kind == Connect {
		event.What = s.Party + " connects"
		got, err = q.connect(s.Packet)
	} else {
		got, err = q.receive(s.Packet, limit)
	}
	if err != nil {
		return nil, err
	}
	want, good := s.Packet["kind"], true
	if kind, _, _ := strings.Cut(got, " "); kind != want {
		good = false
	}
	for _, key := range slices.Sorted(maps.Keys(s.Packet)) {
		if text := key + "=" + s.Packet[key]; key != "kind" && key != "certificate" {
			want += " " + text
			good = good && slices.Contains(strings.Fields(got), text)
		}
	}
	if good { // what the scenario does not name does not count
		got = want
	}
	event.Lines, event.Want = []string{got}, []string{want}
	return event, nil
}

func (p *play) ask(s Step) (*Event, error) {
	keys := map[string]any{"command": s.Command, "call-id": p.id}
	if s.Party != "" {
		keys["from-tag"] = s.Party
	}
	if s.To != "" {
		keys["to-tag"] = s.To
	}
	if len(s.Body) > 0 {
		body, err := p.fill(strings.Join(s.Body, "\r\n") + "\r\n")
		if err != nil {
			return nil, err
		}
		p.normal.note(strings.ReplaceAll(body, "\r", ""))
		p.keepOwn(s, body)
		keys["sdp"] = body
	}
	for key, value := range s.Keys {
		keys[key] = value
		if text, ok := value.(string); ok {
			p.normal.note(text)
		}
		if value == nil {
			delete(keys, key)
		}
	}
	body, err := encode(keys, s.JSON)
	if err != nil {
		return nil, err
	}
	event, err := p.exchange(s, append([]byte(p.cookie()+" "), body...))
	if err != nil {
		return nil, err
	}
	p.learn(s)
	return event, nil
}

// exchange sends a datagram and compares the reply with what is wanted.
func (p *play) exchange(s Step, datagram []byte) (*Event, error) {
	limit := replyTime
	if s.Want != nil && s.Want.Result == "none" {
		limit = quietTime
	}
	event := &Event{What: "reply to " + s.Command}
	body, err := p.link.exchange(datagram, limit)
	if errors.Is(err, ErrNoReply) {
		event.Lines = []string{"result: none"}
	} else if err != nil {
		return nil, err
	} else {
		p.last = body
		reply, err := decode(body)
		if err != nil {
			return nil, fmt.Errorf("reply: %w", err)
		}
		event.Keys = counted(reply, s.Want)
		event.Lines = p.lines(reply, event.Keys)
	}
	if s.Want != nil {
		event.Want = append([]string{"result: " + s.Want.Result}, flat("", s.Want.Keys)...)
		event.Want = append(event.Want, s.Want.Body...)
	}
	return event, nil
}

// counted picks those keys of a reply that the scenario asks for, and texts.
func counted(reply map[string]any, want *Want) map[string]any {
	asked := map[string]any{}
	for _, key := range []string{"error-reason", "warning", "message"} {
		if reply[key] != nil {
			asked[key] = nil
		}
	}
	if want != nil {
		maps.Copy(asked, want.Keys)
	}
	return pick(reply, asked).(map[string]any)
}

// lines writes a reply as lines: the result, keys, and the SDP.
func (p *play) lines(reply, keys map[string]any) []string {
	list := append([]string{fmt.Sprintf("result: %v", reply["result"])}, flat("", keys)...)
	if text, ok := reply["sdp"].(string); ok {
		list = append(list, p.normal.body(text)...)
	}
	return list
}

// pick reduces a reply to the keys that asked has. "*" stands for any value,
// "<int>", "<text>", "<list>" and "<dictionary>" for one of that type; the key
// "?" is the sorted names of a dictionary's keys. A list of dictionaries is
// reduced one by one, any other is compared whole.
func pick(reply, asked any) any {
	switch asked := asked.(type) {
	case map[string]any:
		value, ok := reply.(map[string]any)
		if !ok {
			break
		}
		out := map[string]any{}
		for key, inner := range asked {
			if v, has := value[key]; has {
				out[key] = pick(v, inner)
			}
		}
		if _, names := asked["?"]; names {
			out["?"] = strings.Join(slices.Sorted(maps.Keys(value)), ", ")
		}
		return out
	case []any:
		value, ok := reply.([]any)
		if !ok || len(value) != len(asked) {
			break
		}
		out := make([]any, len(asked))
		for i := range asked {
			out[i] = pick(value[i], asked[i])
		}
		return out
	case string:
		if asked == "*" {
			return asked
		}
		if strings.HasPrefix(asked, "<") {
			return typeName(reply)
		}
	}
	return reply
}

func typeName(v any) string {
	switch v.(type) {
	case string, []byte:
		return "<text>"
	case []any:
		return "<list>"
	case map[string]any:
		return "<dictionary>"
	}
	return "<int>"
}

// flat writes dictionaries and lists as sorted lines "a.b.0: value".
func flat(prefix string, v any) []string {
	if list, ok := v.([]any); ok && len(list) > 0 {
		var lines []string
		for i, e := range list {
			lines = append(lines, flat(fmt.Sprint(prefix, i, "."), e)...)
		}
		return lines
	}
	object, ok := v.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s: %v", strings.TrimSuffix(prefix, "."), v)}
	}
	if len(object) == 0 && prefix != "" {
		return []string{strings.TrimSuffix(prefix, ".") + ": {}"}
	}
	var list []string
	for _, key := range slices.Sorted(maps.Keys(object)) {
		list = append(list, flat(prefix+key+".", object[key])...)
	}
	return list
}

// fill replaces {A} by the port of a party, {A+1} by its RTCP port, {A.ip} by
// its address, {A.fingerprint} by that of its certificate and {call} by the call-id.
func (p *play) fill(text string) (string, error) {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "{")
		out.WriteString(before)
		if !ok {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		base, suffix, _ := strings.Cut(strings.ReplaceAll(name, "+", "."), ".")
		switch {
		case closed && name == "call":
			out.WriteString(p.id)
		case closed && isParty(base):
			q, err := p.party(base)
			if err != nil {
				return "", err
			}
			switch suffix {
			case "":
				out.WriteString(strconv.Itoa(q.port()))
			case "1":
				out.WriteString(strconv.Itoa(q.port() + 1))
			case "fingerprint":
				text, err := q.fingerprint()
				if err != nil {
					return "", err
				}
				out.WriteString(text)
			default:
				out.WriteString(q.address().Addr().String())
			}
		default:
			out.WriteString("{")
			text = rest
			continue
		}
		text = after
	}
}

// heard is an SDP that the daemon has made.
type heard struct {
	receiver func(party string) bool // who receives it
	sections [][]string
}

// learn keeps the SDP of the last reply and tells its receivers where to send.
// The from-tag of an answer stays that of the offerer, who receives it.
func (p *play) learn(s Step) {
	reply, err := decode(p.last)
	text, ok := reply["sdp"].(string)
	if err != nil || !ok {
		return
	}
	h := heard{sections: splitSections(strings.Split(strings.ReplaceAll(text, "\r", ""), "\n"))}
	switch s.Command {
	case "offer":
		h.receiver = func(party string) bool { return party != s.Party && (s.To == "" || party == s.To) }
	case "subscribe request", "subscribe answer":
		h.receiver = func(party string) bool { return party == s.To }
	default:
		h.receiver = func(party string) bool { return party == s.Party }
	}
	p.heard = append(p.heard, h)
	for name, q := range p.parties {
		h.tell(name, q)
	}
}

// keepOwn notes what a party says of itself: the offerer in an offer, the other
// one in an answer.
func (p *play) keepOwn(s Step, body string) {
	author := s.Party
	if s.Command == "answer" || s.Command == "subscribe answer" {
		author = s.To
	}
	sections := splitSections(strings.Split(strings.ReplaceAll(strings.TrimSpace(body), "\r", ""), "\n"))
	for name, q := range p.parties {
		if at := streamOf(name); name[:1] == author && at < len(sections) {
			q.own = slices.Concat(sections[0], sections[at])
		}
	}
}

// streamOf is the number of the m= section of a party's stream, from 1.
func streamOf(name string) int {
	if len(name) == 2 {
		return int(name[1] - '0')
	}
	return 1
}

// tell gives the addresses in the SDP to the party if it is a receiver.
func (h heard) tell(name string, q *party) {
	if at := streamOf(name); h.receiver(name[:1]) && at < len(h.sections) {
		q.setPeer(h.sections[0], h.sections[at])
	}
}
