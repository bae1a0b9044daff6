package secure

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrInline says that the key parameter of an SDP crypto line is malformed or of the wrong length for its suite.
var ErrInline = errors.New("secure: malformed SDES key")

const maxMKILen = 128 // RFC 4568 §6.1

// Key is an SRTP master key with its salt, and whether parts of the traffic go without cryptography (RFC 4568 §6.3).
type Key struct {
	Suite Suite
	// Master is the master key followed by the master salt, Suite.KeyLen()+Suite.SaltLen() bytes.
	Master []byte
	// MKI is the master key identifier sent with each packet, nil for none.
	MKI []byte
	// Lifetime is the lifetime part as written in the crypto line ("2^31"), empty for none. It is informational.
	Lifetime string
	// UnencryptedSRTP and UnencryptedSRTCP leave payloads readable; authentication stays.
	UnencryptedSRTP, UnencryptedSRTCP bool
	// UnauthenticatedSRTP leaves out the tag of SRTP packets; SRTCP has it always, and so have the AEAD suites.
	UnauthenticatedSRTP bool
}

// NewKey makes a random key for a suite.
func NewKey(s Suite) (Key, error) {
	if s.KeyLen() == 0 {
		return Key{}, fmt.Errorf("%w: %d", ErrSuite, s)
	}
	k := Key{Suite: s, Master: make([]byte, s.KeyLen()+s.SaltLen())}
	if _, err := rand.Read(k.Master); err != nil {
		return Key{}, fmt.Errorf("secure: random key: %w", err)
	}
	return k, nil
}

// String never shows the key.
func (k Key) String() string { return "Key{" + k.Suite.String() + "}" }

// GoString never shows the key.
func (k Key) GoString() string { return k.String() }

// Inline is the key-params part of a crypto line (RFC 4568 §9.2): "inline:" and base64, padded if pad is set, with lifetime and
// MKI where the key has them.
func (k Key) Inline(pad bool) string {
	enc := base64.RawStdEncoding
	if pad {
		enc = base64.StdEncoding
	}
	var b strings.Builder
	b.WriteString("inline:")
	b.WriteString(enc.EncodeToString(k.Master))
	if k.Lifetime != "" {
		b.WriteByte('|')
		b.WriteString(k.Lifetime)
	}
	if len(k.MKI) > 0 {
		fmt.Fprintf(&b, "|%s:%d", mkiDecimal(k.MKI), len(k.MKI))
	}
	return b.String()
}

// ParseInline reads the key-params part of a crypto line for a suite. Base64 may be padded or not; lifetime and one MKI are accepted;
// of several keys separated by ";" the first counts. The error wraps ErrInline or ErrSuite and never holds key material.
func ParseInline(s Suite, params string) (Key, error) {
	if s.KeyLen() == 0 {
		return Key{}, fmt.Errorf("%w: %d", ErrSuite, s)
	}
	params, _, _ = strings.Cut(params, ";")
	const prefix = "inline:"
	if len(params) < len(prefix) || !strings.EqualFold(params[:len(prefix)], prefix) {
		return Key{}, fmt.Errorf("%w: no inline method", ErrInline)
	}
	parts := strings.Split(params[len(prefix):], "|")
	if len(parts) > 3 {
		return Key{}, fmt.Errorf("%w: too many fields", ErrInline)
	}
	master, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(parts[0]), "="))
	if err != nil {
		return Key{}, fmt.Errorf("%w: not base64", ErrInline)
	}
	if want := s.KeyLen() + s.SaltLen(); len(master) != want {
		return Key{}, fmt.Errorf("%w: %d bytes of key and salt, %s needs %d", ErrInline, len(master), s, want)
	}
	k := Key{Suite: s, Master: master}
	for _, p := range parts[1:] {
		if strings.Contains(p, ":") {
			if k.MKI, err = parseMKI(p); err != nil {
				return Key{}, err
			}
			continue
		}
		if !isLifetime(p) {
			return Key{}, fmt.Errorf("%w: lifetime", ErrInline)
		}
		k.Lifetime = p
	}
	return k, nil
}

// isLifetime reports whether s is a decimal number or a power of two written 2^n (RFC 4568 §6.1).
func isLifetime(s string) bool {
	_, err := strconv.ParseUint(strings.TrimPrefix(s, "2^"), 10, 64)
	return err == nil
}

// parseMKI reads "value:length", the value in decimal, into a big-endian identifier.
func parseMKI(s string) ([]byte, error) {
	value, length, _ := strings.Cut(s, ":")
	n, err := strconv.Atoi(length)
	if err != nil || n < 1 || n > maxMKILen {
		return nil, fmt.Errorf("%w: MKI length", ErrInline)
	}
	v, err := strconv.ParseUint(value, 10, 64)
	if err != nil || (n < 8 && v>>(8*n) != 0) {
		return nil, fmt.Errorf("%w: MKI value", ErrInline)
	}
	mki := make([]byte, n)
	for i := n - 1; i >= 0 && v != 0; i-- {
		mki[i] = byte(v)
		v >>= 8
	}
	return mki, nil
}

func mkiDecimal(mki []byte) string {
	var v uint64
	for _, b := range mki {
		v = v<<8 | uint64(b)
	}
	return strconv.FormatUint(v, 10)
}
