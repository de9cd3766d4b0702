package session

import (
	"context"
	"crypto/sha256"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// SpentStore knows what is good once, on all nodes.
type SpentStore interface {
	// Spend uses something, and returns whether nobody has before. It is forgotten
	// some time after until.
	Spend(ctx context.Context, kind string, id []byte, until time.Time) (first bool, err error)
}

// ProofAlgorithms are those of DPoP proofs.
var ProofAlgorithms = []string{token.ES256, token.EdDSA, token.RS256}

// proofAge is how far from now, before or after, a proof may have been made.
const proofAge = time.Minute

// spentProof is what the store knows proofs by.
const spentProof = "dpop"

// ProofRequest is a DPoP proof (RFC 9449) with the request that it came with.
type ProofRequest struct {
	// Proof are all values of the header.
	Proof []string
	// Method and URL are those that the client used, as far as we know.
	Method, URL string
	// Access is the access token that came along, empty at the token endpoint.
	Access string
	// Nonce is whether the proof needs one of ours.
	Nonce bool
}

// ProofError is a proof that does not do. It uses nothing up.
type ProofError struct {
	// Nonce is one for the next proof, where it was that which was missing.
	Nonce string
	// Missing is whether there was no proof.
	Missing bool
	reason  string
}

func (p *ProofError) Error() string { return p.reason }

// Is says that a token whose key was not proved does not hold.
func (p *ProofError) Is(target error) bool { return target == ErrTokenInvalid }

func noProof(reason string) *ProofError { return &ProofError{reason: reason} }

// ProveOnce is the key that a proof shows at the token endpoint. The proof is good
// once, on all nodes. It fails with *ProofError or ErrUnavailable.
func (s *Service) ProveOnce(ctx context.Context, r ProofRequest) (token.Confirmation, error) {
	p, err := s.openProof(&r)
	if err != nil {
		return "", err
	}
	id := proofID(&p)
	// Whether a lost answer was a yes is not asked again: the client makes another
	// proof, and this one is good once.
	first, err := s.Spent.Spend(ctx, spentProof, id[:], p.IssuedAt.Add(proofAge+time.Second))
	switch {
	case err != nil:
		return "", err
	case !first:
		return "", noProof("the proof was used before")
	}
	return p.Confirm, nil
}

// Possesses is whether a proof shows the key that a token is bound to, nil if so,
// or *ProofError. The proof is good once on this node, which remembers it.
func (s *Service) Possesses(c *token.Claims, r ProofRequest) error {
	key, bound := c.Confirm.Key()
	if !bound {
		return noProof("the token is not bound to a key that proofs can show")
	}
	r.Nonce = s.Policies.For(c.Tenant, c.ClientID, c.UserID).ProofNonce
	p, err := s.openProof(&r)
	switch shown, _ := p.Confirm.Key(); {
	case err != nil:
		return err
	case shown != key:
		return noProof("the proof is of another key than the token's")
	case p.AccessHash != token.AccessHash(r.Access):
		return noProof("ath is not the hash of this access token")
	case !s.proofs.first(proofID(&p), s.Now()):
		return noProof("the proof was used before")
	}
	return nil
}

// openProof checks all but whether a proof was used before.
func (s *Service) openProof(r *ProofRequest) (token.Proof, error) {
	if len(r.Proof) == 0 {
		return token.Proof{}, &ProofError{Missing: true, reason: "a DPoP proof is needed"}
	}
	if len(r.Proof) > 1 {
		return token.Proof{}, noProof("one DPoP header, not more")
	}
	p, err := token.OpenProof(r.Proof[0])
	if err != nil {
		return p, noProof(err.Error())
	}
	now := s.Now()
	wanted, known := normalURL(r.URL)
	told, read := normalURL(p.URL)
	switch {
	case p.Method != r.Method:
		return p, noProof("htm is not the method of this request")
	case !known:
		return p, noProof("proofs cannot be compared with this request: an operator must set public_url")
	case !read || told != wanted:
		return p, noProof("htu is not the URL of this request: " + wanted)
	case p.Nonce != "" && !s.Tokens.ProofNonceHolds(p.Nonce, now), r.Nonce && p.Nonce == "":
		return p, &ProofError{Nonce: s.Tokens.ProofNonce(now), reason: "a proof with the nonce of this answer is needed"}
	case p.IssuedAt.Before(now.Add(-proofAge)) || p.IssuedAt.After(now.Add(proofAge)):
		return p, noProof("iat is not now")
	}
	return p, nil
}

// normalURL is an http URL without query and fragment, normalised as RFC 3986
// section 6.2 has it, so that two ways to write one URL compare as equal.
func normalURL(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return "", false
	}
	host := strings.ToLower(u.Host)
	host = strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return u.Scheme + "://" + host + normalEscapes(path), true
}

// normalEscapes writes escapes in capitals, and none where there is no need.
func normalEscapes(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			out.WriteByte(path[i])
			continue
		}
		escape := strings.ToUpper(path[i : i+3])
		if plain, err := url.PathUnescape(escape); err == nil && unreserved(plain[0]) {
			escape = plain
		}
		out.WriteString(escape)
		i += 2
	}
	return out.String()
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// proofID is what a proof is remembered by. Keys do not share their ids.
func proofID(p *token.Proof) [16]byte {
	sum := sha256.Sum256([]byte(string(p.Confirm) + "\x00" + p.ID))
	return [16]byte(sum[:16])
}

// proofs remembers the proofs that this node has seen, in two generations of
// which the older is forgotten whole.
type proofs struct {
	mu       sync.Mutex
	now, old map[[16]byte]struct{}
	since    time.Time
}

const (
	// proofsKept is for longer than any proof is good.
	proofsKept = 2*proofAge + 2*time.Second
	// maxProofs bounds a generation, some 20 MB. A node that gets more within
	// proofsKept forgets earlier, and its oldest proofs may be used again before
	// they are too old.
	maxProofs = 1 << 19
)

func (p *proofs) first(id [16]byte, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil || now.Sub(p.since) >= proofsKept || len(p.now) >= maxProofs {
		p.old, p.now, p.since = p.now, make(map[[16]byte]struct{}), now
	}
	if _, used := p.now[id]; used {
		return false
	}
	if _, used := p.old[id]; used {
		return false
	}
	p.now[id] = struct{}{}
	return true
}
