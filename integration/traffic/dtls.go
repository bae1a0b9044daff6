package traffic

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/fingerprint"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/srtp/v3"
)

// handshakeTime is how long one handshake may take.
const handshakeTime = 10 * time.Second

// identity is the certificate of all second legs.
type identity struct {
	certificate tls.Certificate
	fingerprint string // sha-256
}

func newIdentity() (identity, error) {
	certificate, err := selfsign.GenerateSelfSigned()
	if err != nil {
		return identity{}, err
	}
	parsed, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		return identity{}, err
	}
	text, err := fingerprint.Fingerprint(parsed, crypto.SHA256)
	return identity{certificate, text}, err
}

// silent is a socket that stops to send: the end of a DTLS connection is not to be told, since it would end the call's media.
type silent struct {
	net.PacketConn
	mute atomic.Bool
}

func (s *silent) WriteTo(p []byte, to net.Addr) (int, error) {
	if s.mute.Load() {
		return len(p), nil
	}
	return s.PacketConn.WriteTo(p, to)
}

// handshake agrees the keys of the second leg by DTLS, as client. The socket must be the call's alone.
func (c *call) handshake(s *socket, id identity) error {
	inner, err := s.packetConn()
	if err != nil {
		return err
	}
	conn := &silent{PacketConn: inner}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	keys, err := exchangeKeys(ctx, conn, net.UDPAddrFromAddrPort(c.to[1]), id)
	_ = inner.Close() // the session may have done it
	if err != nil {
		return fmt.Errorf("traffic: DTLS with %s: %w", c.to[1], err)
	}
	return c.protect(keys.LocalMasterKey, keys.LocalMasterSalt, keys.RemoteMasterKey, keys.RemoteMasterSalt)
}

func exchangeKeys(ctx context.Context, conn *silent, to net.Addr, id identity) (srtp.SessionKeys, error) {
	session, err := dtls.ClientWithOptions(conn, to, dtls.WithCertificates(id.certificate), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80), dtls.WithFlightInterval(100*time.Millisecond))
	if err != nil {
		return srtp.SessionKeys{}, err
	}
	defer func() {
		conn.mute.Store(true)
		_ = session.Close()
	}()
	if err := session.HandshakeContext(ctx); err != nil {
		return srtp.SessionKeys{}, err
	}
	state, ok := session.ConnectionState()
	if !ok {
		return srtp.SessionKeys{}, errors.New("no state after the handshake")
	}
	config := &srtp.Config{Profile: srtp.ProtectionProfileAes128CmHmacSha1_80}
	err = config.ExtractSessionKeysFromDTLS(&state, true)
	return config.Keys, err
}
