package phone

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/plainsdp"
	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/rtpio"
)

// session is the offer/answer state of a call (RFC 3264); the call's lock guards it.
type session struct {
	local     plainsdp.Local // Direction in it is what this side wants
	codecs    []string
	direction plainsdp.Direction // agreed, as this side sees it
	codec     string
	localSDP  string // as sent last
	remoteSDP string // as received last
}

func newSession(codecs []string, media netip.Addr) session {
	now := uint64(time.Now().Unix())
	return session{codecs: codecs, local: plainsdp.Local{
		ID: now, Version: now, Address: media, Codecs: codecs, Direction: plainsdp.SendRecv,
	}}
}

func (s *session) held() bool { return s.local.Direction != plainsdp.SendRecv }

// offer writes the description of what this side wants now.
func (s *session) offer() []byte {
	return s.write(func() []byte { return s.local.Offer() })
}

// answer reads an offer and gives the answer and what it means for the media, which the caller applies when it sends the answer.
func (s *session) answer(offer []byte) ([]byte, rtpio.Remote, error) {
	description, err := plainsdp.Parse(offer)
	if err != nil {
		return nil, rtpio.Remote{}, err
	}
	chosen, err := description.Choose(s.codecs, s.local.Address)
	if err != nil {
		return nil, rtpio.Remote{}, err
	}
	s.remoteSDP = string(offer)
	answer := s.write(func() []byte { return s.local.Answer(description, chosen) })
	return answer, s.agree(chosen, append(chosen.Audio[:len(chosen.Audio):len(chosen.Audio)], chosen.Event)), nil
}

// accept reads the answer to this side's newest offer.
func (s *session) accept(answer []byte) (rtpio.Remote, error) {
	if len(answer) == 0 {
		return rtpio.Remote{}, fmt.Errorf("no answer: %w", plainsdp.ErrMalformed)
	}
	description, err := plainsdp.Parse(answer)
	if err != nil {
		return rtpio.Remote{}, err
	}
	chosen, err := description.Choose(s.codecs, s.local.Address)
	if err != nil {
		return rtpio.Remote{}, err
	}
	s.remoteSDP = string(answer)
	own, err := plainsdp.Parse([]byte(s.localSDP))
	if err != nil {
		return rtpio.Remote{}, err
	}
	return s.agree(chosen, own.Streams[0].Formats), nil
}

// agree notes the result of an exchange; receive are the payload types that this side named.
func (s *session) agree(chosen plainsdp.Chosen, receive []plainsdp.Format) rtpio.Remote {
	s.direction = chosen.Direction.Answer(s.local.Direction)
	s.codec = chosen.Audio[0].Name
	remote := rtpio.Remote{
		RTP: netip.AddrPortFrom(chosen.Address, chosen.Port), RTCP: chosen.RTCP,
		Audio: chosen.Audio[0].Type, Codec: s.codec,
		Event: chosen.Event.Type, HasEvent: chosen.Event.Name != "",
		Receive: make(map[uint8]string), Send: s.direction.Sends(),
	}
	for _, f := range receive {
		if f.Name != "" {
			remote.Receive[f.Type] = f.Name
		}
	}
	return remote
}

// write renders a description, with a version one higher when it differs from the last one (RFC 3264 §8).
func (s *session) write(render func() []byte) []byte {
	out := render()
	if s.localSDP != "" && string(out) != s.localSDP {
		s.local.Version++
		out = render()
	}
	s.localSDP = string(out)
	return out
}
