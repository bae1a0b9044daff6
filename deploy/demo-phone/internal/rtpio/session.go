// Package rtpio is the media side of a plain phone: one RTP/RTCP port pair, G.711 and RFC 4733 in and out, statistics.
package rtpio

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/tone"
)

const (
	frameTime    = 20 * time.Millisecond
	frameSamples = tone.Rate / 50
	maxDatagram  = 2048
	// maxDigits bounds the digits remembered and those that wait to be sent.
	maxDigits = 256
)

// ErrNoPort means that no even/odd port pair could be bound.
var ErrNoPort = errors.New("no free RTP port pair")

// Source makes the audio to send, 20 ms (160 samples) at a time.
type Source interface{ Fill(frame []int16) }

// Sink takes the received audio; gap is the number of lost samples before pcm.
type Sink interface {
	Write(pcm []int16, gap int)
	Close() error
}

// Config is what a session keeps for its whole life.
type Config struct {
	Address netip.Addr       // local address of both ports
	Source  Source           // audio to send; with Echo only used when nothing was received yet
	Echo    bool             // send every received RTP packet back
	Sink    Sink             // may be nil
	OnDigit func(digit byte) // called once a received digit, from the reader; may be nil
}

// Remote is what the peer's description asks for. Payload types are per direction, as RFC 3264 allows.
type Remote struct {
	RTP, RTCP netip.AddrPort   // invalid or unspecified (0.0.0.0): nothing is sent
	Audio     uint8            // payload type to send audio with
	Codec     string           // PCMA or PCMU
	Event     uint8            // payload type to send digits with
	HasEvent  bool             // the peer takes telephone-event
	Receive   map[uint8]string // payload type to PCMA, PCMU or TELEPHONE-EVENT
	Send      bool             // the negotiated direction lets us send
}

// Session runs one call's media. Close ends its goroutines and its sockets.
type Session struct {
	config Config
	rtp    *net.UDPConn
	rtcp   *net.UDPConn
	ssrc   uint32

	mu     sync.Mutex
	remote Remote
	known  bool // remote was set
	out    sender
	in     receiver
	digits string // waiting to be sent

	stop chan struct{}
	once sync.Once
	wait sync.WaitGroup
}

// Open binds an even port and the odd one above it and starts the session; nothing is sent before SetRemote.
func Open(config Config) (*Session, error) {
	rtp, rtcp, err := bindPair(config.Address)
	if err != nil {
		return nil, err
	}
	var seed [10]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, errors.Join(err, rtp.Close(), rtcp.Close())
	}
	s := &Session{config: config, rtp: rtp, rtcp: rtcp, stop: make(chan struct{}), ssrc: binary.BigEndian.Uint32(seed[:])}
	s.out.sequence = binary.BigEndian.Uint16(seed[4:])
	s.out.timestamp = binary.BigEndian.Uint32(seed[6:])
	s.wait.Go(s.receiveRTP)
	s.wait.Go(s.receiveRTCP)
	s.wait.Go(s.sendFrames)
	s.wait.Go(s.sendReports)
	return s, nil
}

// bindPair asks the system for a free port until it and its neighbour make an even/odd pair (RFC 3550 §11).
func bindPair(address netip.Addr) (rtp, rtcp *net.UDPConn, err error) {
	for range 64 {
		first, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrNoPort, err)
		}
		port := uint16(first.LocalAddr().(*net.UDPAddr).Port)
		second, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, port^1)))
		switch {
		case err != nil:
			_ = first.Close()
		case port%2 == 0:
			return first, second, nil
		default:
			return second, first, nil
		}
	}
	return nil, nil, ErrNoPort
}

// Port is the local RTP port.
func (s *Session) Port() uint16 { return uint16(s.rtp.LocalAddr().(*net.UDPAddr).Port) }

// SetRemote applies what an offer/answer exchange agreed on, from the next packet on.
func (s *Session) SetRemote(remote Remote) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remote, s.known = remote, true
}

// SendDigits queues digits as RFC 4733 events, 160 ms each; it reports how many were taken (0 when the peer takes no events).
func (s *Session) SendDigits(digits string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known || !s.remote.HasEvent {
		return 0
	}
	taken := 0
	for _, d := range []byte(digits) {
		if _, ok := eventOf(d); ok && len(s.digits) < maxDigits {
			s.digits += string(d)
			taken++
		}
	}
	return taken
}

// Close ends the session and waits for its goroutines. It says RTCP BYE to the peer.
func (s *Session) Close() error {
	var err error
	s.once.Do(func() {
		close(s.stop)
		s.report(true)
		err = errors.Join(s.rtp.Close(), s.rtcp.Close())
		s.wait.Wait()
		if s.config.Sink != nil {
			err = errors.Join(err, s.config.Sink.Close())
		}
	})
	return err
}
