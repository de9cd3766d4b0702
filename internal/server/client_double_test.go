package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/client/clienttest"
	"github.com/counterfoil/counterfoil/internal/server"
)

// The double that users of the client test with must answer as the program
// does.
func TestClienttestAnswersAsTheProgramDoes(t *testing.T) {
	s := openShop(t, nil)
	double := clienttest.New(t)
	double.HandleFunc("GET /orders", func(http.ResponseWriter, *http.Request) {})
	real := s.tell(s.URL(server.Public), readerPW, s.wait)
	if diff := cmp.Diff(real, s.tell(double.URL, clienttest.Password, double.Advance)); diff != "" {
		t.Errorf("the double differs (- program, + double):\n%s", diff)
	}
	if len(real) != 12 {
		t.Errorf("%d answers: %v", len(real), real)
	}
}

// tell plays a story at a gateway and returns what was answered, without what
// is random.
func (s *shop) tell(base, password string, wait func(time.Duration)) (story []string) {
	s.t.Helper()
	type granted struct{ AccessToken, RefreshToken string }
	var first, second granted
	ask := func(path string, body any, into *granted, header ...string) *reply {
		method := http.MethodPost
		if body == nil {
			method = http.MethodGet
		}
		got, err := s.send(method, base+path, body, header...)
		s.must(err)
		line := fmt.Sprint(path, " ", got.status)
		var fields map[string]any
		if json.Unmarshal(got.body, &fields) == nil {
			for _, name := range []string{"accessToken", "refreshToken", "accessTokenExpiration", "refreshTokenExpiration", "tenantId", "code"} {
				if _, has := fields[name]; has {
					line += " " + name
				}
			}
			line += fmt.Sprint(" ", fields["code"])
		}
		for _, e := range got.json.Errors {
			line += " " + e.Code
			for _, p := range e.Parameters {
				line += " " + p.Key
			}
		}
		if into != nil {
			s.must(json.Unmarshal(got.body, into))
		}
		story = append(story, line)
		return got
	}
	refresh := func(token string, into *granted, heal string) *reply {
		body := map[string]string{"refreshToken": token}
		if heal != "" {
			body["heal"] = heal
		}
		return ask("/authn/refresh", body, into)
	}
	ask("/authn/login", map[string]string{"username": "reader", "password": "wrong"}, nil, "X-Okapi-Tenant", "diku")
	ask("/authn/login", map[string]string{"username": "reader", "password": password}, &first, "X-Okapi-Tenant", "diku")
	ask("/orders", nil, nil, "X-Okapi-Token", first.AccessToken, "X-Okapi-Tenant", "diku")
	wait(10 * time.Minute)
	ask("/orders", nil, nil, "X-Okapi-Token", first.AccessToken, "X-Okapi-Tenant", "diku")
	refresh(first.RefreshToken, &second, "")
	refresh(first.RefreshToken, &second, "") // the answer was lost
	refresh(second.RefreshToken, &second, "")
	wait(11 * time.Second)
	late := refresh(first.RefreshToken, nil, "")
	refresh(second.RefreshToken, &second, late.heal())
	ask("/authn/logout", map[string]string{"refreshToken": first.RefreshToken}, nil)
	ask("/orders", nil, nil, "X-Okapi-Token", second.AccessToken, "X-Okapi-Tenant", "diku")
	refresh(second.RefreshToken, nil, "")
	return story
}
