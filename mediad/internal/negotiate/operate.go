package negotiate

import (
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
		case "global", "session":
			apply(doc.Session(), op)
		default:
			for _, section := range doc.Medias() {
				if m, _, ok := section.Media(); ok && (op.Section == "none" || op.Section == m.Type) {
					apply(section, op)
				}
			}
		}
	}
	return doc, nil
}

func apply(section *sdp.Section, op ng.SDPAttr) {
	if op.Action == "add" {
		section.Append("a=" + op.Value)
		return
	}
	for a := range section.Attributes() {
		if !strings.EqualFold(a.Line.Value, op.Value) && a.Name != op.Value {
			continue
		}
		switch op.Action {
		case "remove":
			section.Delete(a.Line)
		case "substitute":
			section.Replace(a.Line, op.With)
		}
	}
}
