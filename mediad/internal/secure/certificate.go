package secure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RFC 8122 allows sha-1 fingerprints; old phones send nothing else
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// ErrHash says that a fingerprint's hash function is unknown or not accepted.
var ErrHash = errors.New("secure: unsupported fingerprint hash")

// certificateLife is how long a self-made certificate says it is valid: longer than a daemon runs. Peers trust the fingerprint in SDP, but
// some look at the dates as well.
const certificateLife = 5 * 365 * 24 * time.Hour

// Certificate is the self-signed certificate mediad shows in DTLS handshakes.
type Certificate struct {
	tls tls.Certificate
}

// Fingerprint of a certificate as in an SDP fingerprint attribute (RFC 8122 §5).
type Fingerprint struct {
	// Hash is the function's name in lower case: sha-1, sha-224, sha-256, sha-384 or sha-512.
	Hash string
	// Value is the digest in upper-case hexadecimal, bytes separated by colons.
	Value string
}

// NewCertificate makes an ECDSA P-256 key and a certificate for it (RFC 8827 §6.5).
func NewCertificate() (*Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("secure: certificate key: %w", err)
	}
	return certify(key)
}

// NewRSACertificate makes an RSA key of so many bits and a certificate for it, for peers that know nothing better.
func NewRSACertificate(bits int) (*Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("secure: certificate key: %w", err)
	}
	return certify(key)
}

func certify(key crypto.Signer) (*Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("secure: certificate serial: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "mediad"},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.Add(certificateLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("secure: certificate: %w", err)
	}
	return &Certificate{tls: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}

// Fingerprint of the certificate by the hash function's name, for example sha-256. The error wraps ErrHash.
func (c *Certificate) Fingerprint(hash string) (Fingerprint, error) {
	return fingerprintOf(c.tls.Certificate[0], hash)
}

func fingerprintOf(der []byte, hash string) (Fingerprint, error) {
	hash = strings.ToLower(hash)
	var sum []byte
	switch hash {
	case "sha-1":
		s := sha1.Sum(der) //nolint:gosec // see import
		sum = s[:]
	case "sha-224":
		s := sha256.Sum224(der)
		sum = s[:]
	case "sha-256":
		s := sha256.Sum256(der)
		sum = s[:]
	case "sha-384":
		s := sha512.Sum384(der)
		sum = s[:]
	case "sha-512":
		s := sha512.Sum512(der)
		sum = s[:]
	default:
		return Fingerprint{}, fmt.Errorf("%w: %q", ErrHash, hash)
	}
	text := strings.ToUpper(hex.EncodeToString(sum))
	var b strings.Builder
	for i := 0; i < len(text); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(text[i : i+2])
	}
	return Fingerprint{Hash: hash, Value: b.String()}, nil
}

// matches reports whether a certificate has one of the fingerprints. Those with an unknown hash do not count (RFC 8122 §5).
func matches(der []byte, any []Fingerprint) bool {
	for _, f := range any {
		got, err := fingerprintOf(der, f.Hash)
		if err != nil {
			continue
		}
		if subtle.ConstantTimeCompare([]byte(got.Value), []byte(strings.ToUpper(f.Value))) == 1 {
			return true
		}
	}
	return false
}
