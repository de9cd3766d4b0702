package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePair writes a self-signed pair for localhost, of the given age.
func writePair(t *testing.T, files TLSConfig, serial int64, modified time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		files.Cert: {Type: "CERTIFICATE", Bytes: cert}, files.Key: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
}

// served makes a handshake and tells which certificate came.
func served(t *testing.T, config *tls.Config) int64 {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	done := make(chan error, 1)
	go func() {
		defer there.Close()
		done <- tls.Server(there, config).HandshakeContext(t.Context())
	}()
	client := tls.Client(here, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestARenewedCertificateIsServedWithoutRestart(t *testing.T) {
	dir := t.TempDir()
	files := TLSConfig{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	now := time.Now()
	writePair(t, files, 1, now.Add(-time.Hour))
	var warned []error
	c, err := loadCertificate(files, func() time.Time { return now }, func(err error) { warned = append(warned, err) })
	if err != nil {
		t.Fatal(err)
	}
	config := c.config()
	if got := served(t, config); got != 1 {
		t.Fatalf("served %d", got)
	}
	writePair(t, files, 2, now)
	now = now.Add(lookEvery - 1)
	if got := served(t, config); got != 1 {
		t.Errorf("the files are looked at more often than every %s", lookEvery)
	}
	now = now.Add(1)
	if got := served(t, config); got != 2 {
		t.Errorf("served %d after the renewal", got)
	}
	// Half a renewal leaves the old pair, and is told.
	if err := os.WriteFile(files.Cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(lookEvery)
	if got := served(t, config); got != 2 || len(warned) != 1 {
		t.Errorf("served %d from a broken file, warned %v", got, warned)
	}
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	now = now.Add(lookEvery)
	if got := served(t, config); got != 2 || len(warned) != 2 {
		t.Errorf("served %d without a key file, warned %v", got, warned)
	}
	writePair(t, files, 3, now)
	now = now.Add(lookEvery)
	if got := served(t, config); got != 3 {
		t.Errorf("served %d after all was well again", got)
	}
}

func TestAMissingCertificateKeepsTheProgramFromStarting(t *testing.T) {
	config := testConfig(t)
	config.TLS = TLSConfig{Cert: filepath.Join(config.Data, "absent.pem"), Key: filepath.Join(config.Data, "absent.key")}
	if faults := config.Check(); len(faults) != 1 || !strings.Contains(faults[0].Error(), "absent.pem") {
		t.Errorf("the check finds %v", faults)
	}
	s, err := Open(t.Context(), config)
	if err == nil {
		_ = s.Close(t.Context())
		t.Fatal("the program starts, and would serve without TLS")
	}
	if !strings.Contains(err.Error(), "absent.pem") {
		t.Errorf("refused with %v", err)
	}
	// Nothing is left open.
	config.TLS = TLSConfig{}
	if s, err = Open(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
