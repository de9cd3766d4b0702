package clienttest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// session is one login, as the server keeps it: a generation, not its tokens.
type session struct {
	generation int
	windowAt   time.Time
	access     map[string]time.Time // until when
	strikes    map[string]bool      // by heal nonce
	struckAt   time.Time
}

// misfortune runs before what is served at /authn; it returns what is to
// happen after it.
func (s *Server) misfortune(w http.ResponseWriter) (served bool, after func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.busy > 0:
		s.busy--
		w.Header().Set("Retry-After", "1")
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return false, nil
	case s.lose > 0:
		s.lose--
		return true, func() { panic(http.ErrAbortHandler) }
	}
	return true, func() {}
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	served, after := s.misfortune(w)
	if !served {
		return
	}
	var body struct{ Username, Password string }
	if json.NewDecoder(r.Body).Decode(&body) != nil || r.Header.Get("X-Okapi-Tenant") != Tenant {
		http.Error(w, "No such Tenant", http.StatusBadRequest)
		return
	}
	if body.Username != Username || body.Password != Password {
		refuse(w, "wrong.username.or.wrong.password.or.account.blocked", "Wrong username or wrong password or account blocked")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins++
	id := rand.Text()
	s.sessions[id] = &session{generation: 1, access: map[string]time.Time{}, strikes: map[string]bool{}}
	answer := s.mint(id)
	after()
	grant(w, answer)
}

// refresh is Counterfoil's rule without its late recoveries.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request) {
	served, after := s.misfortune(w)
	if !served {
		return
	}
	var body struct{ RefreshToken, Heal string }
	if json.NewDecoder(r.Body).Decode(&body) != nil || body.RefreshToken == "" {
		http.Error(w, `{"errors":[{"code":"token.parse.failure"}]}`, http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	id, generation := parse(body.RefreshToken)
	row := s.sessions[id]
	if row == nil {
		after()
		refuse(w, "token.refresh.unprocessable", "Authorization server unable to process token refresh request")
		return
	}
	now := s.now()
	age := now.Sub(row.windowAt)
	late := len(row.strikes) > 0 && now.Sub(row.struckAt) > heal
	switch {
	case late, generation > row.generation:
		delete(s.sessions, id)
		after()
		refuse(w, "token.refresh.unprocessable", "Authorization server unable to process token refresh request")
		return
	case generation == row.generation:
		delete(row.strikes, body.Heal)
		if len(row.strikes) == 0 && age >= floor {
			row.generation++
			row.windowAt = now
			s.rotated++
		}
	case generation < row.generation-1 || age >= grace:
		nonce := rand.Text()
		if len(row.strikes) == 0 {
			row.struckAt = now
		}
		row.strikes[nonce] = true
		after()
		refuse(w, "token.refresh.unprocessable", "Authorization server unable to process token refresh request",
			parameter{"reason", "superseded"}, parameter{"heal", nonce})
		return
	}
	answer := s.mint(id)
	after()
	grant(w, answer)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	served, after := s.misfortune(w)
	if !served {
		return
	}
	var body struct{ RefreshToken string }
	_ = json.NewDecoder(r.Body).Decode(&body)
	id, _ := parse(body.RefreshToken)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
	after()
	w.WriteHeader(http.StatusNoContent)
}

// guard refuses as the gateway does.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := s.check(r.Header.Get("X-Okapi-Token")); code != "" {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"message":"Access token refused","code":%q,"type":"auth"}`, code)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) check(access string) (code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, _, _ := strings.Cut(access, ".")
	row := s.sessions[id]
	if row == nil {
		return "TOKEN_INVALID"
	}
	until, known := row.access[access]
	switch {
	case !known:
		return "TOKEN_INVALID"
	case !s.now().Before(until):
		return "TOKEN_EXPIRED"
	}
	return ""
}

type answer struct {
	AccessToken            string    `json:"accessToken"`
	RefreshToken           string    `json:"refreshToken"`
	AccessTokenExpiration  time.Time `json:"accessTokenExpiration"`
	RefreshTokenExpiration time.Time `json:"refreshTokenExpiration"`
	TenantID               string    `json:"tenantId"`
}

// mint makes an access token and the refresh token of the newest generation.
func (s *Server) mint(id string) answer {
	row, now := s.sessions[id], s.now()
	s.minted++
	access := fmt.Sprintf("%s.%d.access", id, s.minted)
	row.access[access] = now.Add(AccessTTL)
	return answer{
		access, fmt.Sprintf("cfrt_%s_%d", id, row.generation),
		now.Add(AccessTTL).UTC().Truncate(time.Second), now.Add(7 * 24 * time.Hour).UTC().Truncate(time.Second), Tenant,
	}
}

func parse(refresh string) (id string, generation int) {
	parts := strings.Split(refresh, "_")
	if len(parts) != 3 || parts[0] != "cfrt" {
		return "", 0
	}
	_, _ = fmt.Sscanf(parts[2], "%d", &generation)
	return parts[1], generation
}

func grant(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(a)
}

type parameter struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func refuse(w http.ResponseWriter, code, message string, parameters ...parameter) {
	type fault struct {
		Message    string      `json:"message"`
		Type       string      `json:"type"`
		Code       string      `json:"code"`
		Parameters []parameter `json:"parameters,omitempty"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnprocessableEntity)
	_ = json.NewEncoder(w).Encode(struct {
		Errors []fault `json:"errors"`
	}{[]fault{{message, "error", code, parameters}}})
}
