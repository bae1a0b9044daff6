package ng

import ()

const (
	resultOK        = "ok"
	resultPong      = "pong"
	resultError     = "error"
	resultLoadLimit = "load limit"
)

func (*Pong) dict() Dict { return Dict{{"result", resultPong}} }

func (r *Ack) dict() Dict { return Dict{optional("warning", r.Warning), {"result", resultOK}} }

func (r *Failure) dict() Dict {
	return Dict{{"result", resultError}, {"error-reason", string(r.Reason)}}
}

func (r *LoadLimit) dict() Dict {
	return Dict{{"result", resultLoadLimit}, {"message", string(r.Message)}}
}

func (r *SDPReply) dict() Dict {
	return Dict{optional("sdp", r.SDP), optional("warning", r.Warning), {"result", resultOK}}
}

func (r *CallReply) dict() Dict {
	var d Dict
	if r.Call != nil {
		d = r.Call.dict()
	}
	return append(d, optional("warning", r.Warning), Entry{"result", resultOK})
}

func (r *ListReply) dict() Dict {
	calls := r.Calls
	if calls == nil {
		calls = []string{}
	}
	return Dict{{"calls", calls}, {"result", resultOK}}
}

func (r *StatisticsReply) dict() Dict {
	return Dict{{"statistics", r.Statistics}, {"result", resultOK}}
}

func (r *SubscribeReply) dict() Dict {
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
	return append(d, optional("to-tag", r.ToTag), Entry{"result", resultOK})
}

func (t *TagMedias) dict() Dict {
	var medias []Dict
	for _, m := range t.Medias {
		medias = append(medias, Dict{{"index", m.Index}, {"type", m.Type}, {"label", m.Label}, {"mode", m.Mode}})
	}
	return Dict{{"tag", t.Tag}, optional("label", t.Label), {"medias", medias}}
}

func (r *CreateReply) dict() Dict {
	return Dict{
		optional("sdp", r.SDP), optional("call-id", r.CallID), optional("from-tag", r.FromTag), {"result", resultOK},
	}
}

func (r *CLIReply) dict() Dict { return Dict{{"response", r.Response}, {"result", resultOK}} }

// optional is an entry that is left out if the value is empty.
func optional(key, value string) Entry {
	if value == "" {
		return Entry{key, nil}
	}
	return Entry{key, value}
}
