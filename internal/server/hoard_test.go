package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// hoard is all secrets that were issued or typed, and all places where none of
// them may be found.
type hoard struct {
	mu      sync.Mutex
	secrets map[string]string // by what they are and a number
	// said is what refusals answered, and errors of the configuration.
	said bytes.Buffer
	log  bytes.Buffer
}

// Write makes the hoard the program's log.
func (h *hoard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(p)
}

func (h *hoard) add(what, secret string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, known := range h.secrets {
		if known == secret {
			return
		}
	}
	if len(secret) >= 8 {
		h.secrets[fmt.Sprintf("%s %d", what, len(h.secrets))] = secret
	}
}

var (
	anyJWT     = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)
	anyRefresh = regexp.MustCompile(`cfrt_[\w-]+`)
)

// take finds what an answer, or a module's request, gives out.
func (h *hoard) take(header http.Header, body []byte) {
	text, _ := json.Marshal(header)
	for _, place := range [][]byte{text, body} {
		for _, found := range anyJWT.FindAll(place, -1) {
			h.add("JWT", string(found))
		}
		for _, found := range anyRefresh.FindAll(place, -1) {
			h.add("refresh token", string(found))
		}
	}
	for _, c := range (&http.Response{Header: header}).Cookies() {
		h.add("cookie "+c.Name, c.Value)
	}
}

// forms are the ways in which the secret part of a secret may be written. What
// a JWT says is no secret, its signature is.
func forms(secret string) [][]byte {
	part := secret
	raw := []byte(secret)
	if anyJWT.MatchString(secret) {
		part = secret[strings.LastIndexByte(secret, '.')+1:]
		raw, _ = base64.RawURLEncoding.DecodeString(part)
	} else if bare, ok := strings.CutPrefix(secret, "cfrt_"); ok {
		part = bare[len(bare)-42:] // of the two tags
		raw, _ = base64.RawURLEncoding.DecodeString(bare)
		raw = raw[len(raw)-32:]
	} else if decoded, err := base64.RawURLEncoding.DecodeString(secret); err == nil && len(decoded) >= 16 {
		raw = decoded
	}
	return [][]byte{
		[]byte(part), []byte(url.QueryEscape(part)), raw,
		[]byte(hex.EncodeToString(raw)), []byte(strings.ToUpper(hex.EncodeToString(raw))),
		[]byte(base64.RawStdEncoding.EncodeToString(raw)), []byte(base64.RawURLEncoding.EncodeToString(raw)),
	}
}

// search tells which secrets are in which places.
func search(secrets map[string]string, places map[string][]byte) (hits []string) {
	for what, secret := range secrets {
		for _, form := range forms(secret) {
			for place, text := range places {
				if bytes.Contains(text, form) {
					hits = append(hits, fmt.Sprintf("%s in %s", what, place))
				}
			}
		}
	}
	return hits
}
