package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// keys of each kind, with what signs.
type signer struct {
	method  jwt.SigningMethod
	private any
	public  Key
}

func signers(t *testing.T) map[string]signer {
	secret := []byte(strings.Repeat("s", 32))
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	public, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return map[string]signer{
		"HS256": {jwt.SigningMethodHS256, secret, Key{"h", "HS256", secret}},
		"RS256": {jwt.SigningMethodRS256, private, Key{"r", "RS256", &private.PublicKey}},
		"ES256": {jwt.SigningMethodES256, curve, Key{"e", "ES256", &curve.PublicKey}},
		"EdDSA": {jwt.SigningMethodEdDSA, edwards, Key{"o", "EdDSA", public}},
	}
}

func sign(t *testing.T, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

func claims(change ...string) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "alice", "iss": "https://id.example", "aud": []string{"sip", "other"}, "exp": time.Now().Add(time.Hour).Unix()}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == "" {
			delete(c, change[i])
		} else {
			c[change[i]] = change[i+1]
		}
	}
	return c
}

func TestVerify(t *testing.T) {
	all := signers(t)
	var keys []Key
	for _, s := range all {
		keys = append(keys, s.public)
	}
	v, err := New(Config{Keys: keys, Issuer: "https://id.example", Audience: "sip"})
	require.NoError(t, err)
	for name, s := range all {
		for _, kid := range []string{"", s.public.ID} {
			user, until, err := v.Verify(sign(t, s.method, s.private, kid, claims()), "example.org")
			require.NoError(t, err, name)
			require.Equal(t, "alice", user)
			require.WithinDuration(t, time.Now().Add(time.Hour), until, 2*time.Second)
		}
		_, _, err := v.Verify(sign(t, s.method, s.private, "unknown", claims()), "example.org")
		require.ErrorIs(t, err, ErrNoKey, name)
		token := sign(t, s.method, s.private, "", claims())
		_, _, err = v.Verify(token[:len(token)-8]+"AAAAAAAA", "example.org")
		require.ErrorIs(t, err, jwt.ErrTokenSignatureInvalid, name)
	}
	s := all["ES256"]
	good := func(c jwt.MapClaims) error {
		_, _, err := v.Verify(sign(t, s.method, s.private, "", c), "example.org")
		return err
	}
	require.ErrorIs(t, good(claims("exp", "")), jwt.ErrTokenRequiredClaimMissing)
	require.ErrorIs(t, good(claims("iss", "https://evil.example")), jwt.ErrTokenInvalidIssuer)
	require.ErrorIs(t, good(claims("iss", "")), jwt.ErrTokenRequiredClaimMissing)
	require.ErrorIs(t, good(claims("aud", "other")), jwt.ErrTokenInvalidAudience)
	require.ErrorIs(t, good(claims("sub", "")), ErrNoUser)
	require.ErrorIs(t, good(claims("sub", "alice@elsewhere.example")), ErrDomain)
	require.NoError(t, good(claims("sub", "alice@Example.org")))
	require.NoError(t, good(claims("sub", "sip:alice@example.org")))
	old := claims()
	old["exp"] = time.Now().Add(-time.Minute).Unix()
	require.ErrorIs(t, good(old), jwt.ErrTokenExpired)
	early := claims()
	early["nbf"] = time.Now().Add(time.Minute).Unix()
	require.ErrorIs(t, good(early), jwt.ErrTokenNotValidYet)
	_, _, err = v.Verify(strings.Repeat("a", maxToken+1), "example.org")
	require.ErrorIs(t, err, ErrTooLarge)

	byName, err := New(Config{Keys: keys, Claim: "preferred_username"})
	require.NoError(t, err)
	user, _, err := byName.Verify(sign(t, s.method, s.private, "", claims("preferred_username", "bob", "iss", "", "aud", "")), "example.org")
	require.NoError(t, err)
	require.Equal(t, "bob", user)
}

