package teardown

import (
	"bytes"
	"encoding/xml"
)

// requests returns the bodies of what is to be called for a call.
func (f Format) requests(c Call) [][]byte {
	var out [][]byte
	switch f {
	case SEMS:
		for _, p := range c.Parties {
			if p.Tag != "" {
				out = append(out, methodCall("di", "sbc", "postControlCmd", p.Tag, "teardown"))
			}
		}
	case CallIDOnly:
		out = append(out, methodCall("teardown", c.ID))
	case Kamailio:
		asked := make(map[Party]bool)
		for _, p := range c.Parties {
			if p.Tag == "" || p.Peer == "" || asked[Party{Tag: p.Peer, Peer: p.Tag}] {
				continue
			}
			asked[p] = true
			out = append(out, methodCall("dlg.terminate_dlg", c.ID, p.Tag, p.Peer))
		}
	}
	return out
}

// methodCall writes a call of XML-RPC whose arguments are texts.
func methodCall(method string, args ...string) []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodCall>\r\n<methodName>" + method + "</methodName>\r\n<params>\r\n")
	for _, a := range args {
		b.WriteString("<param><value><string>")
		_ = xml.EscapeText(&b, []byte(a)) // a buffer takes everything
		b.WriteString("</string></value></param>\r\n")
	}
	b.WriteString("</params>\r\n</methodCall>\r\n")
	return b.Bytes()
}
