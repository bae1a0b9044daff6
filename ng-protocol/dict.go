package ng

import (
	"bytes"
	"encoding/json"
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
func (d Dict) MarshalBencode() ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteByte('d')
	enc := bencode.NewEncoder(&buf)
	for i := range d {
		value := d[i].Value
		if value == nil {
			continue
		}
		if f, ok := value.(float64); ok {
			value = strconv.FormatFloat(f, 'f', -1, 64)
		}
		if err := enc.Encode(d[i].Key); err != nil {
			return nil, err
		}
		if err := enc.Encode(value); err != nil {
			return nil, err
		}
	}
	buf.WriteByte('e')
	return buf.Bytes(), nil
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
