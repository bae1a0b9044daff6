package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/srtp/v3"
	"golang.org/x/sys/unix"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

const (
	stormPairs  = 3                // of sockets: a re-INVITE moves a call from one to another
	burst       = 3                // packets of one word
	answerTime  = 3 * time.Second  // for one packet of a burst to arrive
	crossedSSRC = uint32(0x5b0000) // above the numbers of calls
)

// ErrDeaf says that nothing of what one leg sent arrived at the other.
var ErrDeaf = errors.New("traffic: nothing arrives")

// Counts of what a storm has done.
type Counts struct{ Calls, Reoffers, Moves, Blocks, Talks int }

// Add sums up.
func (c *Counts) Add(d Counts) {
	c.Calls, c.Reoffers, c.Moves, c.Blocks, c.Talks = c.Calls+d.Calls, c.Reoffers+d.Reoffers, c.Moves+d.Moves, c.Blocks+d.Blocks, c.Talks+d.Talks
}

// Storm lets calls come, change and go at random: hold, other codecs, other ports, SRTP and back, blocked DTMF. After each change it makes sure
// that the call still carries packets both ways. It is not safe for concurrent use; many may run at once.
type Storm struct {
	Counts  Counts
	parties Parties
	control *Control
	pairs   [stormPairs][2]*socket
	calls   []*gust
	most    int
	next    int
	r       *rand.Rand
	inbox   *inbox
}

// gust is a call of a storm.
type gust struct {
	*call
	shape
	kind    Kind
	pair    int
	number  uint32
	blocked bool
	seq     [2]uint16
}

// NewStorm makes a storm of at most most calls at a time.
func NewStorm(p Parties, dial Dialer, most int, seed uint64) (*Storm, error) {
	control, err := dial()
	if err != nil {
		return nil, err
	}
	s := &Storm{parties: p, control: control, most: most, r: rand.New(rand.NewPCG(seed, seed)), inbox: newInbox()}
	for i := range s.pairs {
		for leg := range 2 {
			if s.pairs[i][leg], err = listen(p.Address[leg]); err != nil {
				return nil, errors.Join(err, s.Close())
			}
		}
	}
	return s, nil
}

// Close ends the sockets. Calls are ended by Calm.
func (s *Storm) Close() error {
	errs := []error{s.control.Close()}
	for _, pair := range s.pairs {
		for _, sock := range pair {
			if sock != nil {
				errs = append(errs, sock.close())
			}
		}
	}
	return errors.Join(errs...)
}

// Calm ends all calls.
func (s *Storm) Calm() error {
	for len(s.calls) > 0 {
		if err := s.end(0); err != nil {
			return err
		}
	}
	return nil
}

// Blow does one thing.
func (s *Storm) Blow() error {
	if len(s.calls) == 0 || len(s.calls) < s.most && s.r.IntN(3) == 0 {
		return s.begin()
	}
	i := s.r.IntN(len(s.calls))
	g := s.calls[i]
	switch s.r.IntN(8) {
	case 0, 1, 2:
		return s.end(i)
	case 3:
		return s.hold(g)
	case 4:
		g.codecs = []string{"0 8", "8 0", "8"}[s.r.IntN(3)]
		return s.again(g)
	case 5:
		g.pair = s.r.IntN(stormPairs)
		return s.again(g)
	case 6:
		s.Counts.Moves++
		g.kind = map[Kind]Kind{RTP: SRTP, SRTP: RTP}[g.kind]
		return s.again(g)
	default:
		return s.block(g)
	}
}

func (s *Storm) begin() error {
	s.next++
	g := &gust{call: newCall(s.next, [2]uint16{}), shape: first(), kind: RTP, pair: s.r.IntN(stormPairs), number: uint32(s.next)}
	g.version = 0
	s.calls = append(s.calls, g)
	s.Counts.Calls++
	s.Counts.Reoffers--
	return s.again(g)
}

func (s *Storm) end(i int) error {
	g := s.calls[i]
	s.calls = slices.Delete(s.calls, i, i+1)
	return g.remove(s.control)
}

