package connect

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 8489 §14.5 prescribes HMAC-SHA1
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"net/netip"
	"time"

	"github.com/pion/stun/v2"
)

// verdict about a datagram.
type verdict uint8

const (
	fine      verdict = iota
	malformed         // not answered
	nameless          // a request without USERNAME or MESSAGE-INTEGRITY: 400 (RFC 8489 §9.1.3)
	stranger          // a request for somebody else or with a wrong password: 401
)

// refusalsPerSecond bounds the errors that one port answers with.
const refusalsPerSecond = 20

// authenticator checks the integrity of requests on one port, before pion's queue, so that forgeries cannot fill it. It belongs to the
// goroutine that reads the port.
type authenticator struct {
	mac    hash.Hash
	header [stunHeader]byte
	sum    []byte

	since    time.Time // of the second that refusals are counted in
	refusals int
}

func newAuthenticator(password string) *authenticator {
	return &authenticator{mac: hmac.New(sha1.New, []byte(password))}
}

// check verifies MESSAGE-INTEGRITY of an acceptable request. It does not allocate.
func (a *authenticator) check(pkt []byte) verdict {
	at := 0
	for offset := stunHeader; offset+4 <= len(pkt); {
		if binary.BigEndian.Uint16(pkt[offset:]) == attrIntegrity {
			at = offset
			break
		}
		offset += 4 + (int(binary.BigEndian.Uint16(pkt[offset+2:]))+3)&^3
	}
	if at == 0 || at+4+sha1.Size > len(pkt) {
		return nameless
	}
	copy(a.header[:], pkt)
	binary.BigEndian.PutUint16(a.header[2:], uint16(at+4+sha1.Size-stunHeader))
	a.mac.Reset()
	a.mac.Write(a.header[:])
	a.mac.Write(pkt[stunHeader:at])
	a.sum = a.mac.Sum(a.sum[:0])
	if subtle.ConstantTimeCompare(a.sum, pkt[at+4:at+4+sha1.Size]) != 1 {
		return stranger
	}
	return fine
}

// refuse answers a request with an error, unless the answer would be larger than the request or too many have been sent this second: the
// source of a request is easily forged.
func (a *authenticator) refuse(v verdict, pkt []byte, port Port, src netip.AddrPort, now time.Time) {
	if now.Sub(a.since) >= time.Second {
		a.since, a.refusals = now, 0
	}
	if a.refusals >= refusalsPerSecond {
		return
	}
	code := stun.ErrorCodeAttribute{Code: stun.CodeBadRequest, Reason: []byte("Bad Request")}
	if v == stranger {
		code = stun.ErrorCodeAttribute{Code: stun.CodeUnauthorized, Reason: []byte("Unauthorized")}
	}
	m, err := stun.Build(transactionOf(pkt), stun.BindingError, code, stun.Fingerprint)
	if err == nil && len(m.Raw) <= len(pkt) {
		a.refusals++
		_ = port.Sender.Send(m.Raw, src)
	}
}

// transactionOf makes an answer to a message one to its transaction.
func transactionOf(pkt []byte) stun.Setter {
	var id [stun.TransactionIDSize]byte
	copy(id[:], pkt[8:stunHeader])
	return stun.NewTransactionIDSetter(id)
}
