package ng

import (
	"strconv"
)

// CallState is what query and delete tell about a call. What rtpengine 10.5 does not tell yet is left out while it is zero: created_ts,
// last redis update, metadata, the counters by SSRC, the lists of SSRCs, last kernel and user packet, stats_out.
type CallState struct {
	Created         int64  // "created"; Unix time, seconds
	CreatedUS       int64  // "created_us"; the microseconds within that second
	CreatedTS       int64  // "created_ts"; Unix time, microseconds
	LastSignal      int64  // "last signal"; Unix time of the last command, seconds
	LastRedisUpdate int64  // "last redis update"; Unix time, seconds
	Metadata        string // "metadata"

	RTP  Counters // "totals"."RTP"
	RTCP Counters // "totals"."RTCP"

	SSRC map[uint32]*SSRCState // "SSRC"
	Tags map[string]*TagState  // "tags"
}

// Counters count packets, bytes of payload and errors.
type Counters struct {
	Packets uint64
	Bytes   uint64
	Errors  uint64
}

// SSRCState is the entry of one synchronization source in the global "SSRC".
type SSRCState struct {
	Packets          uint64
	Bytes            uint64
	LastRTPTimestamp uint32 // "last RTP timestamp"
	LastRTPSeq       uint32 // "last RTP seq"; extended sequence number
	CumulativeLoss   int64  // "cumulative loss"; packets

	AverageMOS  *MOS // "average MOS"; nil if no RTCP report was seen
	LowestMOS   *MOS // "lowest MOS"
	HighestMOS  *MOS // "highest MOS"
	Progression *MOSProgression
}

// MOS is one quality value with what it was computed from.
type MOS struct {
	MOS              int   // mean opinion score × 10: 43 = 4.3
	RoundTripTime    int64 // "round-trip time"; µs, end to end
	RoundTripTimeLeg int64 // "round-trip time leg"; µs, to this side only
	Jitter           int64 // ms
	PacketLoss       int64 // "packet loss"; per cent
	Samples          int64 // average only
	ReportedAt       int64 // "reported at"; Unix time, seconds; not for the average
}

// MOSProgression is the history of quality values.
type MOSProgression struct {
	Interval int64 // seconds
	Entries  []MOS
}

// TagState is one party.
type TagState struct {
	Tag        string
	ViaBranch  string   // "via-branch"
	Aliases    []string // "tag-aliases"
	Label      string
	Created    int64 // Unix time, seconds
	Metadata   string
	DialogueTo string // "in dialogue with"; rtpengine before 11

	Subscriptions []Subscription // parties this one receives from
	Subscribers   []Subscription // parties that receive from this one
	Medias        []MediaState
}

// Subscription names the other end of a subscription.
type Subscription struct {
	Tag  string
	Type string // "offer/answer", "pub/sub", …
}

// MediaState is one m= line of a party.
type MediaState struct {
	Index        int    // from 1
	Type         string // "audio", "video", …
	Protocol     string // RTP profile
	Codec        string
	Label        string
	Flags        []string // "send", "recv", "rtcp-mux", "DTLS-SRTP", "ICE", …
	IngressSSRCs []uint32 // "ingress SSRCs"
	EgressSSRCs  []uint32 // "egress SSRCs"
	Streams      []StreamState
}

// StreamState is one local port, or the place of one that is not needed: a refused media has none.
type StreamState struct {
	LocalPort          int           // "local port"
	LocalAddress       string        // "local address"
	Family             string        // "IPv4" or "IPv6"
	Endpoint           EndpointState // where packets are sent
	AdvertisedEndpoint EndpointState // "advertised endpoint": what the SDP said
	CryptoSuite        string        // "crypto suite"
	LastPacket         int64         // "last packet"; Unix time, seconds
	LastKernelPacket   int64         // "last kernel packet"
	LastUserPacket     int64         // "last user packet"
	SSRC               uint32        // last received, 0 = none
	IngressSSRCs       []uint32      // "ingress SSRCs"
	EgressSSRCs        []uint32      // "egress SSRCs"
	Flags              []string      // "RTP", "RTCP", "filled", "confirmed", "kernelized", …
	Stats              Counters      // received
	StatsOut           Counters      // "stats_out": sent
	Engine             string        // "engine" (ours): what moves its packets
	KernelRefused      string        // "kernel refused" (ours): why it is not the kernel
}

// EndpointState is an address in a query reply.
type EndpointState struct {
	Family  string // "IPv4" or "IPv6"
	Address string
	Port    int
}

func (c *CallState) dict() Dict {
	ssrc := make(Dict, 0, len(c.SSRC))
	for _, id := range sortedKeys(c.SSRC) {
		ssrc = append(ssrc, Entry{strconv.FormatUint(uint64(id), 10), c.SSRC[id].dict()})
	}
	tags := make(Dict, 0, len(c.Tags))
	for _, tag := range sortedKeys(c.Tags) {
		tags = append(tags, Entry{tag, c.Tags[tag].dict()})
	}
	return Dict{
		{"created", c.Created},
		{"created_us", c.CreatedUS},
		optionalNumber("created_ts", c.CreatedTS),
		{"last signal", c.LastSignal},
		optionalNumber("last redis update", c.LastRedisUpdate),
		optional("metadata", c.Metadata),
		{"SSRC", ssrc},
		{"tags", tags},
		{"totals", Dict{{"RTP", c.RTP.dict()}, {"RTCP", c.RTCP.dict()}}},
	}
}

