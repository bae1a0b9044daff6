package conformance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/fingerprint"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/srtp/v3"
)

// The oracle for SRTP and DTLS is pion: a daemon that is built from other code,
// as rtpengine is, has to agree with it.

var errNoKeys = errors.New("the SDPs of the party have no keys in common")

// profile is the protection profile of an SDES suite.
func profile(suite string) (srtp.ProtectionProfile, bool) {
	p, ok := map[string]srtp.ProtectionProfile{
		"AES_CM_128_HMAC_SHA1_80": srtp.ProtectionProfileAes128CmHmacSha1_80, "AES_CM_128_HMAC_SHA1_32": srtp.ProtectionProfileAes128CmHmacSha1_32,
		"AES_256_CM_HMAC_SHA1_80": srtp.ProtectionProfileAes256CmHmacSha1_80, "AES_256_CM_HMAC_SHA1_32": srtp.ProtectionProfileAes256CmHmacSha1_32,
		"NULL_HMAC_SHA1_80": srtp.ProtectionProfileNullHmacSha1_80, "NULL_HMAC_SHA1_32": srtp.ProtectionProfileNullHmacSha1_32,
		"AEAD_AES_128_GCM": srtp.ProtectionProfileAeadAes128Gcm, "AEAD_AES_256_GCM": srtp.ProtectionProfileAeadAes256Gcm,
	}[suite]
	return p, ok
}

// value returns what follows an attribute's name, "" if it is not there; the
// media level, which comes last, overrides the session.
func value(lines []string, name string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(lines[i], "a="+name+":"); ok {
			return v
		}
	}
	return ""
}

// agreed returns the crypto lines (tag, suite, key) of own and remote SDP that
// belong together: those with the same tag and suite (RFC 4568 §5.1).
func agreed(own, remote []string) (ours, theirs []string) {
	for _, r := range remote {
		theirs := strings.Fields(r)
		if !strings.HasPrefix(r, "a=crypto:") || len(theirs) < 3 {
			continue
		}
		for _, o := range own {
			ours := strings.Fields(o)
			if strings.HasPrefix(o, "a=crypto:") && len(ours) >= 3 && ours[0] == theirs[0] && ours[1] == theirs[1] {
				return ours, theirs
			}
		}
	}
	return nil, nil
}

func sdesContext(line []string) (*srtp.Context, error) {
	p, ok := profile(line[1])
	if !ok {
		return nil, fmt.Errorf("%w: suite %s cannot be examined", errNoKeys, line[1])
	}
	text, _, _ := strings.Cut(strings.TrimPrefix(line[2], "inline:"), "|")
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, err
	}
	length, err := p.KeyLen()
	if err != nil || length > len(key) {
		return nil, fmt.Errorf("%w: short key", errNoKeys)
	}
	return srtp.CreateContext(key[:length], key[length:], p)
}

// contexts makes the SRTP contexts of what both sides have said last. The same
// keys go on with the same contexts: a rollover counter outlives a re-INVITE.
func (p *party) contexts() error {
	if p.keys == "dtls" {
		return nil
	}
	ours, theirs := agreed(p.own, p.remote)
	if ours == nil {
		return errNoKeys
	}
	keys := ours[1] + ours[2] + theirs[2]
	if keys == p.keys {
		return nil
	}
	out, err := sdesContext(ours)
	if err != nil {
		return err
	}
	in, err := sdesContext(theirs)
	if err != nil {
		return err
	}
	p.out, p.in, p.keys = out, in, keys
	return nil
}

// encrypt protects a packet; damage spoils a bit of it afterwards.
func (p *party) encrypt(packet []byte, damage bool) ([]byte, error) {
	err := p.contexts()
	if err != nil {
		return nil, err
	}
	var out []byte
	if isRTCP(packet) {
		out, err = p.out.EncryptRTCP(nil, packet, nil)
	} else {
		out, err = p.out.EncryptRTP(nil, packet, nil)
	}
	if err == nil && damage {
		out[len(out)-1] ^= 1
	}
	return out, err
}

