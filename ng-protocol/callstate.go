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

func (c *CallState) write(w *writer) {
	w.int("created", c.Created)
	w.int("created_us", c.CreatedUS)
	w.optionalInt("created_ts", c.CreatedTS)
	w.int("last signal", c.LastSignal)
	w.optionalInt("last redis update", c.LastRedisUpdate)
	w.optionalString("metadata", c.Metadata)
	w.key("SSRC")
	w.dict(func() {
		for _, id := range sortedKeys(c.SSRC) {
			w.key(strconv.FormatUint(uint64(id), 10))
			w.dict(func() { c.SSRC[id].write(w) })
		}
	})
	w.key("tags")
	w.dict(func() {
		for _, tag := range sortedKeys(c.Tags) {
			w.key(tag)
			w.dict(func() { c.Tags[tag].write(w) })
		}
	})
	w.key("totals")
	w.dict(func() {
		c.RTP.write(w, "RTP")
		c.RTCP.write(w, "RTCP")
	})
}

func (c Counters) write(w *writer, key string) {
	w.key(key)
	w.dict(func() {
		w.uint("packets", c.Packets)
		w.uint("bytes", c.Bytes)
		w.uint("errors", c.Errors)
	})
}

func (s *SSRCState) write(w *writer) {
	w.int("cumulative loss", s.CumulativeLoss)
	if s.Packets > 0 {
		w.uint("packets", s.Packets)
		w.uint("bytes", s.Bytes)
		w.uint("last RTP timestamp", uint64(s.LastRTPTimestamp))
		w.uint("last RTP seq", uint64(s.LastRTPSeq))
	}
	if m := s.AverageMOS; m != nil {
		w.key("average MOS")
		w.dict(func() {
			m.write(w)
			w.int("samples", m.Samples)
		})
	}
	for _, m := range []struct {
		key string
		mos *MOS
	}{{"lowest MOS", s.LowestMOS}, {"highest MOS", s.HighestMOS}} {
		if m.mos != nil {
			w.key(m.key)
			w.dict(func() { m.mos.writeReported(w) })
		}
	}
	if p := s.Progression; p != nil {
		w.key("MOS progression")
		w.dict(func() {
			w.int("interval", p.Interval)
			w.list("entries", func() {
				for i := range p.Entries {
					w.next()
					w.dict(func() { p.Entries[i].writeReported(w) })
				}
			})
		})
	}
}

func (m *MOS) write(w *writer) {
	w.int("MOS", int64(m.MOS))
	w.int("round-trip time", m.RoundTripTime)
	w.int("round-trip time leg", m.RoundTripTimeLeg)
	w.int("jitter", m.Jitter)
	w.int("packet loss", m.PacketLoss)
}

func (m *MOS) writeReported(w *writer) {
	m.write(w)
	w.int("reported at", m.ReportedAt)
}

func (t *TagState) write(w *writer) {
	w.string("tag", t.Tag)
	w.optionalString("via-branch", t.ViaBranch)
	if len(t.Aliases) > 0 {
		w.strings("tag-aliases", t.Aliases)
	}
	w.optionalString("label", t.Label)
	w.optionalString("metadata", t.Metadata)
	w.int("created", t.Created)
	w.optionalString("in dialogue with", t.DialogueTo)
	writeSubscriptions(w, "subscriptions", t.Subscriptions)
	writeSubscriptions(w, "subscribers", t.Subscribers)
	w.list("medias", func() {
		for i := range t.Medias {
			w.next()
			w.dict(func() { t.Medias[i].write(w) })
		}
	})
}

func writeSubscriptions(w *writer, key string, list []Subscription) {
	w.list(key, func() {
		for _, s := range list {
			w.next()
			w.dict(func() {
				w.string("tag", s.Tag)
				w.string("type", s.Type)
			})
		}
	})
}

func (m *MediaState) write(w *writer) {
	w.int("index", int64(m.Index))
	w.string("type", m.Type)
	w.string("protocol", m.Protocol)
	w.optionalString("codec", m.Codec)
	w.optionalString("label", m.Label)
	w.list("streams", func() {
		for i := range m.Streams {
			w.next()
			w.dict(func() { m.Streams[i].write(w) })
		}
	})
	w.strings("flags", m.Flags)
	w.optionalSSRCs("ingress SSRCs", m.IngressSSRCs)
	w.optionalSSRCs("egress SSRCs", m.EgressSSRCs)
}

func (s *StreamState) write(w *writer) {
	w.optionalInt("local port", int64(s.LocalPort))
	w.optionalString("local address", s.LocalAddress)
	w.optionalString("family", s.Family)
	s.Endpoint.write(w, "endpoint")
	s.AdvertisedEndpoint.write(w, "advertised endpoint")
	w.optionalString("crypto suite", s.CryptoSuite)
	w.int("last packet", s.LastPacket)
	w.optionalInt("last kernel packet", s.LastKernelPacket)
	w.optionalInt("last user packet", s.LastUserPacket)
	w.strings("flags", s.Flags)
	w.optionalInt("SSRC", int64(s.SSRC))
	w.optionalSSRCs("ingress SSRCs", s.IngressSSRCs)
	w.optionalSSRCs("egress SSRCs", s.EgressSSRCs)
	s.Stats.write(w, "stats")
	if s.StatsOut != (Counters{}) {
		s.StatsOut.write(w, "stats_out")
	}
	w.optionalString("engine", s.Engine)
	w.optionalString("kernel refused", s.KernelRefused)
}

func (e EndpointState) write(w *writer, key string) {
	w.key(key)
	w.dict(func() {
		if e == (EndpointState{}) {
			return
		}
		w.string("family", e.Family)
		w.string("address", e.Address)
		w.int("port", int64(e.Port))
	})
}
