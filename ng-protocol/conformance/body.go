package conformance

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/zeebo/bencode"
)

// encode writes a body; a key whose value is nil is left out.
func encode(keys map[string]any, isJSON bool) ([]byte, error) {
	if isJSON {
		return json.Marshal(keys)
	}
	return bencode.EncodeBytes(integers(keys))
}

// integers makes what JSON wrote as numbers fit for bencode.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = integers(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = integers(e)
		}
		return out
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		return v.String()
	}
	return v
}

// decode reads a reply in the format that its first byte tells.
func decode(body []byte) (map[string]any, error) {
	reply := map[string]any{}
	if bytes.HasPrefix(body, []byte("{")) {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		return reply, d.Decode(&reply)
	}
	return reply, bencode.DecodeBytes(body, &reply)
}
