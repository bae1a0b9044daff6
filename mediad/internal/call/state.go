package call

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// Query executes the command query. With a to-tag or else a from-tag only that
// party and those it hears are told of. The error is an ng.Reason.
func (r *Registry) Query(req *ng.Request) (*ng.CallState, error) {
	if !req.HasCallID() {
		return nil, ng.ReasonNoCallID
	}
	c := r.find(req.CallID)
	if c == nil {
		return nil, ng.ReasonUnknownCallID
	}
	defer c.mu.Unlock()
	tag := req.ToTag
	if tag == "" {
		tag = req.FromTag
	}
	if tag == "" {
		return c.stateLocked(nil), nil
	}
	wanted := make(map[*party]bool)
	if p := c.partyByTag(tag); p != nil {
		wanted[p] = true
		for _, s := range p.subscriptions {
			wanted[s.source] = true
		}
	}
	return c.stateLocked(wanted), nil
}

// stateLocked describes the call, with the wanted parties, nil meaning all.
func (c *Call) stateLocked(wanted map[*party]bool) *ng.CallState {
	s := &ng.CallState{
		Created:    c.created.Unix(),
		CreatedUS:  int64(c.created.Nanosecond() / 1000),
		CreatedTS:  c.created.UnixMicro(),
		LastSignal: c.lastSignal.Unix(),
		Metadata:   c.metadata,
		SSRC:       make(map[uint32]*ng.SSRCState),
		Tags:       make(map[string]*ng.TagState),
	}
	names := c.names()
	for _, p := range c.parties {
		if wanted != nil && !wanted[p] {
			continue
		}
		s.Tags[names[p]] = c.partyState(p, s)
	}
	return s
}

// names gives each party the key that it has in a reply.
func (c *Call) names() map[*party]string {
	names := make(map[*party]string)
	for _, p := range c.parties {
		names[p] = p.tag
		if p.tag == "" {
			names[p] = fmt.Sprintf("<untagged %d>", p.number)
		}
	}
	return names
}

func (c *Call) partyState(p *party, sum *ng.CallState) *ng.TagState {
	t := &ng.TagState{
		Tag: p.tag, ViaBranch: p.viaBranch, Label: p.label, Created: p.created.Unix(),
	}
	for _, s := range p.subscriptions {
		t.Subscriptions = append(t.Subscriptions, ng.Subscription{Tag: s.source.tag, Type: s.kind()})
	}
	for _, s := range p.subscribers {
		t.Subscribers = append(t.Subscribers, ng.Subscription{Tag: s.listener.tag, Type: s.kind()})
	}
	for i, m := range p.present.medias {
		state := m.state(i, sum)
		if p.peer != nil && i < len(p.peer.present.medias) {
			state.EgressSSRCs = p.peer.present.medias[i].ssrcs()
		}
		t.Medias = append(t.Medias, state)
	}
	return t
}

// ssrcs returns the RTP sources that the party sends with.
func (m *media) ssrcs() []uint32 {
	if m.pair == nil {
		return nil
	}
	var out []uint32
	for _, s := range m.streams[componentRTP].Statistics().Sources {
		out = append(out, s.SSRC)
	}
	return out
}

// state describes the media and adds its counters to those of the call.
func (m *media) state(index int, sum *ng.CallState) ng.MediaState {
	side := &m.side
	s := ng.MediaState{
		Index: index + 1, Type: side.Remote.Type, Protocol: side.Local.Protocol,
		Codec: codecName(side.Remote.Payloads), Flags: m.flags(), IngressSSRCs: m.ssrcs(),
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
		for _, source := range st.Sources {
			sum.SSRC[source.SSRC] = &ng.SSRCState{
				Packets: source.Packets, Bytes: source.Bytes, LastRTPSeq: source.LastSequence, CumulativeLoss: source.Lost,
			}
		}
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
		Stats:    ng.Counters{Packets: st.PacketsIn, Bytes: st.BytesIn, Errors: st.ErrorsIn},
		StatsOut: ng.Counters{Packets: st.PacketsOut, Bytes: st.BytesOut, Errors: st.ErrorsOut},
	}
	if !st.LastPacket.IsZero() {
		s.LastPacket, s.LastUserPacket = st.LastPacket.Unix(), st.LastPacket.Unix()
	}
	for _, source := range st.Sources {
		s.IngressSSRCs = append(s.IngressSSRCs, source.SSRC)
		s.SSRC = source.SSRC
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

// codecName names the first codec that a party has listed.
func codecName(payloads []sdp.Payload) string {
	if len(payloads) == 0 || payloads[0].Encoding == "" {
		return ""
	}
	p := payloads[0]
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
