package negotiate

import (
	"slices"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// operate applies the attribute operations of "sdp-attr" to body, which has been
// rewritten.
func operate(body []byte, operations []ng.SDPAttr) (*sdp.Document, error) {
	doc, err := sdp.Parse(body)
	if err != nil {
		return nil, err
	}
	for _, op := range operations {
		switch op.Section {
		case "none", "global", "session":
			apply(doc.Session(), op)
			continue
		}
		for _, section := range doc.Medias() {
			if m, _, ok := section.Media(); ok && op.Section == m.Type {
				apply(section, op)
			}
		}
	}
	return doc, nil
}

// apply does one operation. Its value names a whole attribute, or with or
// without a colon behind it all attributes of a name. What is there already is
// not added.
func apply(section *sdp.Section, op ng.SDPAttr) {
	if op.Action == "add" {
		if line := "a=" + op.Value; !section.Holds(line) {
			section.Append(line)
		}
		return
	}
	for a := range section.Attributes() {
		switch whole := a.Line.Value == op.Value; {
		case !whole && a.Name != strings.TrimSuffix(op.Value, ":"):
		case op.Action == "remove":
			section.Delete(a.Line)
		case op.Action == "substitute":
			section.Replace(a.Line, op.With)
		}
	}
}

// hides reports whether media i of an offer is kept from the receiver by
// "sdp-media-remove".
func (p *Plan) hides(i int) bool {
	return p.req.Command != ng.CommandAnswer && slices.Contains(p.req.SDPMediaRemove, strings.ToLower(p.From.Sides[i].Remote.Type))
}

// withHidden gives the body of a party the m= lines that it has not been told
// of: refused ones, at the places where the other party has them.
func withHidden(body string, from, to *Party) string {
	if !slices.ContainsFunc(from.Sides, func(s Side) bool { return s.Local.Hidden }) {
		return body
	}
	session, _, _ := strings.Cut(body, "\nm=")
	var b strings.Builder
	i := 0
	hidden := func() {
		for ; i < len(from.Sides) && i < len(to.Sides) && from.Sides[i].Local.Hidden; i++ {
			r := &to.Sides[i].Remote
			m := sdp.Media{Type: r.Type, Count: 1, Protocol: r.Protocol, Formats: formats(r.Payloads)}
			if len(m.Formats) == 0 {
				m.Formats = []string{"*"}
			}
			b.WriteString("m=" + m.String() + "\r\n")
			if !strings.Contains(session, "\nc=") { // every media has an address
				b.WriteString("c=IN IP4 0.0.0.0\r\n")
			}
		}
	}
	for line := range strings.Lines(body) {
		if strings.TrimRight(line, "\r\n") == "" {
			break
		}
		if strings.HasPrefix(line, "m=") {
			hidden()
			i++
		}
		b.WriteString(line)
	}
	hidden()
	return b.String()
}

// hiddenFrom drops the medias that the receiver is not told of from a body
// that has been rewritten.
func hiddenFrom(doc *sdp.Document, to *Party) {
	for i, section := range doc.Medias() {
		if to.Sides[i].Local.Hidden {
			section.Drop()
		}
	}
}
