package call

import (
	"net/netip"
	"strconv"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/quality"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// sourcesState is the part "SSRC" of a reply: what has been received of each
// source, and how well its peer has.
func (c *Call) sourcesState() map[uint32]*ng.SSRCState {
	out := make(map[uint32]*ng.SSRCState)
	if !c.registry.cfg.SSRCs.Table {
		return out
	}
	for _, s := range c.quality.Summaries() {
		average := mosOf(s.Average)
		average.Samples, average.ReportedAt = s.Samples, 0
		lowest, highest := mosOf(s.Lowest), mosOf(s.Highest)
		progression := &ng.MOSProgression{Interval: s.Interval}
		for _, v := range s.Progression {
			progression.Entries = append(progression.Entries, mosOf(v))
		}
		out[s.SSRC] = &ng.SSRCState{
			CumulativeLoss: int64(s.Lost), AverageMOS: &average, LowestMOS: &lowest, HighestMOS: &highest, Progression: progression,
		}
	}
	for _, p := range c.parties {
		for _, m := range p.present.medias {
			for _, s := range m.sources() {
				if out[s.SSRC] == nil {
					out[s.SSRC] = &ng.SSRCState{CumulativeLoss: s.Lost}
				}
				o := out[s.SSRC]
				o.Packets, o.Bytes = s.Packets, s.Bytes
				o.LastRTPTimestamp, o.LastRTPSeq = s.LastTimestamp, s.LastSequence
			}
		}
	}
	return out
}

// sources are those that the party sends the media with.
func (m *media) sources() []flow.SourceStatistics {
	if m.pair == nil || m.side.Local.Raw {
		return nil
	}
	return m.streams[componentRTP].Statistics().Sources
}

// ssrcs lists the sources of a media, nil if there is none.
func (m *media) ssrcs() []uint32 {
	if m == nil {
		return nil
	}
	var out []uint32
	for _, s := range m.sources() {
		out = append(out, s.SSRC)
	}
	return out
}

func mosOf(s quality.Sample) ng.MOS {
	return ng.MOS{
		MOS: s.MOS, RoundTripTime: s.RoundTrip.Microseconds(), RoundTripTimeLeg: s.Leg.Microseconds(),
		Jitter: s.Jitter.Milliseconds(), PacketLoss: int64(s.Loss), ReportedAt: s.At.Unix(),
	}
}

// view is a media as replies show it.
type view struct {
	engine engine.Engine
	*media
	party  *party
	peer   *media // at the other end, nil if there is none
	heard  *media // what the party hears, nil if nothing
	lists  bool   // the sources are listed
	agreed bool   // by an answer
	muxed  bool   // RTP and RTCP share the first port, or will unless an answer denies it
}

func (c *Call) view(p *party, i int) view {
	v := view{engine: c.registry.cfg.Engine, media: p.present.medias[i], party: p, agreed: p.present.agreed, lists: c.registry.cfg.SSRCs.Lists}
	v.heard = c.speaker(p, v.media)
	if p.peer != nil && i < len(p.peer.present.medias) {
		v.peer = p.peer.present.medias[i]
	}
	local := &v.side.Local
	v.muxed = local.RTCPMux || !v.agreed && (local.RTCPMuxOffered || v.side.Remote.RTCPMux)
	return v
}

// known reports whether the party has described the media.
func (m *media) known() bool { return m.side.Remote.Type != "" }

// state describes the media and adds its counters to those of the call.
func (v view) state(index int, sum *ng.CallState) ng.MediaState {
	side := v.side
	s := ng.MediaState{
		Index: index + 1, Type: side.Remote.Type, Protocol: side.Local.Protocol, Codec: v.codec(), Flags: v.flags(),
	}
	if v.lists {
		s.IngressSSRCs, s.EgressSSRCs = v.ssrcs(), v.heard.ssrcs()
	}
	if !v.known() && v.peer != nil {
		s.Type = v.peer.side.Remote.Type
	}
	if v.pair == nil {
		s.Streams = []ng.StreamState{v.refused(componentRTP), v.refused(componentRTCP)}
		return s
	}
	s.Streams = make([]ng.StreamState, 0, components)
	for component, stream := range v.streams {
		st := stream.Statistics()
		s.Streams = append(s.Streams, v.stream(component, stream, st))
		total := &sum.RTP
		if component == componentRTCP {
			total = &sum.RTCP
		}
		n := counters(st)
		total.Packets += n.Packets
		total.Bytes += n.Bytes
		total.Errors += n.Errors
	}
	return s
}

// counters are those of a stream as rtpengine has them: what was refused is part
// of what has come.
func counters(st flow.Statistics) ng.Counters {
	return ng.Counters{Packets: st.PacketsIn + st.ErrorsIn, Bytes: st.BytesIn + st.ErrorBytesIn, Errors: st.ErrorsIn}
}

func (v view) stream(component int, stream *flow.Stream, st flow.Statistics) ng.StreamState {
	local := stream.LocalAddr()
	signalled, current := v.endpoint(component), stream.Destination()
	if !current.IsValid() || !signalled.IsValid() {
		current = signalled
	}
	s := ng.StreamState{
		LocalPort: int(local.Port()), LocalAddress: local.Addr().String(), Family: familyName(local.Addr()),
		Endpoint:    endpointState(current),
		CryptoSuite: v.suite(component), Flags: v.streamFlags(component, stream),
		LastPacket: st.LastPacket.Unix(), LastUserPacket: st.LastPacket.Unix(), SSRC: st.SSRC,
		Stats:    counters(st),
		StatsOut: ng.Counters{Packets: st.PacketsOut, Bytes: st.BytesOut, Errors: st.ErrorsOut},
	}
	if s.AdvertisedEndpoint = s.Endpoint; signalled != current {
		s.AdvertisedEndpoint = endpointState(signalled)
	}
	s.Engine, s.KernelRefused = v.engine.Carrier(stream)
	if !st.LastCarried.IsZero() {
		s.LastKernelPacket = st.LastCarried.Unix()
		if !st.LastCarried.Before(st.LastPacket) {
			s.LastUserPacket = 0 // not known: it was an earlier one
		}
	}
	if v.lists && component == componentRTP {
		s.IngressSSRCs, s.EgressSSRCs = v.ssrcs(), v.heard.ssrcs()
	}
	if st.LastPacket.IsZero() { // then it is when the port was opened
		s.LastPacket, s.LastUserPacket = stream.Opened().Unix(), 0
	}
	return s
}

// refused describes a component of a media that has no ports.
func (v view) refused(component int) ng.StreamState {
	var l flagList
	l.add(component == componentRTP, "RTP")
	l.add(component == componentRTCP, "RTCP")
	l.add(v.endpoint(component).IsValid(), "filled")
	at := endpointState(v.endpoint(component))
	return ng.StreamState{Endpoint: at, AdvertisedEndpoint: at, LastPacket: v.party.created.Unix(), Flags: l}
}

// endpoint is where the party has said that it wants the packets of a component.
// Where RTCP shares the port of RTP, or there is none, that is where it would go.
func (m *media) endpoint(component int) netip.AddrPort {
	rtp, rtcp := m.side.Remote.RTP, m.side.Remote.RTCP
	if component == componentRTP {
		return rtp
	}
	if (rtcp == rtp || !rtcp.IsValid() && m.side.Local.Raw) && rtp.Port() > 0 && rtp.Port() < 65535 {
		rtcp = netip.AddrPortFrom(rtp.Addr(), rtp.Port()+1)
	}
	return rtcp
}

// suite is what protects the media, or what the party was offered first as long
// as nothing is agreed.
func (v view) suite(component int) string {
	sdes := &v.side.Local.SDES
	if suite := v.handshaken(component); suite != "" {
		return suite
	}
	switch {
	case v.agreed && sdes.Chosen != 0:
		return sdes.Suite
	case !v.known() && len(sdes.Lines) > 0:
		return sdes.Lines[0].Suite
	}
	return ""
}

// handshaken is the suite that DTLS has agreed on, empty if it has not.
func (m *media) handshaken(component int) string {
	if m.side.Security() == negotiate.SecurityDTLS && m.dtls != nil && m.dtls.byComponent[component] != nil {
		return m.dtls.byComponent[component].suite
	}
	return ""
}

// flagList collects those that are on.
type flagList []string

// newFlagList has room for as many as most have.
func newFlagList() flagList { return make(flagList, 0, 6) }

func (l *flagList) add(on bool, name string) {
	if on {
		*l = append(*l, name)
	}
}

func (v view) streamFlags(component int, stream *flow.Stream) []string {
	l := newFlagList()
	rtp := component == componentRTP
	source := &v.side.Local.Source
	l.add(rtp, "RTP")
	l.add(!rtp || v.muxed, "RTCP")
	l.add(!rtp && v.muxed, "fallback RTCP")
	l.add(v.endpoint(component).IsValid(), "filled")
	l.add(stream.Confirmed(), "confirmed")
	// A stream whose peer is settled has been as far as it goes: in the kernel, or kept from it.
	carrier, _ := v.engine.Carrier(stream)
	l.add(stream.Confirmed(), "kernelized")
	l.add(stream.Confirmed() && carrier != engine.Kernel, "no kernel support")
	l.add(v.handshaken(component) != "", "DTLS fingerprint verified")
	l.add(source.Strict, "strict source address")
	l.add(source.Handover, "media handover")
	l.add(v.side.Local.ICE.Mode != negotiate.ICENone, "ICE")
	return l
}

func (v view) flags() []string {
	l := newFlagList()
	local, remote := &v.side.Local, &v.side.Remote
	ice := local.ICE.Mode != negotiate.ICENone
	hears, talks := remote.Direction != sdp.SendOnly, remote.Direction != sdp.RecvOnly
	if remote.Direction == sdp.Inactive {
		hears, talks = false, false
	}
	if v.peer != nil && v.peer.known() && v.agreed {
		other := v.peer.side.Remote.Direction
		hears = hears && (other == sdp.SendRecv || other == sdp.SendOnly)
		talks = talks && (other == sdp.SendRecv || other == sdp.RecvOnly)
	}
	l.add(v.known(), "initialized")
	l.add(local.Source.Asymmetric, "asymmetric")
	l.add(hears, "send")
	l.add(talks, "recv")
	l.add(local.Source.Unidirectional, "unidirectional")
	l.add(v.muxed, "rtcp-mux")
	l.add(local.DTLS.Role != negotiate.DTLSNone, "DTLS-SRTP")
	role := local.DTLS.Role
	l.add(role == negotiate.DTLSActive || role == negotiate.DTLSUndecided, "DTLS role active")
	l.add(role == negotiate.DTLSPassive || role == negotiate.DTLSUndecided, "DTLS role passive")
	l.add(len(local.SDES.Lines) > 0, "SDES")
	l.add(ice, "ICE")
	l.add(ice && remote.ICE.Trickle, "trickle ICE")
	l.add(ice && local.ICE.Controlling || !ice && v.party.peer != nil && v.party.peer.number < v.party.number, "ICE controlling") // who was called first would be
	l.add(ice && remote.ICE.Lite, "ICE-lite peer")
	l.add(local.ICE.Mode == negotiate.ICELite, "ICE-lite self")
	return l
}

// codecName names a payload type as in a=rtpmap.
func codecName(p sdp.Payload) string {
	name := p.Encoding + "/" + strconv.Itoa(p.Clock)
	if p.Channels > 1 {
		name += "/" + strconv.Itoa(p.Channels)
	}
	return name
}

func endpointState(a netip.AddrPort) ng.EndpointState {
	if !a.IsValid() {
		return ng.EndpointState{}
	}
	return ng.EndpointState{Family: familyName(a.Addr()), Address: a.Addr().String(), Port: int(a.Port())}
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
