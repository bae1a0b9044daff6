package rtp

// Kind is what a datagram on a media port holds.
type Kind uint8

// The kinds told apart by the first byte (RFC 7983 §7) and, for RTP and RTCP, by the second (RFC 5761 §4).
const (
	Unknown Kind = iota
	STUN
	ZRTP
	DTLS
	TURNChannel
	Media // an RTP packet
	Control
)

// String names the kind for logs and test failures.
func (k Kind) String() string {
	switch k {
	case STUN:
		return "STUN"
	case ZRTP:
		return "ZRTP"
	case DTLS:
		return "DTLS"
	case TURNChannel:
		return "TURN channel"
	case Media:
		return "RTP"
	case Control:
		return "RTCP"
	default:
		return "unknown"
	}
}

// Classify tells what a datagram holds. RTP and RTCP are told apart by the packet type, 192–223 being RTCP (RFC 5761 §4 keeps RTP
// payload types 64–95 free for that).
func Classify(pkt []byte) Kind {
	if len(pkt) == 0 {
		return Unknown
	}
	switch b := pkt[0]; {
	case b < 4:
		return STUN
	case b >= 16 && b < 20:
		return ZRTP
	case b >= 20 && b < 64:
		return DTLS
	case b >= 64 && b < 80:
		return TURNChannel
	case b >= 128 && b < 192:
		return mediaOrControl(pkt)
	default:
		return Unknown
	}
}

func mediaOrControl(pkt []byte) Kind {
	if len(pkt) < RTCPHeaderSize {
		return Unknown
	}
	if t := pkt[1]; t >= 192 && t < 224 {
		return Control
	}
	if len(pkt) < HeaderSize {
		return Unknown
	}
	return Media
}
