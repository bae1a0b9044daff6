package sdp

import (
	"errors"
	"fmt"
	"strings"
)

// ErrSyntax is the error of Check.
var ErrSyntax = errors.New("sdp: syntax")

// Line types that a body may hold (RFC 8866 §5).
const (
	sessionTypes = "vosiuepcbtrzkam"
	mediaTypes   = "iuepcbtrzka"
)

// Check reports what a strict reader would refuse: lines that are not of the
// form x=…, unknown types, o=, c= and m= lines that cannot be read, a second
// o= or a second c= line in one section. What it lets pass is what rtpengine
// lets pass. The error wraps ErrSyntax.
func (d *Document) Check() error {
	sections := append([]*Section{&d.session}, d.medias...)
	for i, s := range sections {
		if err := s.check(i > 0); err != nil {
			return err
		}
	}
	return nil
}

func (s *Section) check(media bool) error {
	var origins, connections int
	for l := range s.Lines() {
		ok := true
		switch {
		case l.Type == 'v':
			ok = l.Index == s.first && l.Value == "0"
		case l.Type == 'o':
			origins++
			ok = origins == 1 && strings.Count(l.Value, " ") >= 5
		case l.Type == 'c':
			connections++
			ok = connections == 1 && checkConnection(l.Value)
		case l.Type == 'm':
			_, ok = ParseMedia(l.Value)
			name, _, _ := strings.Cut(l.Value, " ")
			ok = ok && name != "" && !strings.Contains(name, "\t")
		}
		types := sessionTypes
		if media && l.Index > s.first {
			types = mediaTypes
		}
		if l.Type == 0 || !ok || strings.IndexByte(types, l.Type) < 0 {
			return fmt.Errorf("%w: line %d", ErrSyntax, l.Index+1)
		}
	}
	return nil
}

// checkConnection wants an address, not a name, of the family that the line
// says.
func checkConnection(value string) bool {
	f := strings.Split(value, " ")
	if len(f) < 3 || f[0] != "IN" {
		return false
	}
	ip, ok := Address{f[0], f[1], f[2]}.IP()
	switch {
	case !ok:
		return false
	case strings.Contains(f[2], ":"):
		return f[1] == "IP6"
	}
	return f[1] == "IP4" && ip.Is4()
}
