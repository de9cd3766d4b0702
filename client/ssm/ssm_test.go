package ssm_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
	"github.com/counterfoil/counterfoil/client/ssm"
)

const (
	keyID     = "AKIDEXAMPLE"
	secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	region    = "eu-central-1"
	hidden    = "a password that nobody prints"
)

// store is the endpoint of the Parameter Store as its API reference has it,
// with a check of the signature.
type store struct {
	*httptest.Server
	t          *testing.T
	parameters map[string]string
	asked      atomic.Int64
	// fault is answered instead, as status and type.
	fault  string
	status int
}

func serve(t *testing.T, parameters map[string]string) *store {
	s := &store{t: t, parameters: parameters}
	s.Server = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(s.Close)
	return s
}

func (s *store) answer(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if why := verify(r, body); why != "" {
		s.t.Error(why)
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"InvalidSignatureException"}`)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("X-Amz-Target") != "AmazonSSM.GetParameter" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		s.t.Errorf("asked %s %s, %v", r.Method, r.URL, r.Header)
	}
	var in map[string]any
	if json.Unmarshal(body, &in) != nil || len(in) != 2 || in["WithDecryption"] != true {
		s.t.Errorf("asked for %s, want a name and decryption", body)
	}
	name, _ := in["Name"].(string)
	value, known := s.parameters[name]
	switch {
	case s.fault != "":
		w.WriteHeader(s.status)
		fmt.Fprintf(w, `{"__type":%q,"message":"not now"}`, s.fault)
	case !known:
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"ParameterNotFound"}`)
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"Parameter": map[string]any{
			"ARN": "arn:aws:ssm:" + region + ":123456789012:parameter/" + name, "Name": name, "Type": "SecureString", "Value": value, "Version": 1,
		}})
	}
}

