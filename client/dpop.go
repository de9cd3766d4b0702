package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// DPoP binds a session to a key (RFC 9449): its tokens are worth nothing to
// whoever has them without it. Password, ClientCredentials and LogInDevice get
// such tokens from Counterfoil; a server that gives others is not used.
type DPoP struct {
	// Key signs; an ECDSA key of P-256, Ed25519, or RSA. It may be in an HSM. Nil
	// makes a key of P-256 for each session, which is kept beside the tokens: that
	// protects tokens that are seen on their way, and not those of a stolen Store.
	Key crypto.Signer
}

// ErrNotBound is a server that gave tokens that are not bound to the key.
var ErrNotBound = errors.New("the server gave tokens that are not bound to a key")

// callersKey is Tokens.Key where the key is DPoP.Key.
const callersKey = "caller"

// prover makes proofs with one key.
type prover struct {
	signer    crypto.Signer
	algorithm string
	jwk       json.RawMessage
	// kept is Tokens.Key of what is bound to it.
	kept string
	now  func() time.Time

	mu    sync.Mutex
	nonce string
	// ahead is how much the server's clock is ahead of ours.
	ahead time.Duration
}

var base64url = base64.RawURLEncoding

func newProver(signer crypto.Signer, kept string, now func() time.Time) (*prover, error) {
	p := &prover{signer: signer, kept: kept, now: now}
	members := map[string]string{}
	switch public := signer.Public().(type) {
	case ed25519.PublicKey:
		p.algorithm = "EdDSA"
		members["kty"], members["crv"], members["x"] = "OKP", "Ed25519", base64url.EncodeToString(public)
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if public.Curve != elliptic.P256() || err != nil {
			return nil, errors.New("client: DPoP needs a key of P-256, Ed25519 or RSA")
		}
		p.algorithm = "ES256"
		members["kty"], members["crv"] = "EC", "P-256"
		members["x"], members["y"] = base64url.EncodeToString(point[1:33]), base64url.EncodeToString(point[33:])
	case *rsa.PublicKey:
		p.algorithm = "RS256"
		members["kty"], members["n"] = "RSA", base64url.EncodeToString(public.N.Bytes())
		members["e"] = base64url.EncodeToString(big.NewInt(int64(public.E)).Bytes())
	default:
		return nil, errors.New("client: DPoP needs a key of P-256, Ed25519 or RSA")
	}
	var err error
	p.jwk, err = json.Marshal(members)
	return p, err
}

// ownProver makes a key.
func ownProver(now func() time.Time) (*prover, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return newProver(key, base64url.EncodeToString(text), now)
}

// keptProver reads a key that was kept.
func keptProver(kept string, now func() time.Time) (*prover, error) {
	text, err := base64url.DecodeString(kept)
	if err != nil {
		return nil, errors.New("client: the key in the store cannot be read")
	}
	key, err := x509.ParsePKCS8PrivateKey(text)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("client: the key in the store cannot be read")
	}
	return newProver(signer, kept, now)
}

// prove adds a proof to a request; access is the token that it carries, empty
// for none.
func (p *prover) prove(r *http.Request, access string) error {
	p.mu.Lock()
	nonce, ahead := p.nonce, p.ahead
	p.mu.Unlock()
	at := url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}
	claims := struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Issued int64  `json:"iat"`
		Nonce  string `json:"nonce,omitempty"`
		Access string `json:"ath,omitempty"`
	}{rand.Text(), r.Method, at.String(), p.now().Add(ahead).Unix(), nonce, ""}
	if claims.Method == "" {
		claims.Method = http.MethodGet
	}
	if access != "" {
		sum := sha256.Sum256([]byte(access))
		claims.Access = base64url.EncodeToString(sum[:])
	}
	header, err := json.Marshal(map[string]any{"typ": "dpop+jwt", "alg": p.algorithm, "jwk": p.jwk})
	if err != nil {
		return err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return err
	}
	text := base64url.EncodeToString(header) + "." + base64url.EncodeToString(payload)
	signature, err := p.sign([]byte(text))
	if err != nil {
		return fmt.Errorf("client: sign a proof: %w", err)
	}
	r.Header.Set("DPoP", text+"."+base64url.EncodeToString(signature))
	return nil
}

