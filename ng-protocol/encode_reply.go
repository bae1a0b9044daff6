package ng

const (
	resultOK        = "ok"
	resultPong      = "pong"
	resultError     = "error"
	resultLoadLimit = "load limit"
)

func (*Pong) dict() Dict { return Dict{{"result", resultPong}} }

func (r *Ack) dict() Dict { return Dict{optional("warning", r.Warning), {"result", resultOK}} }

func (r *Failure) dict() Dict {
	return Dict{{"error-reason", string(r.Reason)}, {"result", resultError}}
}

func (r *LoadLimit) dict() Dict {
	return Dict{{"message", string(r.Message)}, {"result", resultLoadLimit}}
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

// optional is an entry that is left out if the value is empty.
func optional(key, value string) Entry {
	if value == "" {
		return Entry{key, nil}
	}
	return Entry{key, value}
}