func (s *Storm) hold(g *gust) error {
	if g.offered == "sendrecv" {
		g.offered, g.direction = "sendonly", "recvonly"
	} else {
		g.offered, g.direction = "sendrecv", "sendrecv"
	}
	return s.again(g)
}

// again makes an offer and an answer and lets both talk.
func (s *Storm) again(g *gust) error {
	s.Counts.Reoffers++
	g.version++
	p := s.parties
	p.Kind = g.kind
	g.port = [2]uint16{s.pairs[g.pair][0].local.Port(), s.pairs[g.pair][1].local.Port()}
	if err := g.establish(s.control, &p, g.shape); err != nil {
		return err
	}
	return s.talk(g)
}

// block or unblocks DTMF, which a daemon that forwards in the kernel must do elsewhere.
func (s *Storm) block(g *gust) error {
	s.Counts.Blocks++
	command := ng.CommandBlockDTMF
	if g.blocked {
		command = ng.CommandUnblockDTMF
	}
	g.blocked = !g.blocked
	if _, err := s.control.Do(&ng.Request{Command: command, CallID: g.id}); err != nil {
		return err
	}
	return s.talk(g)
}

// talk lets both legs say something, unless the call is on hold.
func (s *Storm) talk(g *gust) error {
	if g.offered != "sendrecv" {
		return nil
	}
	s.Counts.Talks++
	for leg := range 2 {
		if err := s.say(g, leg); err != nil {
			return err
		}
	}
	return nil
}

func (s *Storm) say(g *gust, leg int) error {
	from, to := s.pairs[g.pair][leg], s.pairs[g.pair][1-leg]
	ssrc := uint32(leg+1)*crossedSSRC<<4 + g.number
	payloadType, since := byte(0), g.seq[leg]
	if g.codecs == "8" {
		payloadType = 8
	}
	for range burst {
		pkt := make([]byte, headerLen+payloadLen, packetSize)
		pkt[0], pkt[1] = 0x80, payloadType
		binary.BigEndian.PutUint16(pkt[2:], g.seq[leg])
		binary.BigEndian.PutUint32(pkt[4:], uint32(g.seq[leg])*payloadLen)
		binary.BigEndian.PutUint32(pkt[8:], ssrc)
		binary.BigEndian.PutUint64(pkt[headerLen+8:], mark)
		g.seq[leg]++
		if leg == 1 && g.out != nil {
			var err error
			if pkt, err = g.out.EncryptRTP(nil, pkt, nil); err != nil {
				return err
			}
		}
		if err := unix.Sendto(from.fd, pkt, 0, inet(g.to[leg])); err != nil {
			return fmt.Errorf("traffic: send: %w", err)
		}
	}
	var context *srtp.Context
	if leg == 0 {
		context = g.in
	}
	return s.hear(g, to, ssrc, since, context, leg)
}

func inet(a netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// hear waits for one packet of the stream from since on, as it was sent.
func (s *Storm) hear(g *gust, at *socket, ssrc uint32, since uint16, context *srtp.Context, leg int) error {
	for deadline := time.Now().Add(answerTime); time.Now().Before(deadline); {
		fds := []unix.PollFd{{Fd: int32(at.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, 100); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for i := range s.inbox.read(at) {
			pkt, _ := s.inbox.take(i)
			if len(pkt) < headerLen+payloadLen || binary.BigEndian.Uint32(pkt[8:]) != ssrc || int16(binary.BigEndian.Uint16(pkt[2:])-since) < 0 {
				continue // late ones of another call, or of before
			}
			if context != nil {
				clear, err := context.DecryptRTP(nil, pkt, nil)
				if err != nil {
					continue // of before the new keys
				}
				pkt = clear
			}
			if len(pkt) == headerLen+payloadLen && binary.BigEndian.Uint64(pkt[headerLen+8:]) == mark {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: call %s, version %d, %s, leg %d to %s", ErrDeaf, g.id, g.version, g.kind, leg, g.to[leg])
}
