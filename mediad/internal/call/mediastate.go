package call

import (
	"net/netip"
	"strconv"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/quality"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// qualityState is the part "SSRC" of a reply.
func (c *Call) qualityState() map[uint32]*ng.SSRCState {
	out := make(map[uint32]*ng.SSRCState)
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
	return out
}

func mosOf(s quality.Sample) ng.MOS {
	return ng.MOS{
		MOS: s.MOS, RoundTripTime: s.RoundTrip.Microseconds(), RoundTripTimeLeg: s.Leg.Microseconds(),
		Jitter: s.Jitter.Milliseconds(), PacketLoss: int64(s.Loss), ReportedAt: s.At.Unix(),
	}
}

// state describes the media and adds its counters to those of the call.
func (m *media) state(index int, sum *ng.CallState) ng.MediaState {
	side := &m.side
	s := ng.MediaState{
		Index: index + 1, Type: side.Remote.Type, Protocol: side.Local.Protocol,
		Codec: m.codec(), Flags: m.flags(),
	}
	if m.pair == nil {
		return s
	}
	for component, stream := range m.streams {
		if component == componentRTCP && side.Local.RTCPMux {
			continue // RTCP is on the first port
		}
		st := stream.Statistics()
		s.Streams = append(s.Streams, m.streamState(component, stream, st))
		total := &sum.RTP
		if component == componentRTCP {
			total = &sum.RTCP
		}
		total.Packets += st.PacketsIn
		total.Bytes += st.BytesIn
		total.Errors += st.ErrorsIn
	}
	return s
}

func (m *media) streamState(component int, stream *flow.Stream, st flow.Statistics) ng.StreamState {
	side := &m.side
	local := m.streams[component].LocalAddr()
	signalled := side.Remote.RTP
	if component == componentRTCP {
		signalled = side.Remote.RTCP
	}
	s := ng.StreamState{
		LocalPort: int(local.Port()), LocalAddress: local.Addr().String(), Family: familyName(local.Addr()),
		Endpoint: endpointState(stream.Destination()), AdvertisedEndpoint: endpointState(signalled),
		CryptoSuite: m.suite(component), Flags: m.streamFlags(component, stream),
		LastPacket: st.LastPacket.Unix(), SSRC: st.SSRC,
		Stats: ng.Counters{Packets: st.PacketsIn, Bytes: st.BytesIn, Errors: st.ErrorsIn},
	}
	if st.LastPacket.IsZero() { // then it is when the port was opened
		s.LastPacket = stream.Opened().Unix()
	}
	return s
}

func (m *media) suite(component int) string {
	switch m.side.Security() {
	case negotiate.SecuritySDES:
		return m.side.Local.SDES.Suite
	case negotiate.SecurityDTLS:
		if m.dtls != nil && m.dtls.byComponent[component] != nil {
			return m.dtls.byComponent[component].suite
		}
	}
	return ""
}

func (m *media) streamFlags(component int, stream *flow.Stream) []string {
	flags := []string{"RTP"}
	if component == componentRTCP {
		flags[0] = "RTCP"
	}
	add := func(on bool, name string) {
		if on {
			flags = append(flags, name)
		}
	}
	source := &m.side.Local.Source
	add(stream.Destination().IsValid(), "filled")
	add(stream.Learned().IsValid() || m.ice != nil && stream.Destination().IsValid(), "confirmed")
	add(m.side.Security() == negotiate.SecurityDTLS && m.suite(component) != "", "DTLS fingerprint verified")
	add(source.Strict, "strict source address")
	add(source.Handover, "media handover")
	return flags
}

func (m *media) flags() []string {
	var flags []string
	add := func(on bool, name string) {
		if on {
			flags = append(flags, name)
		}
	}
	local, remote := &m.side.Local, &m.side.Remote
	ice := local.ICE.Mode != negotiate.ICENone
	add(m.pair != nil, "initialized")
	add(local.Source.Asymmetric, "asymmetric")
	add(!remote.Hold && remote.Direction != sdp.SendOnly && remote.Direction != sdp.Inactive, "send")
	add(remote.Direction != sdp.RecvOnly && remote.Direction != sdp.Inactive, "recv")
	add(local.RTCPMux, "rtcp-mux")
	add(local.DTLS.Role != negotiate.DTLSNone, "DTLS-SRTP")
	add(local.DTLS.Role == negotiate.DTLSActive, "DTLS role active")
	add(local.DTLS.Role == negotiate.DTLSPassive, "DTLS role passive")
	add(m.side.Security() == negotiate.SecuritySDES, "SDES")
	add(ice, "ICE")
	add(ice && remote.ICE.Trickle, "trickle ICE")
	add(ice && local.ICE.Controlling, "ICE controlling")
	add(ice && remote.ICE.Lite, "ICE-lite peer")
	add(local.ICE.Mode == negotiate.ICELite, "ICE-lite self")
	return flags
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
