// Package ssm reads passwords from the Parameter Store of AWS Systems Manager,
// for package client:
//
//	secrets, err := ssm.New(ctx)
//	session := &client.Session{
//		BaseURL: "https://folio.example.org/okapi",
//		Tenant:  "diku",
//		Login:   client.Password{Username: "edge", Salt: salt, Secrets: secrets},
//	}
//
// The names of parameters are those of FOLIO's edge modules, so that one store
// serves both: SALT_TENANT_USER, a SecureString.
//
// It is a module of its own, so that only who uses it gets the AWS SDK:
//
//	go get github.com/counterfoil/counterfoil/client/ssm
package ssm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/counterfoil/counterfoil/client"
)

// Getter is what Secrets needs of the SDK's *ssm.Client.
type Getter interface {
	GetParameter(ctx context.Context, in *ssm.GetParameterInput, options ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
}

// Secrets implements client.SecretStore. It asks at each login and keeps
// nothing, so that a password can be changed while the program runs. The
// program's role needs ssm:GetParameter, and kms:Decrypt where the parameters
// have a key of their own.
type Secrets struct {
	// Client has region, credentials and retries.
	Client Getter
	// Prefix goes before the name. FOLIO has none; a path such as /folio/ lets
	// a policy speak of all parameters below it.
	Prefix string
}

// New returns Secrets with what the SDK finds: region and credentials from the
// environment, from ~/.aws, or from the role of the machine, container or pod.
// Options override that, such as config.WithRegion. Where edge-common has
// ecsCredentialsPath, ECS sets AWS_CONTAINER_CREDENTIALS_RELATIVE_URI itself.
func New(ctx context.Context, options ...func(*config.LoadOptions) error) (*Secrets, error) {
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("parameter store: %w", err)
	}
	if loaded.Region == "" {
		return nil, errors.New("parameter store: no region: set AWS_REGION, or use config.WithRegion")
	}
	return &Secrets{Client: ssm.NewFromConfig(loaded)}, nil
}

var _ client.SecretStore = (*Secrets)(nil)

// Secret implements client.SecretStore. A parameter that does not exist is
// client.ErrNoSecret; a store that cannot be asked, or that does not let us in,
// is another error, after which the session tries again.
func (s *Secrets) Secret(ctx context.Context, name client.SecretName) (string, error) {
	parts := []string{name.Salt, name.Tenant, name.User}
	if name.Salt == "" {
		parts = parts[1:]
	}
	parameter := s.Prefix + strings.Join(parts, "_")
	for _, part := range parts {
		// The store's names have no other characters; a colon would choose a
		// version, and a slash another place.
		if part == "" || strings.ContainsFunc(part, outside) {
			return "", fmt.Errorf("parameter store: %q can be the name of no parameter: %w", parameter, client.ErrNoSecret)
		}
	}
	got, err := s.Client.GetParameter(ctx, &ssm.GetParameterInput{Name: &parameter, WithDecryption: aws.Bool(true)})
	var missing *types.ParameterNotFound
	switch {
	case errors.As(err, &missing):
		return "", fmt.Errorf("parameter store: %s: %w", parameter, client.ErrNoSecret)
	case err != nil:
		return "", fmt.Errorf("parameter store: %s: %w", parameter, err)
	case got.Parameter == nil || aws.ToString(got.Parameter.Value) == "":
		return "", fmt.Errorf("parameter store: %s is empty: %w", parameter, client.ErrNoSecret)
	}
	return *got.Parameter.Value, nil
}

func outside(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r))
}