// No signature at all, and a public key taken for the secret of an HMAC: both known attacks fail.
func TestConfusion(t *testing.T) {
	all := signers(t)
	public := all["RS256"].public
	der, err := x509.MarshalPKIXPublicKey(public.Key)
	require.NoError(t, err)
	pemText := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	v, err := New(Config{Keys: []Key{public}})
	require.NoError(t, err)
	for name, token := range map[string]string{
		"none":                 sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", claims()),
		"HMAC with the PEM":    sign(t, jwt.SigningMethodHS256, pemText, "", claims()),
		"HMAC with the DER":    sign(t, jwt.SigningMethodHS256, der, "r", claims()),
		"another algorithm":    sign(t, jwt.SigningMethodRS512, all["RS256"].private, "r", claims()),
		"PS256 by an RSA key":  sign(t, jwt.SigningMethodPS256, all["RS256"].private, "r", claims()),
		"a key not configured": sign(t, jwt.SigningMethodES256, all["ES256"].private, "r", claims()),
		"None in capitals":     base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"NONE"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"alice","exp":9999999999}`)) + ".",
	} {
		_, _, err := v.Verify(token, "example.org")
		require.Error(t, err, name)
	}
	// With a secret and a public key side by side, neither stands in for the other.
	both, err := New(Config{Keys: []Key{public, all["HS256"].public}})
	require.NoError(t, err)
	_, _, err = both.Verify(sign(t, jwt.SigningMethodHS256, pemText, "", claims()), "example.org")
	require.Error(t, err)
	for _, bad := range []Key{
		{Algorithm: "none", Key: []byte(strings.Repeat("s", 32))}, {Algorithm: "HS256", Key: []byte("short")}, {Algorithm: "HS256", Key: public.Key},
		{Algorithm: "RS256", Key: []byte(strings.Repeat("s", 32))}, {Algorithm: "ES384", Key: all["ES256"].public.Key}, {Algorithm: "ES256", Key: all["EdDSA"].public.Key},
		{Algorithm: "PS", Key: nil},
	} {
		_, err := New(Config{Keys: []Key{bad}})
		require.Error(t, err, "%+v", bad)
	}
	_, err = New(Config{})
	require.ErrorIs(t, err, ErrNoKey)
}

func TestKeyFiles(t *testing.T) {
	all := signers(t)
	text := base64.RawURLEncoding.EncodeToString
	curve, edwards, ring := all["ES256"].public.Key.(*ecdsa.PublicKey), all["EdDSA"].public.Key.(ed25519.PublicKey), all["RS256"].public.Key.(*rsa.PublicKey)
	point, err := curve.Bytes()
	require.NoError(t, err)
	file, err := json.Marshal(map[string]any{"keys": []any{
		map[string]any{"kty": "RSA", "kid": "r", "n": text(ring.N.Bytes()), "e": text(big.NewInt(int64(ring.E)).Bytes()), "x5c": []string{"x"}},
		map[string]any{"kty": "EC", "kid": "e", "crv": "P-256", "x": text(point[1:33]), "y": text(point[33:])},
		map[string]any{"kty": "OKP", "kid": "o", "crv": "Ed25519", "x": text(edwards)},
		map[string]any{"kty": "oct", "kid": "h", "alg": "HS256", "k": text(all["HS256"].public.Key.([]byte))},
		map[string]any{"kty": "RSA", "kid": "enc", "use": "enc", "n": "x", "e": "AQAB"},
	}})
	require.NoError(t, err)
	keys, err := WebKeys(file)
	require.NoError(t, err)
	require.Len(t, keys, 4)
	v, err := New(Config{Keys: keys})
	require.NoError(t, err)
	for name, s := range all {
		_, _, err := v.Verify(sign(t, s.method, s.private, s.public.ID, claims()), "example.org")
		require.NoError(t, err, name)
	}
	for _, bad := range []string{"", "{}", `{"keys":[{"kty":"x"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, `{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"}]}`,
		`{"keys":[{"kty":"oct","k":"AA"}]}`, `{"keys":[{"kty":"OKP","crv":"X25519","x":"AA"}]}`, `{"keys":[{"kty":1}]}`} {
		_, err := WebKeys([]byte(bad))
		require.Error(t, err, bad)
	}
	der, err := x509.MarshalPKIXPublicKey(curve)
	require.NoError(t, err)
	key, err := PublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	require.NoError(t, err)
	require.True(t, curve.Equal(key))
	_, err = PublicKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	require.Error(t, err)
	_, err = PublicKey([]byte("x"))
	require.Error(t, err)
}

func TestEphemeral(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	e := &Ephemeral{Secrets: []string{"north", "old"}, Longest: 24 * time.Hour, Now: func() time.Time { return now }}
	user, passwords, expired, ok := e.Passwords("1700003600:alice")
	require.True(t, ok)
	require.False(t, expired)
	require.Equal(t, "alice", user)
	// printf 1700003600:alice | openssl dgst -sha1 -hmac north -binary | base64
	require.Len(t, passwords, 2)
	require.Equal(t, "wjwSXO2ch1B6VaLTLMy2Avn5O9o=", passwords[0])
	_, passwords, _, _ = (&Ephemeral{Secrets: []string{"north"}, Algorithm: "SHA-256"}).Passwords("1700003600:alice")
	require.Equal(t, "ZlB8VYmPhmyc10FawVJHfIDwpZjz6GuPyl7Yh17ftDs=", passwords[0])
	for name, want := range map[string]bool{"1699999999:alice": true, "1700000000:alice": true, "1700086400:alice": false, "1700086401:alice": true} {
		_, _, expired, ok := e.Passwords(name)
		require.True(t, ok, name)
		require.Equal(t, want, expired, name)
	}
	for _, name := range []string{"alice", "", ":", "1700003600:", ":alice", "x:alice", "-5:alice", "1700003600:a:b", "99999999999999999999:alice"} {
		_, _, _, ok := e.Passwords(name)
		require.False(t, ok, name)
	}
}

func FuzzVerify(f *testing.F) {
	key := []byte(strings.Repeat("s", 32))
	v, err := New(Config{Keys: []Key{{Algorithm: "HS256", Key: key}}})
	if err != nil {
		f.Fatal(err)
	}
	good, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "alice", "exp": 1}).SignedString(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if user, _, err := v.Verify(token, "example.org"); err == nil {
			t.Fatalf("accepted for %q: %q", user, token)
		}
	})
}
