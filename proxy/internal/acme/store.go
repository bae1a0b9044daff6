package acme

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files of the folder. Certificate and key are in one, so that they change together.
const (
	accountFile     = "account.key"
	certificateFile = "certificate.pem"
)

// store is a folder that its owner alone can read.
type store struct{ dir string }

// accountKey reads the key of the account, or makes it.
func (s store) accountKey() (crypto.Signer, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, accountFile))
	switch {
	case err == nil:
		block, _ := pem.Decode(data)
		if block == nil {
			return nil, fmt.Errorf("acme: %s holds no key", accountFile)
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		signer, ok := key.(crypto.Signer)
		if err != nil || !ok {
			return nil, fmt.Errorf("acme: %s holds no key: %w", accountFile, err)
		}
		return signer, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("acme: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, s.write(accountFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// certificate reads the kept one; nil if there is none.
func (s store) certificate() (*tls.Certificate, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, certificateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("acme: %w", err)
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("acme: %s: %w", certificateFile, err)
	}
	return &pair, nil
}

// keep replaces the certificate in one step.
func (s store) keep(chain [][]byte, key *ecdsa.PrivateKey) error {
	var out bytes.Buffer
	for _, der := range chain {
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
		return err
	}
	return s.write(certificateFile, out.Bytes())
}

func (s store) write(name string, data []byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("acme: %w", err)
	}
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("acme: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("acme: %w", err)
	}
	return nil
}
