package ng

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/zeebo/bencode"
)

// Dict is a dictionary that keeps the order of its entries when it is written.
type Dict []Entry

// Entry is one key of a Dict. Value is a string, an integer, bool, float64,
// Dict, []Dict, []string, []any or nil (the entry is left out when written).
type Entry struct {
	Key   string
	Value any
}

// Get returns the value of key, nil if there is none.
func (d Dict) Get(key string) any {
	for i := range d {
		if d[i].Key == key {
			return d[i].Value
		}
	}
	return nil
}

// MarshalBencode writes the entries in their order. Floats become strings, as
// bencode has none.
func (d Dict) MarshalBencode() ([]byte, error) { return appendBencode(nil, d) }

// appendBencode writes what a Dict may hold without the detour by reflection;
// the library writes the rest.
func appendBencode(out []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return out, nil
	case string:
		return appendString(out, v), nil
	case int:
		return appendInteger(out, int64(v)), nil
	case int64:
		return appendInteger(out, v), nil
	case uint32:
		return appendInteger(out, int64(v)), nil
	case uint64:
		return append(strconv.AppendUint(append(out, 'i'), v, 10), 'e'), nil
	case float64:
		return appendString(out, strconv.FormatFloat(v, 'f', -1, 64)), nil
	case Dict:
		return v.appendBencode(out)
	case []Dict:
		return appendList(out, v, func(out []byte, d Dict) ([]byte, error) { return d.appendBencode(out) })
	case []string:
		return appendList(out, v, func(out []byte, s string) ([]byte, error) { return appendString(out, s), nil })
	case []any:
		return appendList(out, v, appendBencode)
	}
	b, err := bencode.EncodeBytes(value)
	return append(out, b...), err
}

func (d Dict) appendBencode(out []byte) ([]byte, error) {
	out = append(out, 'd')
	for i := range d {
		if d[i].Value == nil {
			continue
		}
		var err error
		if out, err = appendBencode(appendString(out, d[i].Key), d[i].Value); err != nil {
			return nil, err
		}
	}
	return append(out, 'e'), nil
}

func appendList[T any](out []byte, list []T, one func([]byte, T) ([]byte, error)) ([]byte, error) {
	out = append(out, 'l')
	for _, v := range list {
		var err error
		if out, err = one(out, v); err != nil {
			return nil, err
		}
	}
	return append(out, 'e'), nil
}

func appendString(out []byte, s string) []byte {
	out = strconv.AppendInt(out, int64(len(s)), 10)
	return append(append(out, ':'), s...)
}

func appendInteger(out []byte, n int64) []byte {
	return append(strconv.AppendInt(append(out, 'i'), n, 10), 'e')
}

// MarshalJSON writes the entries in their order.
func (d Dict) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteByte('{')
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	first := true
	for i := range d {
		if d[i].Value == nil {
			continue
		}
		if !first {
			buf.WriteByte(',')
		}
		first = false
		if err := enc.Encode(d[i].Key); err != nil {
			return nil, err
		}
		buf.WriteByte(':')
		if err := enc.Encode(d[i].Value); err != nil {
			return nil, err
		}
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

// sortedKeys returns the keys of a map in their order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
