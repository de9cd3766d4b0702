package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

const hidden = "a password that nobody prints"

// found asks for a secret; missing is what must not be there.
func found(t *testing.T, s client.SecretStore, name client.SecretName, missing ...client.SecretName) {
	t.Helper()
	if got, err := s.Secret(t.Context(), name); err != nil || got != hidden {
		t.Errorf("%+v: got %q, %v", name, got, err)
	}
	for _, name := range missing {
		if _, err := s.Secret(t.Context(), name); !errors.Is(err, client.ErrNoSecret) {
			t.Errorf("%+v: got %v", name, err)
		}
	}
}

func TestEnvironmentSecrets(t *testing.T) {
	t.Setenv("FOLIO_DIKU_READER_1", hidden)
	t.Setenv("FOLIO_SALT_DIKU_READER", hidden)
	s := client.EnvironmentSecrets{Prefix: "FOLIO"}
	found(t, s, client.SecretName{Tenant: "diku", User: "reader-1"}, client.SecretName{Tenant: "diku", User: "admin"})
	found(t, s, client.SecretName{Salt: "salt", Tenant: "diku", User: "reader"})
}

func TestFileSecrets(t *testing.T) {
	s := client.FileSecrets{Path: filepath.Join(t.TempDir(), "secrets.json")}
	name := client.SecretName{Tenant: "diku", User: "reader"}
	must(t, os.WriteFile(s.Path, []byte(`{"diku":{"reader":"`+hidden+`"}}`), 0o600))
	found(t, s, name, client.SecretName{Tenant: "other", User: "reader"}, client.SecretName{Tenant: "diku", User: "admin"})
	for what, spoil := range map[string]func() error{
		"readable by the group": func() error { return os.Chmod(s.Path, 0o640) },
		"not JSON": func() error {
			return errors.Join(os.Chmod(s.Path, 0o600), os.WriteFile(s.Path, []byte(`{"diku":{"reader":`+hidden), 0o600))
		},
		"missing": func() error { return os.Remove(s.Path) },
	} {
		must(t, os.WriteFile(s.Path, []byte(`{"diku":{"reader":"`+hidden+`"}}`), 0o600))
		must(t, spoil())
		if _, err := s.Secret(t.Context(), name); err == nil || errors.Is(err, client.ErrNoSecret) || strings.Contains(err.Error(), hidden) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// vault answers as the documentation of the KV engine, version 2, has it.
func vault(t *testing.T, paths map[string]string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, known := paths[r.URL.EscapedPath()]
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method != http.MethodGet || r.Header.Get("X-Vault-Request") != "true":
			http.Error(w, `{"errors":["unsupported operation"]}`, http.StatusMethodNotAllowed)
		case r.Header.Get("X-Vault-Token") != "hvs.right":
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		case !known:
			http.Error(w, `{"errors":[]}`, http.StatusNotFound)
		case data == "null": // a deleted version
			http.Error(w, `{"request_id":"x","data":{"data":null,"metadata":{"deletion_time":"2026-01-02T03:04:05Z","version":2}}}`, http.StatusNotFound)
		default:
			fmt.Fprintf(w, `{"request_id":"x","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":%s,"metadata":{"created_time":"2026-01-02T03:04:05Z","deletion_time":"","destroyed":false,"version":1}},"wrap_info":null,"warnings":null,"auth":null}`, data)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestVaultSecrets(t *testing.T) {
	server := vault(t, map[string]string{
		"/v1/secret/data/diku":               `{"reader":"` + hidden + `","pin":1234}`,
		"/v1/kv/data/folio/prod/nZ56F3/diku": `{"reader":"` + hidden + `"}`,
		"/v1/secret/data/gone":               `null`,
		"/v1/secret/data/..%2Fdiku":          `{"reader":"` + hidden + `"}`,
	})
	name := func(tenant, user string) client.SecretName { return client.SecretName{Tenant: tenant, User: user} }
	s := client.VaultSecrets{Address: server.URL + "/", Token: "hvs.right", HTTP: server.Client()}
	found(t, s, name("diku", "reader"), name("diku", "admin"), name("diku", "pin"), name("other", "reader"), name("gone", "reader"))
	found(t, s, name("../diku", "reader"), name("..", "reader"))

	s.Mount, s.Path, s.Token = "kv", "folio/prod", ""
	s.TokenFile = filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(s.TokenFile, []byte("hvs.right\n"), 0o600))
	found(t, s, client.SecretName{Salt: "nZ56F3", Tenant: "diku", User: "reader"}, name("diku", "reader"))

	must(t, os.WriteFile(s.TokenFile, []byte("hvs.wrong\n"), 0o600))
	if _, err := s.Secret(t.Context(), name("diku", "reader")); err == nil || errors.Is(err, client.ErrNoSecret) || strings.Contains(err.Error(), "hvs.") {
		t.Errorf("got %v", err)
	}
}

// A redirect could lead the vault's token anywhere.
func TestVaultSecretsFollowNoRedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked with %v", r.Header)
	}))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	s := client.VaultSecrets{Address: server.URL, Token: "hvs.right", HTTP: server.Client()}
	if _, err := s.Secret(t.Context(), client.SecretName{Tenant: "diku", User: "reader"}); err == nil {
		t.Error("no error")
	}
}

