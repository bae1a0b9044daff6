package ng

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrBadReply means that a reply could not be understood.
var ErrBadReply = errors.New("ng: reply not understood")

func replyOf(command Command, m map[string]any) (Reply, error) {
	f := fields(m)
	switch result := f.str("result"); result {
	case resultPong:
		return &Pong{}, nil
	case resultError:
		return &Failure{Reason: Reason(f.str("error-reason"))}, nil
	case resultLoadLimit:
		return &LoadLimit{Message: Reason(f.str("message"))}, nil
	case resultOK:
	default:
		return nil, fmt.Errorf("%w: result %.32q", ErrBadReply, result)
	}
	warning := f.str("warning")
	switch command {
	case CommandOffer, CommandAnswer, CommandPublish, CommandSubscribeAnswer:
		return &SDPReply{SDP: f.str("sdp"), Warning: warning}, nil
	case CommandQuery, CommandDelete:
		r := &CallReply{Warning: warning}
		if _, ok := f["tags"]; ok {
			r.Call = f.callState()
		}
		return r, nil
	case CommandList:
		return &ListReply{Calls: f.strs("calls")}, nil
	case CommandSubscribeRequest:
		return f.subscribeReply(), nil
	case CommandCreate, CommandCreateAnswer:
		return &CreateReply{SDP: f.str("sdp"), CallID: f.str("call-id"), FromTag: f.str("from-tag")}, nil
	case CommandCLI:
		return &CLIReply{Response: f.str("response")}, nil
	case CommandStatistics:
		return &StatisticsReply{Statistics: dictOf(f.sub("statistics"))}, nil
	}
	return &Ack{Warning: warning}, nil
}

func (f fields) subscribeReply() *SubscribeReply {
	r := &SubscribeReply{SDP: f.str("sdp"), FromTags: f.strs("from-tags"), ToTag: f.str("to-tag")}
	f.subs("tag-medias", func(t fields) {
		tag := TagMedias{Tag: t.str("tag"), Label: t.str("label")}
		t.subs("medias", func(m fields) {
			tag.Medias = append(tag.Medias, LabelledMedia{
				Index: int(m.int("index")), Type: m.str("type"), Label: m.str("label"), Mode: m.str("mode"),
			})
		})
		r.TagMedias = append(r.TagMedias, tag)
	})
	return r
}

// fields reads a decoded dictionary; what is absent or of another type reads
// as zero, since releases differ in what they send.
type fields map[string]any

func (f fields) str(key string) string { s, _ := text(f[key]); return s }

