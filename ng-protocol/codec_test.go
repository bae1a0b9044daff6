package ng

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files")

// Requests as Kamailio 5.6 sent them, as OpenSIPS is known to send them, and in
// odd spellings. The golden file shows what was understood, written back in the
// canonical spelling as JSON.
func TestGoldenRequests(t *testing.T) {
	for _, path := range glob(t, "testdata/requests/*.ng") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, body, err := SplitCookie(read(t, path))
			if err != nil {
				t.Fatal(err)
			}
			req, _, err := DecodeRequest(body)
			if err != nil {
				t.Fatal(err)
			}
			canonical := *req
			canonical.RTPPFlags = "" // applied
			out := indented(t, func(w *writer) { w.entries(canonical.dict()) })
			for _, u := range req.Unknown {
				out += "unknown " + u + "\n"
			}
			golden(t, path, out)
		})
	}
}

// Replies of rtpengine 10.5, read into the types and written back.
func TestGoldenReplies(t *testing.T) {
	for _, path := range glob(t, "testdata/replies/*.ng") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, body, err := SplitCookie(read(t, path))
			if err != nil {
				t.Fatal(err)
			}
			command := strings.TrimPrefix(filepath.Ext(strings.TrimSuffix(path, ".ng")), ".")
			reply, err := DecodeReply(Command(command), body)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, path, indented(t, reply.write))
		})
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
	}
	return paths
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func indented(t *testing.T, entries func(*writer)) string {
	t.Helper()
	b, err := appendDictionary(nil, FormatJSON, entries)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := json.Indent(&buf, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	return buf.String() + "\n"
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	path = strings.TrimSuffix(path, ".ng") + ".golden"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := string(read(t, path)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// full has every field set that goes on the wire.
func full() *Request {
	return &Request{
		Command: CommandOffer, CallID: "call ü", FromTag: "f", ToTag: "t", ViaBranch: "b", Label: "l", SDP: "v=0\r\n",
		ReceivedFrom: netip.MustParseAddr("2001:db8::1"), SIPMessageType: SIPMessageReply, SIPCode: 183,
		Supports: []string{SupportsLoadLimit}, TransportProtocol: ProtocolTLSSAVPF,
		ICE: ICEForceRelay, ICELite: ICELiteBoth, DTLS: DTLSPassive, DTLSReverse: DTLSActive, DTLSFingerprint: "sha-256",
		SDES: SDES{
			Off: true, No: []string{"NULL_HMAC_SHA1_32"}, Only: []string{"AEAD_AES_256_GCM", "AEAD_AES_128_GCM"}, NoNew: true,
			Order: []string{"A_1", "B_2"}, OffererPref: []string{"C_3"}, Pad: true, Lifetime: true, Static: true, Prefer: true,
			UnencryptedSRTP: SwitchOn, UnencryptedSRTCP: SwitchOff, UnauthenticatedSRTP: SwitchOn,
		},
		RTCPMux: RTCPMuxOffer | RTCPMuxReject, Bundle: BundleRequire | BundleStrict,
		Replace:   ReplaceOrigin | ReplaceForceIncrementSDPVersion | ReplaceZeroAddress,
		Flags:     FlagsOf(FlagNoPlayer, FlagSIPSourceAddress, FlagNATWait),
		Direction: [2]string{"priv", "pub"}, Interface: "x", AddressFamily: FamilyIP6, MediaAddress: "192.0.2.1",
		EndpointLearning: LearningHeuristic, TOS: new(184), DeleteDelay: new(0), Limit: new(5),
		Codec: Codec{
			Strip: []string{"all"}, Offer: []string{"PCMA"}, Except: []string{"PCMU"}, Mask: []string{"opus/48000/2"},
			Transcode: []string{"AMR/8000/1///mode-set=1,2,3"}, Accept: []string{"any"}, Consume: []string{"CN"},
			Ignore: []string{"red"}, Set: []string{"x"},
		},
		Ptime: 20, PtimeReverse: 30, OSRTP: []string{"offer"}, RecordCall: SwitchOff, GenerateRTCP: SwitchOn,
		Metadata: "m", SDPMediaRemove: []string{"video"},
		SDPAttr: []SDPAttr{
			{Section: "audio", Action: "add", Value: "ptime:20 x=1"},
			{Section: "global", Action: "substitute", Value: "a", With: "b=c d"},
		},
	}
}

func TestRequestRoundTrip(t *testing.T) {
	for _, format := range []Format{FormatBencode, FormatJSON} {
		want := full()
		body, err := EncodeRequest(want, format)
		if err != nil {
			t.Fatal(err)
		}
		got, gotFormat, err := DecodeRequest(body)
		if err != nil || gotFormat != format {
			t.Fatalf("format %d, %v", gotFormat, err)
		}
		if got.fields = nil; !reflect.DeepEqual(got, want) {
			t.Errorf("format %d:\ngot  %+v\nwant %+v", format, got, want)
		}
	}
}

// Every flag must survive under its own name, or two names collide.
func TestFlagNames(t *testing.T) {
	for f := Flag(0); f < flagCount; f++ {
		got, ok := flagOf(normal(f.String()))
		if !ok || got != f {
			t.Errorf("flag %d %q reads as %d", f, f, got)
		}
		if silent(normal(f.String())) {
			t.Errorf("flag %q is also a silent word", f)
		}
	}
	var s Flags
	for f := Flag(0); f < flagCount; f++ {
		if s.Has(f) {
			t.Errorf("%s set too early", f)
		}
		if s.Set(f); !s.Has(f) {
			t.Errorf("%s not set", f)
		}
	}
	if s.Clear(FlagNoPlayer); s.Has(FlagNoPlayer) || !s.Has(FlagPlayer) {
		t.Error("clear")
	}
	if s := Flag(200).String(); s != "unknown flag" {
		t.Error(s)
	}
}

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		command Command
		known   bool
	}{
		{CommandPing, true}, {CommandStatistics, true}, {CommandPlayMedia, true},
		{"cli", true}, {"CLI", true}, {"Ping", false}, {"", false},
	} {
		if c.command.Known() != c.known {
			t.Errorf("%q: known %v", c.command, c.command.Known())
		}
	}
}

func TestReplyRoundTrip(t *testing.T) {
	stream := StreamState{
		LocalPort: 30000, LocalAddress: "192.0.2.1", Family: "IPv4",
		Endpoint:           EndpointState{Family: "IPv4", Address: "192.0.2.2", Port: 4000},
		AdvertisedEndpoint: EndpointState{Family: "IPv6", Address: "2001:db8::1", Port: 4002},
		CryptoSuite:        "AEAD_AES_256_GCM", LastPacket: 1, LastKernelPacket: 2, LastUserPacket: 3, SSRC: 4294967295,
		IngressSSRCs: []uint32{4294967295}, EgressSSRCs: []uint32{7}, Flags: []string{"RTP", "filled"},
		Stats: Counters{Packets: 1, Bytes: 2, Errors: 3}, StatsOut: Counters{Packets: 4, Bytes: 5, Errors: 6},
	}
	mos := &MOS{MOS: 43, RoundTripTime: 1200, RoundTripTimeLeg: 600, Jitter: 3, PacketLoss: 1, Samples: 9}
	low := &MOS{MOS: 31, ReportedAt: 1700000000}
	call := &CallState{
		Created: 1700000000, CreatedUS: 5, CreatedTS: 1700000000000005, LastSignal: 1700000001, LastRedisUpdate: 3, Metadata: "m",
		RTP: Counters{Packets: 1, Bytes: 2, Errors: 3}, RTCP: Counters{Packets: 4, Bytes: 5, Errors: 6},
		SSRC: map[uint32]*SSRCState{4294967295: {
			Packets: 1, Bytes: 2, LastRTPTimestamp: 4294967295, LastRTPSeq: 65540, CumulativeLoss: -1,
			AverageMOS: mos, LowestMOS: low, HighestMOS: low,
			Progression: &MOSProgression{Interval: 1, Entries: []MOS{*low, *low}},
		}},
		Tags: map[string]*TagState{"f": {
			Tag: "f", ViaBranch: "b", Aliases: []string{"g"}, Label: "l", Created: 8, Metadata: "m", DialogueTo: "t",
			Subscriptions: []Subscription{{Tag: "t", Type: "offer/answer"}}, Subscribers: []Subscription{{Tag: "t", Type: "pub/sub"}},
			Medias: []MediaState{{
				Index: 1, Type: "audio", Protocol: "RTP/AVP", Codec: "PCMU/8000", Label: "x", Flags: []string{"send"},
				IngressSSRCs: []uint32{1}, EgressSSRCs: []uint32{2}, Streams: []StreamState{stream},
			}},
		}},
	}
	for _, c := range []struct {
		command Command
		reply   Reply
	}{
		{CommandPing, &Pong{}},
		{CommandConnect, &Ack{Warning: "w"}},
		{CommandOffer, &Failure{Reason: ReasonOutOfPorts}},
		{CommandOffer, &LoadLimit{Message: ReasonCPULimit}},
		{CommandOffer, &SDPReply{SDP: "v=0\r\n", Warning: "w"}},
		{CommandAnswer, &SDPReply{SDP: "v=0\r\n"}},
		{CommandDelete, &CallReply{Warning: "w"}},
		{CommandQuery, &CallReply{Call: call}},
		{CommandList, &ListReply{Calls: []string{"a", "b"}}},
		{CommandList, &ListReply{}},
		{CommandStatistics, &StatisticsReply{Statistics: Dict{
			{"a", int64(1)}, {"b", Dict{{"c", "0.5"}}}, {"d", []any{Dict{{"e", int64(2)}}}},
		}}},
	} {
		for _, format := range []Format{FormatBencode, FormatJSON} {
			body, err := EncodeReply(c.reply, format)
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeReply(c.command, body)
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if !reflect.DeepEqual(got, c.reply) {
				t.Errorf("%s format %d:\ngot  %+v\nwant %+v", c.command, format, got, c.reply)
			}
		}
	}
}

// Both SIP servers are happy with any order, but people read dumps: statistics
// keep theirs, and "result" comes last as rtpengine has it.
func TestReplyOrder(t *testing.T) {
	r := &StatisticsReply{Statistics: Dict{{"z", 1}, {"absent", nil}, {"a", 0.25}, {"m", Dict{{"y", "é<"}, {"b", true}}}}}
	for format, want := range map[Format]string{
		FormatBencode: "d10:statisticsd1:zi1e1:a4:0.251:md1:y3:é<1:bi1eee6:result2:oke",
		FormatJSON:    `{"statistics":{"z":1,"a":0.25,"m":{"y":"é<","b":true}},"result":"ok"}`,
	} {
		body, err := EncodeReply(r, format)
		if err != nil || string(body) != want {
			t.Errorf("%s %v", body, err)
		}
	}
}

func TestBadReplies(t *testing.T) {
	for _, body := range []string{"", "x", "de", "d6:resulti1ee", "d6:result5:maybee", `{"result":"maybe"}`, "e6:result2:oke"} {
		if reply, err := DecodeReply(CommandPing, []byte(body)); err == nil {
			t.Errorf("%q: %#v", body, reply)
		}
	}
}

func TestUnknownIsBounded(t *testing.T) {
	words := make([]any, 1000)
	for i := range words {
		words[i] = strings.Repeat("x", 1000)
	}
	req, err := requestOf(fieldsOf(map[string]any{"command": "offer", "flags": words}))
	if err != nil {
		t.Fatal(err)
	}
	if len(req.Unknown) != maxUnknown || len(req.Unknown[0]) > maxUnknownLen {
		t.Errorf("%d entries, first of %d bytes", len(req.Unknown), len(req.Unknown[0]))
	}
}

func TestRTPPFlagsGrammar(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want Request
	}{
		{"", Request{}},
		{"  \t ", Request{}},
		{"RTP", Request{TransportProtocol: ProtocolRTPAVP}},
		{"AVPF", Request{TransportProtocol: ProtocolRTPAVPF}},
		{"SRTP", Request{TransportProtocol: ProtocolRTPSAVP}},
		{"AVPF SRTP", Request{TransportProtocol: ProtocolRTPSAVPF}},
		{"SRTP AVPF RTP", Request{TransportProtocol: ProtocolRTPAVPF}},
		{"SRTP AVPF AVP", Request{TransportProtocol: ProtocolRTPSAVP}},
		{"DTLS AVPF", Request{TransportProtocol: ProtocolTLSSAVPF}},
		{"UDP/TLS/RTP/SAVP AVPF", Request{TransportProtocol: ProtocolTLSSAVPF}},
		{"transport-protocol=RTP/SAVPF", Request{TransportProtocol: ProtocolRTPSAVPF}},
		{"external internal", Request{Direction: [2]string{"external", "internal"}}},
		{"direction=a direction=b direction=c", Request{Direction: [2]string{"a", "b"}, Unknown: []string{"direction: c"}}},
		{"to-tag", Request{Flags: FlagsOf(FlagToTag)}},
		{"to-tag=x", Request{ToTag: "x", Flags: FlagsOf(FlagToTag)}},
		{"from-tag=x", Request{FromTag: "x", Flags: FlagsOf(FlagDirectional)}},
		{"codec=[strip=[all] transcode=[AMR/8000/1///mode-set=1,2 PCMA]]", Request{Codec: Codec{
			Strip: []string{"all"}, Transcode: []string{"AMR/8000/1///mode-set=1,2", "PCMA"}}}},
		{"codec=[mask=opus]", Request{Unknown: []string{"codec: list"}}},
		{"replace=[origin session-name] rtcp-mux=[offer]", Request{
			Replace: ReplaceOrigin | ReplaceSessionName, RTCPMux: RTCPMuxOffer}},
		{"sdp-attr-add-audio-fmtp:96..a=b", Request{SDPAttr: []SDPAttr{{Section: "audio", Action: "add", Value: "fmtp:96 a=b"}}}},
		{"command=delete sdp=x", Request{Unknown: []string{"rtpp-flags: command", "rtpp-flags: sdp"}}},
		{"] strict-source", Request{}},
		{"=x strict-source", Request{Flags: FlagsOf(FlagStrictSource), Unknown: []string{"rtpp-flags: =", "rtpp-flags: x"}}},
		{"codec=[[[[", Request{Unknown: []string{"codec: list"}}},
		{"a=" + strings.Repeat("[", 5000), Request{Unknown: []string{"rtpp-flags: a"}}},
	} {
		var got Request
		got.applyRTPPFlags(c.raw)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%.60q:\ngot  %+v\nwant %+v", c.raw, got, c.want)
		}
	}
}

// TestTrustOfAddresses: of two flags that contradict each other the later one
// counts.
func TestTrustOfAddresses(t *testing.T) {
	for body, trust := range map[string]bool{
		`["SIP source address", "trust address"]`: true,
		`["trust address", "SIP-source-address"]`: false,
	} {
		r, _, err := DecodeRequest([]byte(`{"command": "offer", "flags": ` + body + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if r.Flags.Has(FlagTrustAddress) != trust || r.Flags.Has(FlagSIPSourceAddress) == trust {
			t.Errorf("%s: %v", body, r.Flags)
		}
	}
}
