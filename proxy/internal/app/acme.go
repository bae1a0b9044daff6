package app

import (
	"crypto/x509"
	"fmt"
	"os"

	"github.com/tandem-sbc/tandem/proxy/internal/acme"
)

// openACME begins to obtain the configured certificate. Until it is there that of the local CA is served.
func (a *App) openACME() error {
	s := a.settings.Load().TLS.ACME
	if s.Directory == "" {
		return nil
	}
	c := acme.Config{
		Directory: s.Directory, Names: s.Names, Contact: s.Contact, Challenge: s.Challenge, HTTP: s.HTTP.String(), Dir: s.Storage,
		BindingID: s.EAB.ID,
	}
	var err error
	if c.BindingKey, err = s.EAB.Bytes(); err != nil {
		return fmt.Errorf("tls.acme.eab: %w", err)
	}
	if s.CA != "" {
		pem, err := os.ReadFile(s.CA)
		if err != nil {
			return fmt.Errorf("tls.acme.ca: %w", err)
		}
		c.Roots = x509.NewCertPool()
		if !c.Roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("tls.acme.ca: no certificate in %s", s.CA)
		}
	}
	if a.acme, err = acme.New(c, a.log.Named("acme")); err != nil {
		return err
	}
	a.onClose(a.acme.Close)
	return nil
}
