package topology

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// sealer encrypts short texts into letters, digits, "-" and "_". The nonce is made of the text itself, so the same text
// gives the same letters: a repeated response shows the same Contact (the construction of RFC 5297's SIV with HMAC).
type sealer struct {
	aead cipher.AEAD
	mac  []byte
}

const nonceSize = 12

func newSealer(key []byte) (*sealer, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("topology: key of %d bytes, want 32", len(key))
	}
	derive := func(purpose string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(purpose))
		return h.Sum(nil)
	}
	block, err := aes.NewCipher(derive("topology encryption"))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, mac: derive("topology nonce")}, nil
}

func (s *sealer) nonce(text, purpose string) []byte {
	h := hmac.New(sha256.New, s.mac)
	h.Write([]byte(purpose + "\x00" + text))
	return h.Sum(nil)[:nonceSize]
}

// close encrypts text for one purpose.
func (s *sealer) close(text, purpose string) string {
	nonce := s.nonce(text, purpose)
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, []byte(text), []byte(purpose)))
}

// open is the reverse of close.
func (s *sealer) open(sealed, purpose string) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(raw) < nonceSize {
		return "", errSealed
	}
	text, err := s.aead.Open(nil, raw[:nonceSize], raw[nonceSize:], []byte(purpose))
	if err != nil {
		return "", errSealed
	}
	return string(text), nil
}
