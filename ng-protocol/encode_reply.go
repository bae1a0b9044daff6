package ng

const (
	resultOK        = "ok"
	resultPong      = "pong"
	resultError     = "error"
	resultLoadLimit = "load limit"
)

func (*Pong) write(w *writer) { w.string("result", resultPong) }

func (r *Ack) write(w *writer) {
	w.optionalString("warning", r.Warning)
	w.string("result", resultOK)
}

func (r *Failure) write(w *writer) {
	w.string("result", resultError)
	w.string("error-reason", string(r.Reason))
}

func (r *LoadLimit) write(w *writer) {
	w.string("result", resultLoadLimit)
	w.string("message", string(r.Message))
}

func (r *SDPReply) write(w *writer) {
	w.optionalString("sdp", r.SDP)
	w.optionalString("warning", r.Warning)
	w.string("result", resultOK)
}

func (r *CallReply) write(w *writer) {
	if r.Call != nil {
		r.Call.write(w)
	}
	w.optionalString("warning", r.Warning)
	w.string("result", resultOK)
}

func (r *ListReply) write(w *writer) {
	w.strings("calls", r.Calls)
	w.string("result", resultOK)
}

func (r *StatisticsReply) write(w *writer) {
	w.entries(Dict{{"statistics", r.Statistics}, {"result", resultOK}})
}

func (r *SubscribeReply) write(w *writer) {
	d := Dict{optional("sdp", r.SDP)}
	if len(r.FromTags) == 1 {
		d = append(d, Entry{"from-tag", r.FromTags[0]})
	}
	if len(r.TagMedias) > 0 {
		var tags []Dict
		labels := make(map[string]Dict)
		for i := range r.TagMedias {
			t := &r.TagMedias[i]
			tags = append(tags, t.dict())
			for _, m := range t.Medias {
				labels[m.Label] = Dict{
					{"tag", t.Tag}, {"index", m.Index}, {"type", m.Type}, optional("label", t.Label), {"mode", m.Mode},
				}
			}
		}
		var byLabel Dict
		for _, label := range sortedKeys(labels) {
			byLabel = append(byLabel, Entry{label, labels[label]})
		}
		d = append(d, Entry{"tag-medias", tags}, Entry{"media-labels", byLabel})
	}
	if len(r.FromTags) > 0 {
		d = append(d, Entry{"from-tags", r.FromTags})
	}
	w.entries(append(d, optional("to-tag", r.ToTag), Entry{"result", resultOK}))
}

func (t *TagMedias) dict() Dict {
	var medias []Dict
	for _, m := range t.Medias {
		medias = append(medias, Dict{{"index", m.Index}, {"type", m.Type}, {"label", m.Label}, {"mode", m.Mode}})
	}
	return Dict{{"tag", t.Tag}, optional("label", t.Label), {"medias", medias}}
}

func (r *CreateReply) write(w *writer) {
	w.optionalString("sdp", r.SDP)
	w.optionalString("call-id", r.CallID)
	w.optionalString("from-tag", r.FromTag)
	w.string("result", resultOK)
}

func (r *CLIReply) write(w *writer) {
	w.string("response", r.Response)
	w.string("result", resultOK)
}

// optional is an entry that is left out if the value is empty.
func optional(key, value string) Entry {
	if value == "" {
		return Entry{key, nil}
	}
	return Entry{key, value}
}
