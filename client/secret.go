package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrNoSecret is that a store does not have a secret, for certain.
var ErrNoSecret = errors.New("no such secret")

// SecretName is what a password is kept under. Salt is empty but for users of
// FOLIO's edge modules, where it is the s of the API key.
type SecretName struct{ Salt, Tenant, User string }

// SecretStore has the passwords of users.
type SecretStore interface {
	// Secret returns a password, or ErrNoSecret.
	Secret(ctx context.Context, name SecretName) (string, error)
}

// EnvironmentSecrets reads passwords from the environment. The variable of user
// reader in tenant diku is PREFIX_DIKU_READER: upper case, and an underscore
// for what is no ASCII letter or digit.
type EnvironmentSecrets struct{ Prefix string }

// Secret implements SecretStore.
func (e EnvironmentSecrets) Secret(_ context.Context, name SecretName) (string, error) {
	variable := variableName(e.Prefix, name.Salt, name.Tenant, name.User)
	secret := os.Getenv(variable)
	if secret == "" {
		return "", fmt.Errorf("environment variable %s: %w", variable, ErrNoSecret)
	}
	return secret, nil
}

func variableName(parts ...string) string {
	var whole []string
	for _, part := range parts {
		if part != "" {
			whole = append(whole, part)
		}
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, strings.Join(whole, "_"))
}

// FileSecrets reads passwords from a file of mode 0600: a JSON object of
// tenants, each an object of user names and passwords. It is read at each
// login.
//
//	{"diku": {"reader": "…"}}
type FileSecrets struct{ Path string }

// Secret implements SecretStore.
func (f FileSecrets) Secret(_ context.Context, name SecretName) (string, error) {
	text, err := readPrivate(f.Path)
	if err != nil {
		return "", fmt.Errorf("secrets file: %w", err)
	}
	var all map[string]map[string]string
	if json.Unmarshal(text, &all) != nil { // the error could quote a password
		return "", fmt.Errorf("secrets file %s must be a JSON object of tenants, each an object of users and passwords", f.Path)
	}
	secret := all[name.Tenant][name.User]
	if secret == "" {
		return "", fmt.Errorf("secrets file %s, user %q of tenant %q: %w", f.Path, name.User, name.Tenant, ErrNoSecret)
	}
	return secret, nil
}