func (f fields) strs(key string) []string {
	items, _ := f[key].([]any)
	out := make([]string, 0, len(items))
	for _, e := range items {
		if s, ok := text(e); ok {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func (f fields) int(key string) int64 {
	switch v := f[key].(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

func (f fields) uint(key string) uint64 {
	if n := f.int(key); n > 0 {
		return uint64(n)
	}
	return 0
}

func (f fields) sub(key string) fields {
	m, _ := f[key].(map[string]any)
	return m
}

// subs calls each for every dictionary in a list.
func (f fields) subs(key string, each func(fields)) {
	items, _ := f[key].([]any)
	for _, e := range items {
		if m, ok := e.(map[string]any); ok {
			each(m)
		}
	}
}

func (f fields) ssrcs(key string) []uint32 {
	items, _ := f[key].([]any)
	var out []uint32
	for _, e := range items {
		switch e := e.(type) {
		case int64:
			out = append(out, uint32(e))
		case string:
			if n, err := strconv.ParseUint(e, 10, 32); err == nil {
				out = append(out, uint32(n))
			}
		case map[string]any: // rtpengine 11 and later: {"SSRC": n, …}
			out = append(out, uint32(fields(e).uint("SSRC")))
		}
	}
	return out
}

func (f fields) counters(key string) Counters {
	s := f.sub(key)
	return Counters{Packets: s.uint("packets"), Bytes: s.uint("bytes"), Errors: s.uint("errors")}
}

func (f fields) callState() *CallState {
	c := &CallState{
		Created:         f.int("created"),
		CreatedUS:       f.int("created_us"),
		CreatedTS:       f.int("created_ts"),
		LastSignal:      f.int("last signal"),
		LastRedisUpdate: f.int("last redis update"),
		Metadata:        f.str("metadata"),
		RTP:             f.sub("totals").counters("RTP"),
		RTCP:            f.sub("totals").counters("RTCP"),
		SSRC:            make(map[uint32]*SSRCState),
		Tags:            make(map[string]*TagState),
	}
	ssrcs := f.sub("SSRC")
	for key := range ssrcs {
		if id, err := strconv.ParseUint(key, 10, 32); err == nil {
			c.SSRC[uint32(id)] = ssrcs.sub(key).ssrcState()
		}
	}
	tags := f.sub("tags")
	for tag := range tags {
		c.Tags[tag] = tags.sub(tag).tagState()
	}
	return c
}

func (f fields) ssrcState() *SSRCState {
	s := &SSRCState{
		Packets:          f.uint("packets"),
		Bytes:            f.uint("bytes"),
		LastRTPTimestamp: uint32(f.uint("last RTP timestamp")),
		LastRTPSeq:       uint32(f.uint("last RTP seq")),
		CumulativeLoss:   f.int("cumulative loss"),
		AverageMOS:       f.mos("average MOS"),
		LowestMOS:        f.mos("lowest MOS"),
		HighestMOS:       f.mos("highest MOS"),
	}
	if p := f.sub("MOS progression"); p != nil {
		s.Progression = &MOSProgression{Interval: p.int("interval")}
		p.subs("entries", func(e fields) {
			s.Progression.Entries = append(s.Progression.Entries, *e.mosValue())
		})
	}
	return s
}

func (f fields) mos(key string) *MOS {
	if m := f.sub(key); m != nil {
		return m.mosValue()
	}
	return nil
}

func (f fields) mosValue() *MOS {
	return &MOS{
		MOS:              int(f.int("MOS")),
		RoundTripTime:    f.int("round-trip time"),
		RoundTripTimeLeg: f.int("round-trip time leg"),
		Jitter:           f.int("jitter"),
		PacketLoss:       f.int("packet loss"),
		Samples:          f.int("samples"),
		ReportedAt:       f.int("reported at"),
	}
}

func (f fields) tagState() *TagState {
	t := &TagState{
		Tag:        f.str("tag"),
		ViaBranch:  f.str("via-branch"),
		Aliases:    f.strs("tag-aliases"),
		Label:      f.str("label"),
		Created:    f.int("created"),
		Metadata:   f.str("metadata"),
		DialogueTo: f.str("in dialogue with"),
	}
	f.subs("subscriptions", func(s fields) { t.Subscriptions = append(t.Subscriptions, s.subscription()) })
	f.subs("subscribers", func(s fields) { t.Subscribers = append(t.Subscribers, s.subscription()) })
	f.subs("medias", func(m fields) { t.Medias = append(t.Medias, m.mediaState()) })
	return t
}

func (f fields) subscription() Subscription {
	return Subscription{Tag: f.str("tag"), Type: f.str("type")}
}

func (f fields) mediaState() MediaState {
	m := MediaState{
		Index:        int(f.int("index")),
		Type:         f.str("type"),
		Protocol:     f.str("protocol"),
		Codec:        f.str("codec"),
		Label:        f.str("label"),
		Flags:        f.strs("flags"),
		IngressSSRCs: f.ssrcs("ingress SSRCs"),
		EgressSSRCs:  f.ssrcs("egress SSRCs"),
	}
	f.subs("streams", func(s fields) { m.Streams = append(m.Streams, s.streamState()) })
	return m
}

func (f fields) streamState() StreamState {
	return StreamState{
		LocalPort:          int(f.int("local port")),
		LocalAddress:       f.str("local address"),
		Family:             f.str("family"),
		Endpoint:           f.endpoint("endpoint"),
		AdvertisedEndpoint: f.endpoint("advertised endpoint"),
		CryptoSuite:        f.str("crypto suite"),
		LastPacket:         f.int("last packet"),
		LastKernelPacket:   f.int("last kernel packet"),
		LastUserPacket:     f.int("last user packet"),
		SSRC:               uint32(f.uint("SSRC")),
		IngressSSRCs:       f.ssrcs("ingress SSRCs"),
		EgressSSRCs:        f.ssrcs("egress SSRCs"),
		Flags:              f.strs("flags"),
		Stats:              f.counters("stats"),
		StatsOut:           f.counters("stats_out"),
		Engine:             f.str("engine"),
		KernelRefused:      f.str("kernel refused"),
	}
}

func (f fields) endpoint(key string) EndpointState {
	e := f.sub(key)
	return EndpointState{Family: e.str("family"), Address: e.str("address"), Port: int(e.int("port"))}
}

// dictOf keeps a dictionary of unknown structure, in the order of its keys.
func dictOf(m map[string]any) Dict {
	d := make(Dict, 0, len(m))
	for _, key := range sortedKeys(m) {
		d = append(d, Entry{key, treeOf(m[key])})
	}
	return d
}

func treeOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return dictOf(v)
	case []any:
		for i := range v {
			v[i] = treeOf(v[i])
		}
	}
	return v
}