func (p *party) decrypt(packet []byte) ([]byte, error) {
	if err := p.contexts(); err != nil {
		return nil, err
	}
	if isRTCP(packet) {
		return p.in.DecryptRTCP(nil, packet, nil)
	}
	return p.in.DecryptRTP(nil, packet, nil)
}

// identity is the party's certificate, made when it is first needed.
func (p *party) identity() (tls.Certificate, error) {
	if p.certificate == nil {
		c, err := selfsign.GenerateSelfSigned()
		if err != nil {
			return c, err
		}
		p.certificate = &c
	}
	return *p.certificate, nil
}

// fingerprint is the value for an a=fingerprint line (RFC 8122).
func (p *party) fingerprint() (string, error) {
	c, err := p.identity()
	if err != nil {
		return "", err
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return "", err
	}
	hash, err := fingerprint.HashFromString("sha-256")
	if err != nil {
		return "", err
	}
	text, err := fingerprint.Fingerprint(leaf, hash)
	return "sha-256 " + strings.ToUpper(text), err
}

const (
	handshakeTime = 5 * time.Second
	// settleTime lets the daemon read the last flight of a server, for which no
	// answer comes.
	settleTime = 50 * time.Millisecond
)

// connect makes the DTLS handshake that the SDPs ask for (RFC 5763, 5764) on
// the RTP port and takes its keys. The text tells how it went.
func (p *party) connect(fields map[string]string) (string, error) {
	certificate, err := p.identity()
	if fields["certificate"] == "other" {
		certificate, err = selfsign.GenerateSelfSigned()
	}
	if err != nil {
		return "", err
	}
	match := "wrong"
	options := []dtls.Option{
		dtls.WithCertificates(certificate), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(
			dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AES128_CM_HMAC_SHA1_32, dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM),
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) > 0 && p.announced(raw[0]) {
				match = "ok"
			}
			return nil
		}),
	}
	role := "server"
	if value(p.own, "setup") == "active" || value(p.remote, "setup") == "passive" {
		role = "client"
	}
	session, err := begin(role, dtlsPackets{p.rtp, p.peer}, options)
	if err != nil {
		return "", err
	}
	p.session = session
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	if err := session.HandshakeContext(ctx); err != nil {
		return "dtls result=failed role=" + role, nil
	}
	if role == "server" {
		time.Sleep(settleTime)
	}
	name, err := p.takeKeys(role == "client")
	return fmt.Sprintf("dtls result=ok role=%s fingerprint=%s profile=%s", role, match, name), err
}

func begin(role string, packets dtlsPackets, options []dtls.Option) (*dtls.Conn, error) {
	if role == "client" {
		list := make([]dtls.ClientOption, len(options))
		for i, o := range options {
			list[i] = o
		}
		return dtls.ClientWithOptions(packets, net.UDPAddrFromAddrPort(packets.peer), list...)
	}
	list := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert)}
	for _, o := range options {
		list = append(list, o)
	}
	return dtls.ServerWithOptions(packets, net.UDPAddrFromAddrPort(packets.peer), list...)
}

// announced tells whether a certificate has the fingerprint of the remote SDP.
func (p *party) announced(raw []byte) bool {
	name, want, _ := strings.Cut(value(p.remote, "fingerprint"), " ")
	hash, err := fingerprint.HashFromString(name)
	if err != nil {
		return false
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		return false
	}
	got, err := fingerprint.Fingerprint(leaf, hash)
	return err == nil && strings.EqualFold(got, want)
}

func (p *party) takeKeys(isClient bool) (string, error) {
	selected, ok := p.session.SelectedSRTPProtectionProfile()
	state, known := p.session.ConnectionState()
	if !ok || !known {
		return "none", nil
	}
	config := srtp.Config{Profile: srtp.ProtectionProfile(selected)}
	err := config.ExtractSessionKeysFromDTLS(&state, isClient)
	if err != nil {
		return "", err
	}
	k := config.Keys
	if p.out, err = srtp.CreateContext(k.LocalMasterKey, k.LocalMasterSalt, config.Profile); err != nil {
		return "", err
	}
	p.in, err = srtp.CreateContext(k.RemoteMasterKey, k.RemoteMasterSalt, config.Profile)
	p.keys = "dtls"
	return config.Profile.String(), err
}
