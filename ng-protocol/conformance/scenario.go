package conformance

import (
	"bufio"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed scenarios
var files embed.FS

// ErrSyntax means that a scenario file could not be read; the text that wraps
// it names file and line.
var ErrSyntax = errors.New("conformance: bad scenario")

// Kind tells what a Step does.
type Kind uint8

// Kinds of steps.
const (
	Ask     Kind = iota // a command to the daemon
	Raw                 // bytes to the daemon as they are
	Repeat              // the last datagram once more
	Send                // a packet from a party
	Receive             // a packet that a party must get
	Connect             // a DTLS handshake of a party
)

// Scenario is one sequence of steps with a call-id of its own.
type Scenario struct {
	Name  string // area/file: title
	Text  string // what it shows
	Steps []Step
}

// Step is one exchange with the daemon or one packet.
type Step struct {
	Kind    Kind
	Line    int    // in its file
	JSON    bool   // Ask: a JSON body instead of bencode
	Command string // Ask; Raw: the whole body
	Party   string // Ask: the from-tag; Send, Receive: who
	To      string // Ask: the to-tag
	Keys    map[string]any
	Body    []string          // Ask: lines of the SDP
	Packet  map[string]string // Send, Receive, Connect; "kind" is rtp, rtcp, srtp, srtcp, stun, dtls or nothing
	Want    *Want             // Ask, Raw, Repeat; nil = nothing is expected of the reply
}

// Want is the expected reply.
type Want struct {
	Result string // value of "result", or "none" (no reply), or "same"
	Keys   map[string]any
	Body   []string // of the SDP, with placeholders
}

// Builtin returns the scenarios that come with the package.
func Builtin() ([]Scenario, error) {
	root, err := fs.Sub(files, "scenarios")
	if err != nil {
		return nil, err
	}
	return Load(root)
}

// Load reads all *.txt files below the root of folder.
func Load(folder fs.FS) ([]Scenario, error) {
	var all []Scenario
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".txt" {
			return err
		}
		f, err := folder.Open(name)
		if err != nil {
			return err
		}
		list, err := Parse(strings.TrimSuffix(name, ".txt"), f)
		all = append(all, list...)
		return errors.Join(err, f.Close())
	})
	return all, err
}

// Parse reads one scenario file; name stands before the titles.
func Parse(name string, r io.Reader) ([]Scenario, error) {
	p := parser{name: name}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		p.line++
		if err := p.read(strings.TrimRight(lines.Text(), " \r")); err != nil {
			return nil, fmt.Errorf("%w: %s.txt:%d: %w", ErrSyntax, name, p.line, err)
		}
	}
	return p.list, lines.Err()
}

type parser struct {
	name string
	line int
	list []Scenario
	body *[]string // where indented lines go
}

func (p *parser) read(line string) error {
	if title, ok := strings.CutPrefix(line, "## "); ok {
		p.list = append(p.list, Scenario{Name: p.name + ": " + title})
		p.body = nil
		return nil
	}
	if len(p.list) == 0 {
		return nil // prose about the whole file
	}
	s := &p.list[len(p.list)-1]
	if body, ok := strings.CutPrefix(line, "    "); ok {
		if p.body == nil {
			return errors.New("a body belongs below a request or reply")
		}
		*p.body = append(*p.body, body)
		return nil
	}
	word, rest, _ := strings.Cut(line, " ")
	party, verb := word, ""
	if fields := strings.Fields(rest); len(fields) > 0 {
		verb = fields[0]
	}
	switch {
	case word == ">" || word == ">json":
		return p.request(s, rest, word == ">json")
	case word == "raw":
		s.Steps = append(s.Steps, Step{Kind: Raw, Line: p.line, Command: rest})
	case line == "again":
		s.Steps = append(s.Steps, Step{Kind: Repeat, Line: p.line})
	case word == "<":
		return p.reply(s, rest)
	case isParty(party) && (verb == "sends" || verb == "receives" || verb == "connects"):
		return p.packet(s, party, strings.Fields(rest))
	case len(s.Steps) == 0:
		s.Text = strings.TrimSpace(s.Text + "\n" + line)
	case line != "":
		return fmt.Errorf("not understood: %q", line)
	}
	return nil
}

func isParty(word string) bool {
	return len(word) >= 1 && len(word) <= 2 && word[0] >= 'A' && word[0] <= 'Z' && (len(word) == 1 || word[1] >= '1' && word[1] <= '9')
}

func (p *parser) request(s *Scenario, text string, isJSON bool) error {
	s.Steps = append(s.Steps, Step{Kind: Ask, Line: p.line, JSON: isJSON})
	step := &s.Steps[len(s.Steps)-1]
	p.body = &step.Body
	head, keys, err := splitKeys(text)
	if err != nil {
		return err
	}
	step.Keys = keys
	words := strings.Fields(head)
	if n := len(words); n > 0 && isParty(words[n-1]) {
		step.Party, words = words[n-1], words[:n-1]
		if n := len(words); n > 0 && isParty(words[n-1]) {
			step.Party, step.To, words = words[n-1], step.Party, words[:n-1]
		}
	}
	if len(words) == 0 {
		return errors.New("no command")
	}
	step.Command = strings.Join(words, " ")
	return nil
}

func (p *parser) reply(s *Scenario, text string) error {
	if len(s.Steps) == 0 || s.Steps[len(s.Steps)-1].Kind > Repeat {
		return errors.New("a reply belongs below a request")
	}
	step := &s.Steps[len(s.Steps)-1]
	head, keys, err := splitKeys(text)
	if err != nil {
		return err
	}
	if head == "" || step.Want != nil {
		return errors.New("one result is expected")
	}
	step.Want = &Want{Result: head, Keys: keys}
	p.body = &step.Want.Body
	return nil
}

func (p *parser) packet(s *Scenario, party string, words []string) error {
	p.body = nil
	step := Step{Kind: Send, Line: p.line, Party: party, Packet: map[string]string{}}
	switch words[0] {
	case "receives":
		step.Kind = Receive
	case "connects":
		step.Kind = Connect
	}
	if len(words) < 2 {
		return errors.New("no kind of packet")
	}
	switch kind := words[1]; {
	case step.Kind == Connect && kind == "dtls", step.Kind == Receive && kind == "nothing":
	case step.Kind != Connect && slices.Contains([]string{"rtp", "rtcp", "srtp", "srtcp", "stun"}, kind):
	default:
		return fmt.Errorf("%s cannot be what a party %s", kind, words[0])
	}
	step.Packet["kind"] = words[1]
	for _, w := range words[2:] {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			return fmt.Errorf("not key=value: %q", w)
		}
		step.Packet[key] = value
	}
	s.Steps = append(s.Steps, step)
	return nil
}

// splitKeys splits "words {json}".
func splitKeys(text string) (string, map[string]any, error) {
	head, object, found := strings.Cut(text, "{")
	keys := map[string]any{}
	if !found {
		return strings.TrimSpace(text), keys, nil
	}
	d := json.NewDecoder(strings.NewReader("{" + object))
	d.UseNumber()
	if err := d.Decode(&keys); err != nil {
		return "", nil, fmt.Errorf("keys: %w", err)
	}
	return strings.TrimSpace(head), keys, nil
}
