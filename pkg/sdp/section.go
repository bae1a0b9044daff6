package sdp

import (
	"iter"
	"slices"
	"strings"
)

// Line is a line of a section as it was received.
type Line struct {
	Index int  // in the document; the handle for edits
	Type  byte // 'c', 'a', …; 0 for a line that is not of the form x=…
	Value string
}

// Lines yields the lines of the section as received, without those deleted.
// A replaced line is yielded with its new value. Inserted lines are not
// yielded.
func (s *Section) Lines() iter.Seq[Line] {
	return func(yield func(Line) bool) {
		for i := s.first; i < s.last; i++ {
			l := &s.doc.lines[i]
			if l.deleted {
				continue
			}
			if !yield(Line{Index: i, Type: l.typ, Value: s.doc.value(l)}) {
				return
			}
		}
	}
}

// value is what follows "x=", or the whole of a line without it.
func (d *Document) value(l *line) string {
	text := l.text
	if !l.replaced {
		text = d.src[l.start:l.end]
	}
	if l.typ != 0 {
		return text[2:]
	}
	return text
}

// First returns the first line of type typ.
func (s *Section) First(typ byte) (Line, bool) {
	for l := range s.Lines() {
		if l.Type == typ {
			return l, true
		}
	}
	return Line{}, false
}

// Attribute is an a= line.
type Attribute struct {
	Line
	Name  string // case-sensitive (RFC 8866 §5.13)
	Value string // what follows the colon
	Flag  bool   // no colon
}

// Attribute splits an a= line; false for any other.
func (l Line) Attribute() (Attribute, bool) {
	if l.Type != 'a' {
		return Attribute{}, false
	}
	name, value, found := strings.Cut(l.Value, ":")
	if !found {
		name = strings.TrimRight(name, " \t")
	}
	return Attribute{Line: l, Name: name, Value: value, Flag: !found}, true
}

// Attributes yields the a= lines of the section. With names, only those.
func (s *Section) Attributes(names ...string) iter.Seq[Attribute] {
	return func(yield func(Attribute) bool) {
		for l := range s.Lines() {
			a, ok := l.Attribute()
			if !ok || len(names) > 0 && !slices.Contains(names, a.Name) {
				continue
			}
			if !yield(a) {
				return
			}
		}
	}
}

// Attribute returns the first a= line with one of the names.
func (s *Section) Attribute(names ...string) (Attribute, bool) {
	for a := range s.Attributes(names...) {
		return a, true
	}
	return Attribute{}, false
}

// Replace sets the value of line (what follows "x="). Line breaks in value are
// cut off together with what follows them; a line of which nothing is left goes.
func (s *Section) Replace(line Line, value string) {
	l := &s.doc.lines[line.Index]
	if l.typ != 0 {
		value = string(l.typ) + "=" + value
	}
	l.text, l.replaced = oneLine(value), true
	s.doc.forget(line.Index)
	l.deleted = l.deleted || l.text == "" // a blank line would end the body
}

// Delete drops line. Lines inserted behind it stay.
func (s *Section) Delete(line Line) {
	s.doc.lines[line.Index].deleted = true
	s.doc.forget(line.Index)
}

// InsertAfter puts text ("a=mid:0") behind line and whatever was inserted
// there before.
func (s *Section) InsertAfter(line Line, text string) {
	l := &s.doc.lines[line.Index]
	l.after = append(l.after, oneLine(text))
}

// Append puts text at the end of the section.
func (s *Section) Append(text string) {
	at := s.last - 1
	if at < s.first {
		s.head = append(s.head, oneLine(text))
		return
	}
	l := &s.doc.lines[at]
	if l.after == nil {
		l.after = make([]string, 0, usualAdditions)
	}
	l.after = append(l.after, oneLine(text))
}

// usualAdditions is how many lines are added to most sections, or less.
const usualAdditions = 8

// oneLine keeps an edit from smuggling in further lines.
func oneLine(text string) string {
	if n := strings.IndexAny(text, "\r\n"); n >= 0 {
		return text[:n]
	}
	return text
}

// Drop takes the whole section out of what is emitted, with all that was
// inserted.
func (s *Section) Drop() {
	for i := s.first; i < s.last; i++ {
		s.doc.lines[i].deleted, s.doc.lines[i].after = true, nil
		s.doc.forget(i)
	}
}

// Holds reports whether text ("a=mid:0") is one of the lines that are emitted.
func (s *Section) Holds(text string) bool {
	text = oneLine(text)
	if slices.Contains(s.head, text) {
		return true
	}
	for i := s.first; i < s.last; i++ {
		l := &s.doc.lines[i]
		line := l.text
		if !l.replaced {
			line = s.doc.src[l.start:l.end]
		}
		if !l.deleted && line == text || slices.Contains(l.after, text) {
			return true
		}
	}
	return false
}
