package ng

import (
	"slices"
	"strconv"
	"strings"
)

// requestFields decodes a body into the entries of its dictionary, sorted; of
// equal keys the last one counts.
func (d *Decoder) requestFields(body []byte) (Dict, Format, error) {
	if end, err := bencodeEnd(body); err == nil {
		if fields, ok := flat(string(body[:end])); ok {
			return sortedFields(fields), FormatBencode, nil
		}
	}
	m, format, err := d.dictionary(body, true)
	if err != nil {
		return nil, format, err
	}
	return fieldsOf(m), format, nil
}

func fieldsOf(m map[string]any) Dict {
	fields := make(Dict, 0, len(m))
	for k, v := range m {
		fields = append(fields, Entry{k, v})
	}
	return sortedFields(fields)
}

func sortedFields(fields Dict) Dict {
	slices.SortStableFunc(fields, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	last := fields[:0]
	for i := range fields {
		if i+1 == len(fields) || fields[i+1].Key != fields[i].Key {
			last = append(last, fields[i])
		}
	}
	return last
}

// usualFields is how many entries requests have, or less.
const usualFields = 14

// flat decodes a dictionary of strings, integers and lists of these, which is
// what nearly all requests are, at a fraction of what the library needs for it.
// False leaves any other one to the library. The text has passed the bounds
// check, so that all lengths in it are right.
func flat(text string) (Dict, bool) {
	r := flatReader{text, 1}
	fields := make(Dict, 0, usualFields)
	for !r.end() {
		key := r.str()
		value, ok := r.value(true)
		if !ok {
			return nil, false
		}
		fields = append(fields, Entry{key, value})
	}
	return fields, true
}

// flatReader reads one value after the other.
type flatReader struct {
	text string
	pos  int
}

// end passes over the end of a container, if that is next.
func (r *flatReader) end() bool {
	if r.text[r.pos] != 'e' {
		return false
	}
	r.pos++
	return true
}

func (r *flatReader) str() string {
	n := 0
	for ; r.text[r.pos] != ':'; r.pos++ {
		n = n*10 + int(r.text[r.pos]-'0')
	}
	start := r.pos + 1
	r.pos = start + n
	return r.text[start:r.pos]
}

func (r *flatReader) value(list bool) (any, bool) {
	switch r.text[r.pos] {
	case 'i':
		start := r.pos + 1
		r.pos += strings.IndexByte(r.text[r.pos:], 'e') + 1
		n, err := strconv.ParseInt(r.text[start:r.pos-1], 10, 64)
		return n, err == nil
	case 'd':
		return nil, false
	case 'l':
		if !list {
			return nil, false
		}
		r.pos++
		var values []any // nil if there are none, as the library has it
		for !r.end() {
			v, ok := r.value(false)
			if !ok {
				return nil, false
			}
			values = append(values, v)
		}
		return values, true
	}
	return strings.Clone(r.str()), true // so that who keeps it does not keep the whole message
}