// verify computes the signature of version 4 anew, from the secret key.
func verify(r *http.Request, body []byte) string {
	var id, day, signed, signature string
	for part := range strings.SplitSeq(strings.TrimPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "), ", ") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "Credential":
			scope := strings.Split(value, "/")
			if len(scope) != 5 || scope[2] != region || scope[3] != "ssm" || scope[4] != "aws4_request" {
				return "scope " + value
			}
			id, day = scope[0], scope[1]
		case "SignedHeaders":
			signed = value
		case "Signature":
			signature = value
		}
	}
	at := r.Header.Get("X-Amz-Date")
	if id != keyID || len(at) != len("20060102T150405Z") || day != at[:8] {
		return "not signed as expected: " + r.Header.Get("Authorization") + " at " + at
	}
	canonical := []string{r.Method, "/", ""}
	for name := range strings.SplitSeq(signed, ";") {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		canonical = append(canonical, name+":"+strings.TrimSpace(value))
	}
	for _, must := range []string{"host", "x-amz-date", "x-amz-target"} {
		if !strings.Contains(";"+signed+";", ";"+must+";") {
			return must + " is not signed"
		}
	}
	canonical = append(canonical, "", signed, hash(body))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", at, day + "/" + region + "/ssm/aws4_request", hash([]byte(strings.Join(canonical, "\n")))}, "\n")
	key := []byte("AWS4" + secretKey)
	for _, part := range []string{day, region, "ssm", "aws4_request", text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	if signature != hex.EncodeToString(key) {
		return "wrong signature"
	}
	return ""
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// noneOfThisMachines hides what this machine has to say about AWS.
func noneOfThisMachines(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func (s *store) secrets(t *testing.T) *ssm.Secrets {
	t.Helper()
	noneOfThisMachines(t)
	secrets, err := ssm.New(t.Context(), config.WithRegion(region), config.WithBaseEndpoint(s.URL),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(keyID, secretKey, "")))
	if err != nil {
		t.Fatal(err)
	}
	return secrets
}

func TestParametersAreNamedAsFOLIOsEdgeModulesNameThem(t *testing.T) {
	s := serve(t, map[string]string{
		"nZ56F3LeAa_diku_reader":        hidden,
		"diku_reader":                   hidden,
		"/folio/nZ56F3LeAa_diku_reader": hidden,
		"diku_empty":                    "",
	})
	plain, below := s.secrets(t), s.secrets(t)
	below.Prefix = "/folio/"
	salted := client.SecretName{Salt: "nZ56F3LeAa", Tenant: "diku", User: "reader"}
	for _, c := range []struct {
		secrets *ssm.Secrets
		name    client.SecretName
	}{{plain, salted}, {plain, client.SecretName{Tenant: "diku", User: "reader"}}, {below, salted}} {
		if got, err := c.secrets.Secret(t.Context(), c.name); err != nil || got != hidden {
			t.Errorf("%+v: got %q, %v", c.name, got, err)
		}
	}
	for _, name := range []client.SecretName{{Tenant: "diku", User: "admin"}, {Tenant: "diku", User: "empty"}, {Salt: "x", Tenant: "diku", User: "reader"}} {
		if _, err := plain.Secret(t.Context(), name); !errors.Is(err, client.ErrNoSecret) {
			t.Errorf("%+v: got %v", name, err)
		}
	}
}

// A colon chooses a version, a slash another place, and ARNs are names too.
func TestNamesThatMeanSomethingElseAreNotAsked(t *testing.T) {
	s := serve(t, nil)
	secrets := s.secrets(t)
	for _, name := range []client.SecretName{
		{Tenant: "diku", User: "reader:1"},
		{Tenant: "diku", User: "../reader"},
		{Tenant: "arn:aws:ssm:eu-central-1:1:parameter/x", User: "reader"},
		{Salt: "/", Tenant: "diku", User: "reader"},
		{Tenant: "diku", User: "lecteur é"},
		{Tenant: "", User: "reader"},
		{Tenant: "diku", User: ""},
	} {
		if _, err := secrets.Secret(t.Context(), name); !errors.Is(err, client.ErrNoSecret) {
			t.Errorf("%+v: got %v", name, err)
		}
	}
	if n := s.asked.Load(); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

// Not to be let in is no certain answer about the secret.
func TestStoreThatRefuses(t *testing.T) {
	for fault, status := range map[string]int{"AccessDeniedException": 400, "ThrottlingException": 400, "InternalServerError": 500} {
		s := serve(t, map[string]string{"diku_reader": hidden})
		s.fault, s.status = fault, status
		_, err := s.secrets(t).Secret(t.Context(), client.SecretName{Tenant: "diku", User: "reader"})
		if err == nil || errors.Is(err, client.ErrNoSecret) || !strings.Contains(err.Error(), fault) || strings.Contains(err.Error(), secretKey) {
			t.Errorf("%s: got %v", fault, err)
		}
	}
}

func TestCallerThatLeaves(t *testing.T) {
	s := serve(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.secrets(t).Secret(ctx, client.SecretName{Tenant: "diku", User: "reader"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRegionMustBeNamed(t *testing.T) {
	noneOfThisMachines(t)
	if _, err := ssm.New(t.Context()); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("got %v", err)
	}
}

// The password is asked for at each login, and changes while the program runs.
func TestSessionWithAPasswordFromTheParameterStore(t *testing.T) {
	parameters := serve(t, map[string]string{"nZ56F3LeAa_diku_reader": clienttest.Password})
	gateway := clienttest.New(t)
	gateway.HandleFunc("/orders", func(http.ResponseWriter, *http.Request) {})
	session := gateway.Session()
	session.Login = client.Password{Username: clienttest.Username, Salt: "nZ56F3LeAa", Secrets: parameters.secrets(t)}
	for range 2 {
		answer, err := session.Client().Get(gateway.URL + "/orders")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Error(answer.Status)
		}
		gateway.EndSessions()
	}
	if n := parameters.asked.Load(); n != 2 {
		t.Errorf("asked %d times for two logins", n)
	}
}