func TestFOLIOSecrets(t *testing.T) {
	dir := t.TempDir()
	authority := newAuthority(t, dir)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/secure-store/entries/nZ56F3_diku_reader" {
			http.Error(w, `{"errors":[]}`, http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"key":"nZ56F3_diku_reader","value":%q}`, hidden)
	}))
	server.TLS = &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.pool,
		Certificates: []tls.Certificate{authority.issue(t, dir, "server")},
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the stranger below
	server.StartTLS()
	defer server.Close()
	authority.issue(t, dir, "edge")
	in := func(name string) string { return filepath.Join(dir, name) }
	own, err := client.MutualTLS(in("edge.crt"), in("edge.key"), in("ca.crt"))
	must(t, err)
	defer own.CloseIdleConnections()
	s := client.FOLIOSecrets{Address: server.URL, HTTP: own}
	name := client.SecretName{Salt: "nZ56F3", Tenant: "diku", User: "reader"}
	found(t, s, name, client.SecretName{Tenant: "diku", User: "reader"})

	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.pool}}}
	defer stranger.CloseIdleConnections()
	s.HTTP = stranger
	if _, err := s.Secret(t.Context(), name); err == nil {
		t.Error("a stranger got the secret")
	}
	if _, err := client.MutualTLS(in("edge.crt"), in("server.key"), ""); err == nil {
		t.Error("a key that does not fit was taken")
	}
}

// authority issues certificates for 127.0.0.1 and writes them to files.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pool        *x509.CertPool
}

func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	must(t, err)
	a.certificate, err = x509.ParseCertificate(der)
	must(t, err)
	a.pool.AddCert(a.certificate)
	must(t, os.WriteFile(filepath.Join(dir, "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return a
}

func (a *authority) issue(t *testing.T, dir, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	must(t, err)
	secret, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
	must(t, os.WriteFile(filepath.Join(dir, name+".crt"), cert, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, name+".key"), private, 0o600))
	pair, err := tls.X509KeyPair(cert, private)
	must(t, err)
	return pair
}

// broken is a store that counts how often it was asked.
type broken struct{ asked *int }

func (b broken) Secret(context.Context, client.SecretName) (string, error) {
	*b.asked++
	return "", errors.New("permission denied")
}

// What is wrong with a secret store does not pass within half a minute.
func TestSecretStoreThatFailsIsAskedOnce(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	asked := 0
	s := o.Session()
	s.Login = client.Password{Username: clienttest.Username, Secrets: broken{&asked}}
	var busy *client.RefreshUnavailable
	if _, err := s.Token(t.Context()); !errors.As(err, &busy) || asked != 1 {
		t.Errorf("got %v, asked %d times", err, asked)
	}
}

// The secret is asked for at each login, and a store that fails is no refusal.
func TestPasswordFromAStore(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	path := filepath.Join(t.TempDir(), "secrets.json")
	write := func(password string) {
		must(t, os.WriteFile(path, []byte(`{"diku":{"reader":"`+password+`"}}`), 0o600))
	}
	write(clienttest.Password)
	s := o.Session()
	s.Login = client.Password{Username: clienttest.Username, Secrets: client.FileSecrets{Path: path}}
	c := s.Client()
	must(t, o.get(t.Context(), c))
	must(t, os.Remove(path))
	o.EndSessions()
	var busy *client.RefreshUnavailable
	if err := o.get(t.Context(), c); !errors.As(err, &busy) {
		t.Errorf("got %v", err)
	}
	write(clienttest.Password)
	o.Advance(2 * time.Second)
	must(t, o.get(t.Context(), c))
	o.EndSessions()
	must(t, os.WriteFile(path, []byte(`{}`), 0o600))
	ended(t, o.get(t.Context(), c), client.ReasonCredentials)
}
