package localca

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFirstStartAndReuse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	first, err := Ensure(Config{Dir: dir})
	require.NoError(t, err)
	require.True(t, first.Renewed)
	again, err := Ensure(Config{Dir: dir})
	require.NoError(t, err)
	require.False(t, again.Renewed)
	require.Equal(t, first.Certificate.Certificate, again.Certificate.Certificate)

	for _, file := range []string{caCertFile, caKeyFile, leafCertFile, leafKeyFile} {
		info, err := os.Stat(filepath.Join(dir, file))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.Equal(t, x509.ECDSAWithSHA256, first.Certificate.Leaf.SignatureAlgorithm)
}

// A client that trusts the CA file reaches the server by every name and local
// address.
func TestClientsThatTrustTheCAConnect(t *testing.T) {
	r, err := Ensure(Config{Dir: t.TempDir(), Names: []string{"sbc.example", "192.0.2.7"}})
	require.NoError(t, err)
	pem, err := os.ReadFile(r.CAFile)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))

	names := append(hostNames(), "sbc.example", "192.0.2.7")
	for _, name := range names {
		client, server := net.Pipe()
		done := make(chan error, 1)
		go func() {
			conn := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{r.Certificate}})
			_, err := conn.Write([]byte("x"))
			done <- err
			conn.Close()
		}()
		conn := tls.Client(client, &tls.Config{RootCAs: roots, ServerName: name})
		_, err := io.ReadFull(conn, make([]byte, 1))
		require.NoError(t, err, name)
		require.NoError(t, <-done)
		client.Close()
	}
}

func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	first, err := Ensure(Config{Dir: dir})
	require.NoError(t, err)

	more, err := Ensure(Config{Dir: dir, Names: []string{"new.example"}})
	require.NoError(t, err)
	require.True(t, more.Renewed, "a new name")
	require.Equal(t, first.Certificate.Certificate[1], more.Certificate.Certificate[1], "the CA stays")

	later := func() time.Time { return time.Now().Add(leafLifetime - renewBefore + time.Hour) }
	late, err := Ensure(Config{Dir: dir, Names: []string{"new.example"}, Now: later})
	require.NoError(t, err)
	require.True(t, late.Renewed, "runs out soon")
	require.Equal(t, first.Certificate.Certificate[1], late.Certificate.Certificate[1])
}

func TestCorruptFilesAreNotReplaced(t *testing.T) {
	dir := t.TempDir()
	_, err := Ensure(Config{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, caKeyFile), []byte("junk"), 0o600))
	_, err = Ensure(Config{Dir: dir})
	require.ErrorIs(t, err, ErrCorrupt)
}
