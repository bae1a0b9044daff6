package ng

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// writer writes a dictionary entry by entry, in either format.
type writer struct {
	out   []byte
	json  bool
	begun bool  // the innermost container has an element, which needs a comma behind it in JSON
	err   error // the first one
}

// next goes before each key, and before each element of a list.
func (w *writer) next() {
	if w.json && w.begun {
		w.out = append(w.out, ',')
	}
	w.begun = true
}

// open begins a container, which close ends with the other one of its marks in
// JSON.
func (w *writer) open(bencode, json byte) {
	if w.json {
		bencode = json
	}
	w.out = append(w.out, bencode)
	w.begun = false
}

func (w *writer) close(json byte) {
	if !w.json {
		json = 'e'
	}
	w.out = append(w.out, json)
	w.begun = true
}

// text writes a string as it is, without what surrounds it.
func (w *writer) text(s string) {
	if !w.json {
		w.out = appendString(w.out, s)
		return
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			w.any(s)
			return
		}
	}
	w.out = append(append(append(w.out, '"'), s...), '"')
}

// any writes what a Dict may hold.
func (w *writer) any(value any) {
	var err error
	if w.json {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		err = enc.Encode(value)
		w.out = append(w.out, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
	} else if out, bencodeErr := appendBencode(w.out, value); bencodeErr != nil {
		err = bencodeErr
	} else {
		w.out = out
	}
	if w.err == nil {
		w.err = err
	}
}

// key writes the key of an entry, whose value is to follow.
func (w *writer) key(key string) {
	w.next()
	w.text(key)
	if w.json {
		w.out = append(w.out, ':')
	}
}

// entries writes those of d that have a value.
func (w *writer) entries(d Dict) {
	for i := range d {
		if d[i].Value != nil {
			w.key(d[i].Key)
			w.any(d[i].Value)
		}
	}
}

// dict writes a dictionary, whose entries inner writes.
func (w *writer) dict(inner func()) {
	w.open('d', '{')
	inner()
	w.close('}')
}

// list writes an entry that is a list, whose elements inner writes.
func (w *writer) list(key string, inner func()) {
	w.key(key)
	w.open('l', '[')
	inner()
	w.close(']')
}

func (w *writer) string(key, value string) {
	w.key(key)
	w.text(value)
}

func (w *writer) number(n uint64, negative bool) {
	if !w.json {
		w.out = append(w.out, 'i')
	}
	if negative {
		w.out = append(w.out, '-')
	}
	w.out = strconv.AppendUint(w.out, n, 10)
	if !w.json {
		w.out = append(w.out, 'e')
	}
}

func (w *writer) int(key string, value int64) {
	w.key(key)
	if value < 0 {
		w.number(-uint64(value), true)
		return
	}
	w.number(uint64(value), false)
}

func (w *writer) uint(key string, value uint64) {
	w.key(key)
	w.number(value, false)
}

// What follows leaves an entry out that has no value.

func (w *writer) optionalString(key, value string) {
	if value != "" {
		w.string(key, value)
	}
}

func (w *writer) optionalInt(key string, value int64) {
	if value != 0 {
		w.int(key, value)
	}
}

// strings writes a list, also an empty one.
func (w *writer) strings(key string, list []string) {
	w.list(key, func() {
		for _, s := range list {
			w.next()
			w.text(s)
		}
	})
}

// optionalSSRCs writes a list of synchronization sources.
func (w *writer) optionalSSRCs(key string, list []uint32) {
	if len(list) == 0 {
		return
	}
	w.list(key, func() {
		for _, id := range list {
			w.next()
			w.number(uint64(id), false)
		}
	})
}
