package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// stage is the program as clients see it: the first node is the one that the
// command talks to, further ones are those that the operator named.
type stage struct {
	nodes  []string
	client *http.Client
}

func newStage(nodes []string, public string) (*stage, error) {
	for i, node := range nodes {
		u, err := url.Parse(node)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, usageError(fmt.Sprintf("--node %q is not an http or https URL", node))
		}
		nodes[i] = strings.TrimSuffix(node, "/")
	}
	client := caller()
	client.Timeout = 15 * time.Second
	// The listener's own address is in no certificate; the public name is.
	if u, err := url.Parse(public); err == nil && u.Scheme == "https" {
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}}
	}
	return &stage{nodes, client}, nil
}

// answered is what a refresh brought, and in what time.
type answered struct {
	status int
	took   time.Duration
	// Access and Refresh are the new tokens, if the status is 201.
	Access  string `json:"accessToken"`
	Refresh string `json:"refreshToken"`
}

func (s *stage) logIn(ctx context.Context, tenant, password string) (answered, error) {
	got, err := s.post(ctx, "/authn/login", tenant, map[string]string{"username": drillUser, "password": password})
	if err == nil && got.status != http.StatusCreated {
		err = fmt.Errorf("login answered %d", got.status)
	}
	return got, err
}

// refresh leaves the judgement of the status to the caller, but for those that
// say that the program cannot judge now: then nothing was drilled.
func (s *stage) refresh(ctx context.Context, token string) (answered, error) {
	got, err := s.post(ctx, "/authn/refresh", "", map[string]string{"refreshToken": token})
	if err == nil && got.status >= http.StatusInternalServerError {
		err = fmt.Errorf("refresh answered %d", got.status)
	}
	return got, err
}

func (s *stage) post(ctx context.Context, path, tenant string, body any) (answered, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return answered{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.nodes[0]+path, bytes.NewReader(text))
	if err != nil {
		return answered{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	if tenant != "" {
		r.Header.Set("X-Okapi-Tenant", tenant)
	}
	var got answered
	started := time.Now()
	status, answer, err := s.send(r)
	got.took, got.status = time.Since(started), status
	if err == nil && status == http.StatusCreated {
		err = json.Unmarshal(answer, &got)
	}
	return got, err
}

// use calls something with an access token at one node and returns the status.
func (s *stage) use(ctx context.Context, node int, tenant, access string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.nodes[node]+"/authn/sessions/_self", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("X-Okapi-Tenant", tenant)
	r.Header.Set("X-Okapi-Token", access)
	status, _, err := s.send(r)
	return status, err
}

// publishes is whether any node lists a key in its JWKS.
func (s *stage) publishes(ctx context.Context, key string) (bool, error) {
	for _, node := range s.nodes {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, node+"/.well-known/jwks.json", nil)
		if err != nil {
			return false, err
		}
		status, text, err := s.send(r)
		if err != nil {
			return false, err
		}
		if status != http.StatusOK {
			return false, notHeld("the JWKS of %s answered %d", node, status)
		}
		if bytes.Contains(text, []byte(`"`+key+`"`)) {
			return true, nil
		}
	}
	return false, nil
}

func (s *stage) send(r *http.Request) (int, []byte, error) {
	answer, err := s.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return answer.StatusCode, text, err
}