func (p *prover) sign(text []byte) ([]byte, error) {
	if p.algorithm == "EdDSA" {
		return p.signer.Sign(rand.Reader, text, crypto.Hash(0))
	}
	sum := sha256.Sum256(text)
	signature, err := p.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil || p.algorithm != "ES256" {
		return signature, err
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(signature, &pair); err != nil {
		return nil, err
	}
	raw := make([]byte, 64)
	pair.R.FillBytes(raw[:32])
	pair.S.FillBytes(raw[32:])
	return raw, nil
}

// show makes a request carry a token that is bound to the key.
func (p *prover) show(r *http.Request, access string) error {
	r.Header.Set("Authorization", "DPoP "+access)
	return p.prove(r, access)
}

// learn takes nonce and clock from an answer, and returns whether another proof
// would be better than the one that the answer is to.
func (p *prover) learn(h http.Header) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	better := false
	if nonce := h.Get("DPoP-Nonce"); nonce != "" && nonce != p.nonce {
		p.nonce, better = nonce, true
	}
	if there, err := http.ParseTime(h.Get("Date")); err == nil {
		// What is less than half of the time for which a proof is good is left alone:
		// an answer may have been on its way.
		if ahead := there.Sub(p.now()); (ahead - p.ahead).Abs() > 30*time.Second {
			p.ahead, better = ahead, true
		}
	}
	return better
}

// proverOf is what proves for tokens, nil if they are bound to no key.
func (s *Session) proverOf(t *Tokens) (*prover, error) {
	if t == nil || t.Key == "" {
		return nil, nil
	}
	s.proving.Lock()
	defer s.proving.Unlock()
	if s.prover != nil && s.prover.kept == t.Key {
		return s.prover, nil
	}
	var err error
	if t.Key != callersKey {
		s.prover, err = keptProver(t.Key, s.Now)
	} else if s.DPoP == nil || s.DPoP.Key == nil {
		err = errors.New("client: the session is bound to a key, set DPoP.Key to it")
	} else {
		s.prover, err = newProver(s.DPoP.Key, callersKey, s.Now)
	}
	if err != nil {
		s.prover = nil
	}
	return s.prover, err
}

// gatewayFor is the gateway as whoever holds the tokens calls it.
func (s *Session) gatewayFor(t *Tokens) (*Gateway, error) {
	p, err := s.proverOf(t)
	if p == nil || err != nil {
		return s.gateway, err
	}
	g := *s.gateway
	g.prover = p
	return &g, nil
}

// logIn begins a session by do, bound to a key if there is to be one.
func (s *Session) logIn(do func(*Gateway) (*Tokens, error)) (*Tokens, error) {
	if s.DPoP == nil {
		return do(s.gateway)
	}
	var p *prover
	var err error
	if s.DPoP.Key != nil {
		p, err = s.proverOf(&Tokens{Key: callersKey})
	} else {
		p, err = ownProver(s.Now)
	}
	if err != nil {
		return nil, err
	}
	g := *s.gateway
	g.prover = p
	t, err := do(&g)
	switch {
	case err != nil:
		return nil, err
	case !t.bound:
		return nil, &SessionEnded{ReasonCredentials, ErrNotBound}
	}
	t.Key = p.kept
	return t, nil
}

// wantsProof is whether an answer refuses a request for its proof alone.
func wantsProof(answer *http.Response) bool {
	told := answer.Header.Get("Www-Authenticate")
	return answer.StatusCode == http.StatusUnauthorized && (strings.Contains(told, `error="use_dpop_nonce"`) || strings.Contains(told, `error="invalid_dpop_proof"`))
}

// show sends a request with a token, and once more if its proof had an old nonce
// or was made by a wrong clock.
func (t *Transport) show(base http.RoundTripper, r *http.Request, used *state, access string, body io.ReadCloser) (*http.Response, error) {
	p, err := t.Session.proverOf(used.Tokens)
	if err != nil {
		return nil, &notSent{err}
	}
	dressed := bare(r, body, t.Session.Tenant)
	if p == nil {
		dressed.Header.Set("X-Okapi-Token", access)
		return base.RoundTrip(dressed)
	}
	for again := false; ; again = true {
		if err := p.show(dressed, access); err != nil {
			return nil, &notSent{err}
		}
		answer, err := base.RoundTrip(dressed)
		if err != nil || !p.learn(answer.Header) || again || !wantsProof(answer) {
			return answer, err
		}
		discard(answer)
		if r.Body != nil && r.Body != http.NoBody {
			if r.GetBody == nil {
				return nil, &NotReplayable{}
			}
			if body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		dressed = bare(r, body, t.Session.Tenant)
	}
}
