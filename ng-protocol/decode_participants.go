package ng

// applyParticipants applies the keys of Participants.
func (r *Request) applyParticipants(k string, v any) bool {
	p := &r.Participants
	var field *string
	var words *[]string
	switch k {
	case "address":
		field = &p.Address
	case "all":
		field = &p.All
	case "to-call-id":
		field = &p.ToCallID
	case "source-tag":
		field = &p.SourceTag
	case "source-call-id":
		field = &p.SourceCallID
	case "instance":
		field = &p.Instance
	case "from-tags":
		words = &p.FromTags
	case "calls":
		words = &p.Calls
	case "tags":
		p.Mesh = r.meshOf(v)
		return true
	default:
		return false
	}
	ok := false
	if field != nil {
		*field, ok = text(v)
	} else if items, isList := v.([]any); isList { // tags may hold commas
		var more []string
		more, ok = list(items)
		*words = append(*words, more...)
	}
	if !ok {
		r.unknown(k, v)
	}
	return true
}

// meshOf reads [{"from": tag, "to": [tags]}].
func (r *Request) meshOf(v any) []Mesh {
	items, ok := v.([]any)
	if !ok {
		r.unknown("tags", v)
		return nil
	}
	var out []Mesh
	for _, item := range items {
		entry, _ := item.(map[string]any)
		from, ok := entry["from"].(string)
		to, _ := list(entry["to"])
		if !ok || len(to) == 0 {
			r.unknown("tags", item)
			continue
		}
		out = append(out, Mesh{From: from, To: to})
	}
	return out
}