func (c Counters) dict() Dict {
	return Dict{{"packets", c.Packets}, {"bytes", c.Bytes}, {"errors", c.Errors}}
}

func (s *SSRCState) dict() Dict {
	d := Dict{{"cumulative loss", s.CumulativeLoss}}
	if s.Packets > 0 {
		d = append(d,
			Entry{"packets", s.Packets}, Entry{"bytes", s.Bytes},
			Entry{"last RTP timestamp", uint64(s.LastRTPTimestamp)}, Entry{"last RTP seq", uint64(s.LastRTPSeq)})
	}
	if s.AverageMOS != nil {
		d = append(d, Entry{"average MOS", append(s.AverageMOS.dict(), Entry{"samples", s.AverageMOS.Samples})})
	}
	for _, m := range []struct {
		key string
		mos *MOS
	}{{"lowest MOS", s.LowestMOS}, {"highest MOS", s.HighestMOS}} {
		if m.mos != nil {
			d = append(d, Entry{m.key, append(m.mos.dict(), Entry{"reported at", m.mos.ReportedAt})})
		}
	}
	if s.Progression != nil {
		entries := make([]Dict, 0, len(s.Progression.Entries))
		for i := range s.Progression.Entries {
			e := &s.Progression.Entries[i]
			entries = append(entries, append(e.dict(), Entry{"reported at", e.ReportedAt}))
		}
		d = append(d, Entry{"MOS progression", Dict{{"interval", s.Progression.Interval}, {"entries", entries}}})
	}
	return d
}

func (m *MOS) dict() Dict {
	return Dict{
		{"MOS", m.MOS},
		{"round-trip time", m.RoundTripTime},
		{"round-trip time leg", m.RoundTripTimeLeg},
		{"jitter", m.Jitter},
		{"packet loss", m.PacketLoss},
	}
}

func (t *TagState) dict() Dict {
	medias := make([]Dict, 0, len(t.Medias))
	for i := range t.Medias {
		medias = append(medias, t.Medias[i].dict())
	}
	return Dict{
		{"tag", t.Tag},
		optional("via-branch", t.ViaBranch),
		optionalList("tag-aliases", t.Aliases),
		optional("label", t.Label),
		optional("metadata", t.Metadata),
		{"created", t.Created},
		optional("in dialogue with", t.DialogueTo),
		{"subscriptions", subscriptionDicts(t.Subscriptions)},
		{"subscribers", subscriptionDicts(t.Subscribers)},
		{"medias", medias},
	}
}

func subscriptionDicts(list []Subscription) []Dict {
	out := make([]Dict, 0, len(list))
	for _, s := range list {
		out = append(out, Dict{{"tag", s.Tag}, {"type", s.Type}})
	}
	return out
}

func (m *MediaState) dict() Dict {
	streams := make([]Dict, 0, len(m.Streams))
	for i := range m.Streams {
		streams = append(streams, m.Streams[i].dict())
	}
	return Dict{
		{"index", m.Index},
		{"type", m.Type},
		{"protocol", m.Protocol},
		optional("codec", m.Codec),
		optional("label", m.Label),
		{"streams", streams},
		{"flags", nonNil(m.Flags)},
		optionalSSRCs("ingress SSRCs", m.IngressSSRCs),
		optionalSSRCs("egress SSRCs", m.EgressSSRCs),
	}
}

func (s *StreamState) dict() Dict {
	return Dict{
		optionalNumber("local port", int64(s.LocalPort)),
		optional("local address", s.LocalAddress),
		optional("family", s.Family),
		{"endpoint", s.Endpoint.dict()},
		{"advertised endpoint", s.AdvertisedEndpoint.dict()},
		optional("crypto suite", s.CryptoSuite),
		{"last packet", s.LastPacket},
		optionalNumber("last kernel packet", s.LastKernelPacket),
		optionalNumber("last user packet", s.LastUserPacket),
		{"flags", nonNil(s.Flags)},
		optionalNumber("SSRC", int64(s.SSRC)),
		optionalSSRCs("ingress SSRCs", s.IngressSSRCs),
		optionalSSRCs("egress SSRCs", s.EgressSSRCs),
		{"stats", s.Stats.dict()},
		optionalCounters("stats_out", s.StatsOut),
		optional("engine", s.Engine),
		optional("kernel refused", s.KernelRefused),
	}
}

func (e EndpointState) dict() Dict {
	if e == (EndpointState{}) {
		return Dict{}
	}
	return Dict{{"family", e.Family}, {"address", e.Address}, {"port", e.Port}}
}

func optionalSSRCs(key string, list []uint32) Entry {
	if len(list) == 0 {
		return Entry{key, nil}
	}
	out := make([]any, 0, len(list))
	for _, id := range list {
		out = append(out, uint64(id))
	}
	return Entry{key, out}
}

func optionalNumber(key string, v int64) Entry {
	if v == 0 {
		return Entry{key, nil}
	}
	return Entry{key, v}
}

func optionalCounters(key string, c Counters) Entry {
	if c == (Counters{}) {
		return Entry{key, nil}
	}
	return Entry{key, c.dict()}
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func optionalList(key string, list []string) Entry {
	if len(list) == 0 {
		return Entry{key, nil}
	}
	return Entry{key, list}
}
