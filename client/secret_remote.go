package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// VaultSecrets reads passwords from the key/value engine, version 2, of a
// HashiCorp Vault (or OpenBao), through its HTTP API. The secret of a tenant is
// at PATH/TENANT, or PATH/SALT/TENANT where there is a salt, and has a field
// for each user: FOLIO's way.
type VaultSecrets struct {
	// Address is such as https://vault.example.org:8200.
	Address string
	// Mount is where the engine is; empty is "secret".
	Mount string
	// Path is below Mount; it may be empty.
	Path string
	// Namespace is for Vault Enterprise.
	Namespace string
	// Token opens the vault. Where TokenFile is given, it is read from there
	// each time, as an agent beside the program renews it.
	Token, TokenFile string
	// HTTP is nil for a client that waits 15 seconds.
	HTTP *http.Client
}

// Secret implements SecretStore.
func (v VaultSecrets) Secret(ctx context.Context, name SecretName) (string, error) {
	mount := v.Mount
	if mount == "" {
		mount = "secret"
	}
	where, err := join(v.Address, "v1", mount, "data", v.Path, escape(name.Salt), escape(name.Tenant))
	if err != nil {
		return "", err
	}
	header := http.Header{}
	header.Set("X-Vault-Token", v.Token)
	// Agents forward nothing without it, so that no page in a browser can ask.
	header.Set("X-Vault-Request", "true")
	if v.TokenFile != "" {
		token, err := os.ReadFile(v.TokenFile)
		if err != nil {
			return "", fmt.Errorf("token of the vault: %w", err)
		}
		header.Set("X-Vault-Token", strings.TrimSpace(string(token)))
	}
	if v.Namespace != "" {
		header.Set("X-Vault-Namespace", v.Namespace)
	}
	var got struct{ Data struct{ Data map[string]any } }
	if err := get(ctx, v.HTTP, where, header, &got); err != nil {
		return "", fmt.Errorf("vault: %w", err)
	}
	secret, ok := got.Data.Data[name.User].(string)
	if !ok || secret == "" {
		return "", fmt.Errorf("vault: %s has no field for user %q: %w", where, name.User, ErrNoSecret)
	}
	return secret, nil
}

// FOLIOSecrets reads passwords from a FOLIO secure store proxy, which lets in
// by client certificate.
type FOLIOSecrets struct {
	// Address is such as https://secure-store.example.org:8443.
	Address string
	// HTTP is a client with the certificate, see MutualTLS.
	HTTP *http.Client
}

// Secret implements SecretStore. The key is that of FOLIO's edge modules,
// SALT_TENANT_USER.
func (f FOLIOSecrets) Secret(ctx context.Context, name SecretName) (string, error) {
	key := name.Tenant + "_" + name.User
	if name.Salt != "" {
		key = name.Salt + "_" + key
	}
	where, err := join(f.Address, "secure-store", "entries", escape(key))
	if err != nil {
		return "", err
	}
	var got struct{ Value string }
	if err := get(ctx, f.HTTP, where, http.Header{}, &got); err != nil {
		return "", fmt.Errorf("secure store: %w", err)
	}
	if got.Value == "" {
		return "", fmt.Errorf("secure store: %s is empty: %w", where, ErrNoSecret)
	}
	return got.Value, nil
}

// MutualTLS returns a client that shows a certificate and believes only
// servers whose certificate was issued by the authority, all in PEM files. An
// empty authority is those of the system.
func MutualTLS(certificate, key, authority string) (*http.Client, error) {
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
	if authority != "" {
		text, err := os.ReadFile(authority)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("certificate authority: %s has no certificate", authority)
		}
	}
	transport := ownTransport()
	transport.TLSClientConfig = config
	return &http.Client{Transport: transport, Timeout: secretTimeout}, nil
}

const secretTimeout = 15 * time.Second

// escape makes one segment of a path; a tenant named ../.. stays one.
func escape(segment string) string {
	if segment == "." || segment == ".." {
		return strings.ReplaceAll(segment, ".", "%2E")
	}
	return url.PathEscape(segment)
}

// join is the address and escaped segments, without empty ones.
func join(address string, segments ...string) (string, error) {
	u, err := url.Parse(strings.TrimRight(address, "/"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return "", errors.New("the secret store's Address must read like https://vault.example.org:8200")
	}
	where := u.String()
	for _, s := range segments {
		if s = strings.Trim(s, "/"); s != "" {
			where += "/" + s
		}
	}
	return where, nil
}

// get reads JSON. Its errors say where and which status, and nothing of what
// was read. It follows no redirect: the token would go along.
func get(ctx context.Context, from *http.Client, where string, header http.Header, into any) error {
	careful := http.Client{Timeout: secretTimeout}
	if from != nil {
		careful = *from
	}
	careful.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	r.Header = header
	r.Header.Set("Accept", "application/json")
	answer, err := careful.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w", where, ErrNoSecret)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answered %d", where, answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	if json.Unmarshal(text, into) != nil {
		return fmt.Errorf("%s did not answer with the JSON that was expected", where)
	}
	return nil
}
