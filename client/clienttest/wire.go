package clienttest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
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

// misfortune runs before what is served at /authn and /oauth2; it returns what is to
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
	if body.Username != Username || body.Password != Password || s.isInactive() {
		refuse(w, "wrong.username.or.wrong.password.or.account.blocked", "Wrong username or wrong password or account blocked")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := s.begin()
	after()
	grant(w, answer)
}

func (s *Server) begin() answer {
	s.logins++
	id := rand.Text()
	s.sessions[id] = &session{generation: 1, access: map[string]time.Time{}, strikes: map[string]bool{}}
	return s.mint(id)
}

// oauthToken is client credentials, RFC 6749, section 4.4, where the client
// shows its secret as section 2.3.1 says.
func (s *Server) oauthToken(w http.ResponseWriter, r *http.Request) {
	served, after := s.misfortune(w)
	if !served {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	deny := func(status int, code, description string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": description})
	}
	id, secret, _ := r.BasicAuth()
	id, wrongID := url.QueryUnescape(id)
	secret, wrongSecret := url.QueryUnescape(secret)
	switch {
	case r.ParseForm() != nil || r.Form.Has("client_secret"):
		deny(http.StatusBadRequest, "invalid_request", "the secret goes into the header, the rest into the body")
		return
	case wrongID != nil || wrongSecret != nil || id != ClientID || secret != ClientSecret:
		w.Header().Set("WWW-Authenticate", `Basic realm="clienttest"`)
		deny(http.StatusUnauthorized, "invalid_client", "unknown client or wrong secret")
		return
	case r.PostForm.Get("grant_type") != "client_credentials":
		deny(http.StatusBadRequest, "unsupported_grant_type", "")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	granted := s.begin()
	after()
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": granted.AccessToken, "token_type": "Bearer", "expires_in": int(AccessTTL / time.Second),
		"scope": r.PostForm.Get("scope"),
	})
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
	if s.inactive {
		refuse(w, "token.refresh.unprocessable", "Authorization server unable to process token refresh request")
		return
	}
	id, generation := parse(body.RefreshToken)
	row := s.sessions[id]
	if row == nil {
		after()
		refuse(w, "token.refresh.unprocessable", "Authorization server unable to process token refresh request",
			parameter{"reason", "ended"})
		return
	}
	now := s.now()
	age := now.Sub(row.windowAt)
	late := len(row.strikes) > 0 && now.Sub(row.struckAt) > heal
	switch {
	case late, generation > row.generation:
		delete(s.sessions, id)
		after()
		refuse(w, "token.refresh.unprocessable", "Authorization server unable to process token refresh request",
			parameter{"reason", "ended"})
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
		if code := s.check(r.Header); code != "" {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"message":"Access token refused","code":%q,"type":"auth"}`, code)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) check(h http.Header) (code string) {
	access, authorization := h.Get("X-Okapi-Token"), h.Get("Authorization")
	if access == "" && authorization == "apikey "+APIKey {
		return ""
	}
	if access == "" {
		access = strings.TrimPrefix(authorization, "Bearer ")
	}
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
