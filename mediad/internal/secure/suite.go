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

// The suites, in the order of SDP offers (RFC 7714, RFC 6188, RFC 4568; the names of F8 with the short tag and of NULL are rtpengine's).
const (
	NoSuite Suite = iota
	AEADAES256GCM
	AEADAES128GCM
	AES256CM80
	AES256CM32
	AES192CM80
	AES192CM32
	AESCM12880
	AESCM12832
	F8128HMAC80
	F8128HMAC32
	NullHMAC80
	NullHMAC32
	suiteCount
)

// Suites lists all suites in the order of SDP offers.
func Suites() []Suite {
	list := make([]Suite, 0, suiteCount-1)
	for s := NoSuite + 1; s < suiteCount; s++ {
		list = append(list, s)
	}
	return list
}

// cipherMode is how packets are encrypted.
type cipherMode uint8

const (
	cipherNull cipherMode = iota
	cipherCM              // AES in counter mode
	cipherF8              // AES in f8 mode
	cipherGCM             // AEAD
)

type suiteFacts struct {
	name    string
	profile srtp.ProtectionProfile // 0: pion lacks the suite
	cipher  cipherMode
	key     int // master key, bytes
	salt    int // master salt, bytes
	tag     int // SRTP authentication tag, bytes
}

func (s Suite) facts() suiteFacts {
	switch s {
	case AEADAES256GCM:
		return suiteFacts{"AEAD_AES_256_GCM", srtp.ProtectionProfileAeadAes256Gcm, cipherGCM, 32, 12, 16}
	case AEADAES128GCM:
		return suiteFacts{"AEAD_AES_128_GCM", srtp.ProtectionProfileAeadAes128Gcm, cipherGCM, 16, 12, 16}
	case AES256CM80:
		return suiteFacts{"AES_256_CM_HMAC_SHA1_80", srtp.ProtectionProfileAes256CmHmacSha1_80, cipherCM, 32, 14, 10}
	case AES256CM32:
		return suiteFacts{"AES_256_CM_HMAC_SHA1_32", srtp.ProtectionProfileAes256CmHmacSha1_32, cipherCM, 32, 14, 4}
	case AES192CM80:
		return suiteFacts{"AES_192_CM_HMAC_SHA1_80", 0, cipherCM, 24, 14, 10}
	case AES192CM32:
		return suiteFacts{"AES_192_CM_HMAC_SHA1_32", 0, cipherCM, 24, 14, 4}
	case AESCM12880:
		return suiteFacts{"AES_CM_128_HMAC_SHA1_80", srtp.ProtectionProfileAes128CmHmacSha1_80, cipherCM, 16, 14, 10}
	case AESCM12832:
		return suiteFacts{"AES_CM_128_HMAC_SHA1_32", srtp.ProtectionProfileAes128CmHmacSha1_32, cipherCM, 16, 14, 4}
	case F8128HMAC80:
		return suiteFacts{"F8_128_HMAC_SHA1_80", 0, cipherF8, 16, 14, 10}
	case F8128HMAC32:
		return suiteFacts{"F8_128_HMAC_SHA1_32", 0, cipherF8, 16, 14, 4}
	case NullHMAC80:
		return suiteFacts{"NULL_HMAC_SHA1_80", 0, cipherNull, 16, 14, 10}
	case NullHMAC32:
		return suiteFacts{"NULL_HMAC_SHA1_32", 0, cipherNull, 16, 14, 4}
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
