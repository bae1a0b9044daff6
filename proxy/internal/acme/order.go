package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// obtain gets one certificate for all names and keeps it.
func (a *Client) obtain(ctx context.Context) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.config.Roots, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	account, err := a.store.accountKey()
	if err != nil {
		return nil, err
	}
	client := &acme.Client{
		Key: account, DirectoryURL: a.config.Directory, UserAgent: "Tandem", HTTPClient: &http.Client{Transport: transport, Timeout: 30 * time.Second},
	}
	if err := a.register(ctx, client); err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	order, err := client.AuthorizeOrder(ctx, identifiers(a.config.Names))
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	for _, u := range order.AuthzURLs {
		if err := a.prove(ctx, client, u); err != nil {
			return nil, explain(err)
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	return a.finish(ctx, client, order)
}

// register makes the account or finds it again by its key.
func (a *Client) register(ctx context.Context, client *acme.Client) error {
	account := &acme.Account{}
	for _, c := range a.config.Contact {
		account.Contact = append(account.Contact, "mailto:"+c)
	}
	if a.config.BindingID != "" {
		account.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: a.config.BindingID, Key: a.config.BindingKey}
	}
	_, err := client.Register(ctx, account, acme.AcceptTOS) // the operator has agreed in the configuration
	if errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil
	}
	return err
}

func identifiers(names []string) (ids []acme.AuthzID) {
	for _, n := range names {
		if net.ParseIP(n) != nil {
			ids = append(ids, acme.IPIDs(n)...)
		} else {
			ids = append(ids, acme.DomainIDs(n)...)
		}
	}
	return ids
}

// prove shows the server that a name is ours.
func (a *Client) prove(ctx context.Context, client *acme.Client, authorization string) error {
	z, err := client.GetAuthorization(ctx, authorization)
	if err != nil || z.Status == acme.StatusValid {
		return err
	}
	name := z.Identifier.Value
	for _, c := range z.Challenges {
		if c.Type != a.config.Challenge {
			continue
		}
		withdraw, err := a.present(client, c, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer withdraw()
		if _, err := client.Accept(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		_, err = client.WaitAuthorization(ctx, authorization)
		return err
	}
	return fmt.Errorf("%s: the server offers no %s", name, a.config.Challenge)
}

// present makes the answer to a challenge visible until it is withdrawn.
func (a *Client) present(client *acme.Client, c *acme.Challenge, name string) (withdraw func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.Type == HTTP01 {
		text, err := client.HTTP01ChallengeResponse(c.Token)
		if err != nil {
			return nil, err
		}
		path := client.HTTP01ChallengePath(c.Token)
		a.answers[path] = text
		return func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.answers, path)
		}, nil
	}
	proof, err := client.TLSALPN01ChallengeCert(c.Token, name)
	if err != nil {
		return nil, err
	}
	name = strings.ToLower(name)
	a.proofs[name] = &proof
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.proofs, name)
	}, nil
}

// finish has the certificate signed and keeps it.
func (a *Client) finish(ctx context.Context, client *acme.Client, order *acme.Order) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{}
	for _, n := range a.config.Names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := client.CreateOrderCert(ctx, order.FinalizeURL, request, true)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if err := a.store.keep(chain, key); err != nil {
		return nil, err
	}
	return a.store.certificate()
}
