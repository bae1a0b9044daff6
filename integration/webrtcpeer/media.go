package main

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

const (
	sampleRate = 8000 // Hz, G.711
	frame      = 160  // samples in 20 ms
)

// mediaSession is one peer connection with one PCMU track each way.
type mediaSession struct {
	pc     *webrtc.PeerConnection
	track  *webrtc.TrackLocalStaticSample
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	heard   []float64 // samples of the last second
	packets int
	lost    int
	lastSeq uint16
	started bool
}

func newMedia(tone float64) (*mediaSession, error) {
	engine := &webrtc.MediaEngine{}
	for _, c := range []struct {
		mime string
		pt   webrtc.PayloadType
		rate uint32
	}{{webrtc.MimeTypePCMU, 0, 8000}, {webrtc.MimeTypePCMA, 8, 8000}, {"audio/telephone-event", 126, 8000}} {
		if err := engine.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: c.mime, ClockRate: c.rate},
			PayloadType:        c.pt,
		}, webrtc.RTPCodecTypeAudio); err != nil {
			return nil, err
		}
	}
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetHandleUndeclaredSSRCWithoutAnswer(true) // media may overtake the answer
	api := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithSettingEngine(settings))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	m := &mediaSession{pc: pc}
	m.track, err = webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypePCMU, ClockRate: 8000}, "audio", "tandem")
	if err == nil {
		_, err = pc.AddTrack(m.track)
	}
	if err != nil {
		_ = pc.Close()
		return nil, err
	}
	pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { m.hear(t) })
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.wg.Add(1)
	go m.speak(ctx, tone)
	return m, nil
}

func (m *mediaSession) close() {
	m.cancel()
	m.wg.Wait()
	_ = m.pc.Close()
}

// speak sends the tone as PCMU in 20 ms frames.
func (m *mediaSession) speak(ctx context.Context, tone float64) {
	defer m.wg.Done()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	phase, step := 0.0, 2*math.Pi*tone/sampleRate
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		data := make([]byte, frame)
		for i := range data {
			data[i] = encodeULaw(int(12000 * math.Sin(phase)))
			phase += step
		}
		_ = m.track.WriteSample(media.Sample{Data: data, Duration: 20 * time.Millisecond})
	}
}

// hear decodes what arrives until the track ends with the peer connection.
func (m *mediaSession) hear(t *webrtc.TrackRemote) {
	for {
		pkt, _, err := t.ReadRTP()
		if err != nil {
			return
		}
		var decode func(byte) int
		switch pkt.PayloadType {
		case 0:
			decode = decodeULaw
		case 8:
			decode = decodeALaw
		default:
			continue
		}
		m.mu.Lock()
		if m.started {
			if gap := pkt.SequenceNumber - m.lastSeq; gap > 1 && gap < 1000 {
				m.lost += int(gap) - 1
			}
		}
		m.started, m.lastSeq = true, pkt.SequenceNumber
		m.packets++
		for _, b := range pkt.Payload {
			m.heard = append(m.heard, float64(decode(b)))
		}
		if n := len(m.heard) - sampleRate; n > 0 {
			m.heard = append(m.heard[:0], m.heard[n:]...)
		}
		m.mu.Unlock()
	}
}

func (m *mediaSession) report() event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return event{Event: "media", Frequency: dominant(m.heard), Packets: m.packets, Lost: m.lost, ICE: m.pc.ICEConnectionState().String()}
}

func (m *mediaSession) remoteSDP() string {
	if d := m.pc.RemoteDescription(); d != nil {
		return d.SDP
	}
	return ""
}

// offer returns the local description with its candidates gathered.
func (m *mediaSession) offer(ctx context.Context) (string, error) {
	desc, err := m.pc.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	return m.gathered(ctx, desc)
}

// answerTo applies a remote offer and returns our answer.
func (m *mediaSession) answerTo(ctx context.Context, remote string) (string, error) {
	if err := m.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: bundled(remote)}); err != nil {
		return "", err
	}
	desc, err := m.pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	return m.gathered(ctx, desc)
}

func (m *mediaSession) gathered(ctx context.Context, desc webrtc.SessionDescription) (string, error) {
	done := webrtc.GatheringCompletePromise(m.pc)
	if err := m.pc.SetLocalDescription(desc); err != nil {
		return "", err
	}
	select {
	case <-done:
		return trickling(m.pc.LocalDescription().SDP), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// trickling says what every browser says and pion leaves out. Without it the
// address 0.0.0.0 of pion's c= line is a hold to rtpengine and mediad.
func trickling(desc string) string {
	return strings.Replace(desc, "\r\na=ice-ufrag:", "\r\na=ice-options:trickle\r\na=ice-ufrag:", 1)
}

func (m *mediaSession) accept(remote string) error {
	if m.pc.SignalingState() == webrtc.SignalingStateStable {
		return nil // the 200 repeats what the 183 said
	}
	return m.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: bundled(remote)})
}

// bundled puts the one m-line into a BUNDLE group where the description has
// none: pion refuses media outside a group, which a browser does not.
func bundled(desc string) string {
	_, rest, ok := strings.Cut(desc, "\r\na=mid:")
	if !ok || strings.Contains(desc, "a=group:BUNDLE") {
		return desc
	}
	mid, _, _ := strings.Cut(rest, "\r\n")
	return strings.Replace(desc, "\r\nm=", "\r\na=group:BUNDLE "+mid+"\r\nm=", 1)
}

// dominant returns the strongest frequency of the samples in steps of 10 Hz
// (Goertzel), or 0 for silence.
func dominant(samples []float64) float64 {
	if len(samples) < sampleRate/2 {
		return 0
	}
	best, bestPower := 0.0, 0.0
	for f := 100.0; f <= 3400; f += 10 {
		c := 2 * math.Cos(2*math.Pi*f/sampleRate)
		var s1, s2 float64
		for _, x := range samples {
			s1, s2 = x+c*s1-s2, s1
		}
		if p := s1*s1 + s2*s2 - c*s1*s2; p > bestPower {
			best, bestPower = f, p
		}
	}
	n := float64(len(samples))
	if bestPower/(n*n) < 100 { // below an amplitude of 20 of 32768
		return 0
	}
	return best
}

// encodeULaw is G.711 µ-law of one 16-bit sample.
func encodeULaw(s int) byte {
	sign := byte(0)
	if s < 0 {
		s, sign = -s, 0x80
	}
	s = min(s, 32635) + 132
	exp := 7
	for mask := 0x4000; s&mask == 0 && exp > 0; mask >>= 1 {
		exp--
	}
	return ^(sign | byte(exp<<4) | byte(s>>(exp+3))&0x0f)
}

func decodeULaw(b byte) int {
	b = ^b
	s := (int(b&0x0f)<<3+132)<<(b>>4&7) - 132
	if b&0x80 != 0 {
		return -s
	}
	return s
}

func decodeALaw(b byte) int {
	b ^= 0x55
	s, exp := int(b&0x0f)<<4+8, b>>4&7
	if exp > 0 {
		s = (s + 256) << (exp - 1)
	}
	if b&0x80 == 0 {
		return -s
	}
	return s
}
