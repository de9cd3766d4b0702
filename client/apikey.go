package client

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// APIKey sends an API key along with each request to the gateway, which takes
// it in place of a session: there is nothing to log in, to renew or to end. An
// operator makes the key and takes it back; a 401 is the caller's to read.
// Counterfoil's keys begin with cfak_; FOLIO's edge modules take theirs, which
// hold salt, tenant and user, in the same header.
//
// The key goes to the gateway's origin, at or below its path, and nowhere
// else: requests to other hosts pass untouched, and so does one to the gateway
// that a redirect from another host led to.
//
// Fill in the fields and use it from as many goroutines as there are. It must
// not be copied, and its fields not changed, after first use.
type APIKey struct {
	// BaseURL is the gateway, with its path if it has one.
	BaseURL string
	// Key is sent as Authorization: apikey KEY.
	Key string
	// Tenant goes along as X-Okapi-Tenant with requests that have none. Empty
	// leaves that to the gateway: a key is of one tenant.
	Tenant string
	// Base sends the requests; nil is http.DefaultTransport.
	Base http.RoundTripper

	once sync.Once
	bad  error // of the fields above
	base *url.URL
}

// Client returns a client whose requests to the gateway carry the key.
func (k *APIKey) Client() *http.Client { return &http.Client{Transport: k} }

func (k *APIKey) init() error {
	k.once.Do(func() {
		k.base, k.bad = endpoint(k.BaseURL)
		if k.bad == nil && (k.Key == "" || strings.ContainsFunc(k.Key, func(r rune) bool { return r <= ' ' || r >= 0x7f })) {
			k.bad = errors.New("client: APIKey needs a Key, of visible ASCII characters")
		}
	})
	return k.bad
}

// RoundTrip implements http.RoundTripper. Other credentials of a request to
// the gateway are dropped: it refuses a request with two that differ.
func (k *APIKey) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := k.init(); err != nil {
		if r.Body != nil {
			r.Body.Close() // as every RoundTripper must
		}
		return nil, err
	}
	if belongs(k.base, r) {
		r = bare(r, r.Body, k.Tenant)
		r.Header.Set("Authorization", "apikey "+k.Key)
	}
	return orDefault(k.Base).RoundTrip(r)
}

// CloseIdleConnections does so at Base, for http.Client's method of that name.
func (k *APIKey) CloseIdleConnections() { closeIdle(k.Base) }
