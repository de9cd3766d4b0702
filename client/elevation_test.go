package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

const challenge = `Bearer error="insufficient_user_authentication", max_age="300"`

// guarded is a gateway whose route /guarded takes raised scope alone.
func guarded(t *testing.T) (s *clienttest.Server, asked *int) {
	s, asked = clienttest.New(t), new(int)
	raised, err := s.Session().Token(t.Context()) // any that holds and is not the caller's own
	if err != nil {
		t.Fatal(err)
	}
	s.HandleFunc("/guarded", func(w http.ResponseWriter, r *http.Request) {
		*asked++
		if r.Header.Get("X-Okapi-Token") != raised {
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"message":"m","code":"ELEVATION_REQUIRED","type":"auth","permissions":["orders.item.delete"],"acr":"urn:x","maxAge":300}`)
			return
		}
		_, _ = io.Copy(w, r.Body)
	})
	s.HandleFunc("/authn/elevate", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Password    string
			Permissions []string
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Password != clienttest.Password || strings.Join(in.Permissions, " ") != "orders.item.delete" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"accessToken":"`+raised+`","accessTokenExpiration":"2030-01-01T00:00:00Z"}`)
	})
	return s, asked
}

func TestAGatewayThatWantsAFreshProof(t *testing.T) {
	gone := errors.New("the user went away")
	for _, test := range []struct {
		name    string
		elevate func(context.Context, *client.ElevationRequired) (string, error)
		body    io.Reader
		served  bool
		asked   int
		why     error
	}{
		{"nobody to ask", nil, strings.NewReader("{}"), false, 1, nil},
		{"the password", func(_ context.Context, need *client.ElevationRequired) (string, error) {
			if need.Permissions[0] != "orders.item.delete" || need.MaxAge != 5*time.Minute || need.ACR != "urn:x" {
				t.Errorf("asked for %+v", need)
			}
			return clienttest.Password, nil
		}, strings.NewReader("{}"), true, 2, nil},
		{"a wrong one", func(context.Context, *client.ElevationRequired) (string, error) { return "x", nil }, strings.NewReader("{}"), false, 1, nil},
		{"nobody there", func(context.Context, *client.ElevationRequired) (string, error) { return "", gone }, strings.NewReader("{}"), false, 1, gone},
		{"a body that cannot be read again", func(context.Context, *client.ElevationRequired) (string, error) {
			t.Error("asked for a password that is of no use")
			return "", nil
		}, io.MultiReader(strings.NewReader("{}")), false, 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, asked := guarded(t)
			own := s.Session()
			own.Elevate = test.elevate
			answer, err := own.Client().Post(s.URL+"/guarded", "application/json", test.body)
			if *asked != test.asked {
				t.Errorf("sent %d times", *asked)
			}
			if test.served {
				if err != nil || answer.StatusCode != http.StatusOK {
					t.Fatalf("%v, %v", answer, err)
				}
				text, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				if string(text) != "{}" {
					t.Errorf("the body came as %q", text)
				}
				return
			}
			var need *client.ElevationRequired
			if !errors.As(err, &need) || need.Permissions[0] != "orders.item.delete" || test.why != nil && !errors.Is(err, test.why) {
				t.Errorf("%v", err)
			}
			if strings.Contains(err.Error(), clienttest.Password) {
				t.Errorf("the password is in %v", err)
			}
		})
	}
}

func TestAModulesOwnChallengeIsItsAnswer(t *testing.T) {
	s := clienttest.New(t)
	s.HandleFunc("/other", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "of another kind")
	})
	answer, err := s.Session().Client().Get(s.URL + "/other")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if string(text) != "of another kind" {
		t.Errorf("the body is %q", text)
	}
}
