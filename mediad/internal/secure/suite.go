// Package secure has the cryptography of media: SRTP contexts, keys carried in SDP (SDES, RFC 4568) and DTLS-SRTP (RFC 5764).
package secure

import (
	"errors"
	"fmt"

	"github.com/pion/srtp/v3"
)

// ErrSuite says that an SRTP crypto suite is unknown or not supported.
var ErrSuite = errors.New("secure: unsupported crypto suite")

// Suite is an SRTP crypto suite. The zero value is none.
type Suite uint8

// The suites, best first as in SDP offers (RFC 7714, RFC 6188, RFC 4568). AES_192_CM and F8 are refused: no implementation here.
const (
	NoSuite Suite = iota
	AEADAES256GCM
	AEADAES128GCM
	AES256CM80
	AES256CM32
	AESCM12880
	AESCM12832
	NullHMAC80
	NullHMAC32
	suiteCount
)

// Suites lists all suites that encrypt, best first.
func Suites() []Suite {
	return []Suite{AEADAES256GCM, AEADAES128GCM, AES256CM80, AES256CM32, AESCM12880, AESCM12832}
}

type suiteFacts struct {
	name    string
	profile srtp.ProtectionProfile
	key     int // master key, bytes
	salt    int // master salt, bytes
}

func (s Suite) facts() suiteFacts {
	switch s {
	case AEADAES256GCM:
		return suiteFacts{"AEAD_AES_256_GCM", srtp.ProtectionProfileAeadAes256Gcm, 32, 12}
	case AEADAES128GCM:
		return suiteFacts{"AEAD_AES_128_GCM", srtp.ProtectionProfileAeadAes128Gcm, 16, 12}
	case AES256CM80:
		return suiteFacts{"AES_256_CM_HMAC_SHA1_80", srtp.ProtectionProfileAes256CmHmacSha1_80, 32, 14}
	case AES256CM32:
		return suiteFacts{"AES_256_CM_HMAC_SHA1_32", srtp.ProtectionProfileAes256CmHmacSha1_32, 32, 14}
	case AESCM12880:
		return suiteFacts{"AES_CM_128_HMAC_SHA1_80", srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14}
	case AESCM12832:
		return suiteFacts{"AES_CM_128_HMAC_SHA1_32", srtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14}
	case NullHMAC80:
		return suiteFacts{"NULL_HMAC_SHA1_80", srtp.ProtectionProfileNullHmacSha1_80, 16, 14}
	case NullHMAC32:
		return suiteFacts{"NULL_HMAC_SHA1_32", srtp.ProtectionProfileNullHmacSha1_32, 16, 14}
	default:
		return suiteFacts{}
	}
}

// String is the name used in SDP crypto lines and ng flags, for example AES_CM_128_HMAC_SHA1_80; empty for none.
func (s Suite) String() string { return s.facts().name }

// KeyLen is the length in bytes of the master key.
func (s Suite) KeyLen() int { return s.facts().key }

// SaltLen is the length in bytes of the master salt.
func (s Suite) SaltLen() int { return s.facts().salt }

// ParseSuite finds a suite by its SDP name, case and the usual AES_128_CM spelling included. The error wraps ErrSuite.
func ParseSuite(name string) (Suite, error) {
	upper := upperASCII(name)
	switch upper {
	case "AES_128_CM_HMAC_SHA1_80":
		return AESCM12880, nil
	case "AES_128_CM_HMAC_SHA1_32":
		return AESCM12832, nil
	}
	for s := NoSuite + 1; s < suiteCount; s++ {
		if s.String() == upper {
			return s, nil
		}
	}
	return NoSuite, fmt.Errorf("%w: %q", ErrSuite, name)
}

func upperASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
