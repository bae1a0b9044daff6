package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// PublicKey reads a PEM file: a public key or a certificate.
func PublicKey(data []byte) (any, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("not a PEM file")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	}
	return nil, fmt.Errorf("a %s is neither PUBLIC KEY nor CERTIFICATE", block.Type)
}

// webKey is one of a JWKS (RFC 7517, RFC 7518 §6, RFC 8037).
type webKey struct {
	Type, Use, ID, Algorithm string
	Curve, X, Y, N, E, K     string
}

// UnmarshalJSON implements json.Unmarshaler.
func (w *webKey) UnmarshalJSON(data []byte) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	for name, into := range map[string]*string{
		"kty": &w.Type, "use": &w.Use, "kid": &w.ID, "alg": &w.Algorithm, "crv": &w.Curve, "x": &w.X, "y": &w.Y, "n": &w.N, "e": &w.E, "k": &w.K,
	} {
		if raw, ok := m[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// WebKeys reads a JWKS file. Keys for encryption are passed over; one whose type leaves its algorithm open is taken for RS256,
// HS256, or the one of its curve.
func WebKeys(data []byte) ([]Key, error) {
	var file struct {
		Keys []webKey `json:"keys"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("not a JWKS: %w", err)
	}
	var keys []Key
	for i, w := range file.Keys {
		if w.Use == "enc" {
			continue
		}
		k, err := w.key()
		if err == nil {
			err = k.fits()
		}
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key for signatures in the file")
	}
	return keys, nil
}

func (w *webKey) key() (Key, error) {
	k := Key{ID: w.ID, Algorithm: w.Algorithm}
	bytes := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			return nil
		}
		return b
	}
	assume := func(algorithm string) {
		if k.Algorithm == "" {
			k.Algorithm = algorithm
		}
	}
	switch w.Type {
	case "oct":
		assume("HS256")
		k.Key = bytes(w.K)
	case "RSA":
		assume("RS256")
		e := new(big.Int).SetBytes(bytes(w.E))
		if !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 {
			return k, errors.New("bad exponent")
		}
		k.Key = &rsa.PublicKey{N: new(big.Int).SetBytes(bytes(w.N)), E: int(e.Int64())}
	case "EC":
		curves := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}
		curve := curves[w.Curve]
		if curve == nil {
			return k, fmt.Errorf("unknown curve %q", w.Curve)
		}
		assume(map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[w.Curve])
		size := (curve.Params().BitSize + 7) / 8
		x, y := bytes(w.X), bytes(w.Y)
		if len(x) != size || len(y) != size {
			return k, errors.New("bad point")
		}
		public, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
		if err != nil {
			return k, err
		}
		k.Key = public
	case "OKP":
		assume("EdDSA")
		x := bytes(w.X)
		if w.Curve != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return k, errors.New("not an Ed25519 key")
		}
		k.Key = ed25519.PublicKey(x)
	default:
		return k, fmt.Errorf("unknown key type %q", w.Type)
	}
	return k, nil
}
