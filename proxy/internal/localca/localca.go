// Package localca makes and keeps the proxy's own certificate authority and the
// server certificate that it signs, so that TLS and WSS work at the first start
// without a certificate being bought or made by hand.
package localca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	caLifetime = 10 * 365 * 24 * time.Hour
	// Browsers and Apple platforms refuse server certificates that live longer
	// than 398 days.
	leafLifetime = 397 * 24 * time.Hour
	renewBefore  = 30 * 24 * time.Hour
	// Certificates begin in the past, for clients whose clock is late.
	backdate = time.Hour
)

// File names in the directory.
const (
	caCertFile   = "ca.pem"
	caKeyFile    = "ca.key"
	leafCertFile = "server.pem"
	leafKeyFile  = "server.key"
)

// ErrCorrupt means that a kept file cannot be read as what it should be. It is
// an error and not silently replaced, since clients may already trust it.
var ErrCorrupt = errors.New("corrupt certificate store")

// Config says where the files are and for whom the certificate is.
type Config struct {
	Dir   string   // made with mode 0700 if it does not exist
	Names []string // DNS names and addresses besides localhost, the host name and the local addresses
	Now   func() time.Time
}

// Result is a certificate ready to serve.
type Result struct {
	Certificate tls.Certificate // leaf and CA
	CAFile      string          // PEM file to import into clients
	Renewed     bool            // a new server certificate was made in this call
}

// Ensure returns the kept certificate, or makes what is missing: the authority
// once, the server certificate when there is none, when it runs out within 30
// days, or when it lacks one of the names that the host now has.
func Ensure(c Config) (*Result, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate store: %w", err)
	}
	ca, err := c.authority()
	if err != nil {
		return nil, err
	}
	names := append(hostNames(), c.Names...)
	leaf, err := c.read(leafCertFile, leafKeyFile)
	renewed := false
	if errors.Is(err, fs.ErrNotExist) || err == nil && !c.serves(leaf, ca, names) {
		leaf, err = c.issue(ca, names)
		renewed = true
	}
	if err != nil {
		return nil, err
	}
	return &Result{
		Certificate: tls.Certificate{
			Certificate: [][]byte{leaf.cert.Raw, ca.cert.Raw},
			PrivateKey:  leaf.key,
			Leaf:        leaf.cert,
		},
		CAFile:  filepath.Join(c.Dir, caCertFile),
		Renewed: renewed,
	}, nil
}

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// authority reads the CA or makes it. A CA about to run out is replaced:
// everything it signed runs out with it.
func (c Config) authority() (pair, error) {
	ca, err := c.read(caCertFile, caKeyFile)
	if err == nil && c.Now().Add(renewBefore).Before(ca.cert.NotAfter) {
		return ca, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pair{}, err
	}
	host, _ := os.Hostname()
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Tandem"}, CommonName: "Tandem local CA " + host},
		NotBefore:             c.Now().Add(-backdate),
		NotAfter:              c.Now().Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return c.sign(template, nil, caCertFile, caKeyFile)
}

func (c Config) issue(ca pair, names []string) (pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{"Tandem"}, CommonName: "Tandem proxy"},
		NotBefore:   c.Now().Add(-backdate),
		NotAfter:    c.Now().Add(leafLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return c.sign(template, &ca, leafCertFile, leafKeyFile)
}

// sign makes a key, signs template for it by issuer (nil: by itself) and keeps
// both files.
func (c Config) sign(template *x509.Certificate, issuer *pair, certFile, keyFile string) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("certificate key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return pair{}, fmt.Errorf("certificate serial: %w", err)
	}
	template.SerialNumber = serial
	template.SignatureAlgorithm = x509.ECDSAWithSHA256
	point, err := key.PublicKey.ECDH()
	if err != nil {
		return pair{}, fmt.Errorf("certificate key: %w", err)
	}
	id := sha1.Sum(point.Bytes()) // an identifier (RFC 5280 §4.2.1.2), not a signature
	template.SubjectKeyId = id[:]
	parent, signer := template, crypto.Signer(key)
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return pair{}, fmt.Errorf("signing certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, fmt.Errorf("signing certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, fmt.Errorf("certificate key: %w", err)
	}
	// The key goes first: a certificate without its key could not be used,
	// a key without certificate is replaced.
	if err := c.write(keyFile, "PRIVATE KEY", keyDER); err != nil {
		return pair{}, err
	}
	if err := c.write(certFile, "CERTIFICATE", der); err != nil {
		return pair{}, err
	}
	return pair{cert: cert, key: key}, nil
}

// serves reports whether the kept certificate may still be used.
func (c Config) serves(leaf, ca pair, names []string) bool {
	if c.Now().Add(renewBefore).After(leaf.cert.NotAfter) || leaf.cert.CheckSignatureFrom(ca.cert) != nil {
		return false
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			if !slices.ContainsFunc(leaf.cert.IPAddresses, ip.Equal) {
				return false
			}
		} else if !slices.Contains(leaf.cert.DNSNames, name) {
			return false
		}
	}
	return true
}

func (c Config) read(certFile, keyFile string) (pair, error) {
	certDER, err := c.readPEM(certFile, "CERTIFICATE")
	if err != nil {
		return pair{}, err
	}
	keyDER, err := c.readPEM(keyFile, "PRIVATE KEY")
	if err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return pair{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, certFile, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return pair{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, keyFile, err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(cert.PublicKey) {
		return pair{}, fmt.Errorf("%w: %s is not the key of %s", ErrCorrupt, keyFile, certFile)
	}
	return pair{cert: cert, key: signer}, nil
}

func (c Config) readPEM(file, kind string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(c.Dir, file))
	if err != nil {
		return nil, fmt.Errorf("certificate store: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%w: %s holds no %s", ErrCorrupt, file, kind)
	}
	return block.Bytes, nil
}

// write replaces a file in one step, readable by the owner only.
func (c Config) write(file, kind string, der []byte) error {
	var buf bytes.Buffer
	if err := pem.Encode(&buf, &pem.Block{Type: kind, Bytes: der}); err != nil {
		return fmt.Errorf("certificate store: %w", err)
	}
	path := filepath.Join(c.Dir, file)
	temporary := path + ".new"
	if err := os.WriteFile(temporary, buf.Bytes(), 0o600); err != nil {
		return fmt.Errorf("certificate store: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("certificate store: %w", err)
	}
	return nil
}

// hostNames returns localhost, the host name and every local address.
func hostNames() []string {
	names := []string{"localhost"}
	if host, err := os.Hostname(); err == nil && host != "" && host != "localhost" {
		names = append(names, host)
	}
	names = append(names, "127.0.0.1", "::1")
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return names
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !slices.Contains(names, n.IP.String()) {
			names = append(names, n.IP.String())
		}
	}
	return names
}
