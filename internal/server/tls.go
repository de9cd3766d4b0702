package server

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificate serves a key pair from files and reads it again when a file has
// changed, so that a renewed certificate needs no restart. A pair that cannot
// be read leaves the old one in place.
type certificate struct {
	files TLSConfig
	now   func() time.Time
	warn  func(error)
	// asks is whether clients are asked for a certificate of their own, which need
	// not be signed by anybody: it is known by its hash.
	asks tls.ClientAuthType

	mu       sync.Mutex
	current  *tls.Certificate
	modified [2]time.Time
	looked   time.Time
}

// lookEvery bounds how often the files are looked at.
const lookEvery = 10 * time.Second

func loadCertificate(files TLSConfig, now func() time.Time, warn func(error)) (*certificate, error) {
	c := &certificate{files: files, now: now, warn: warn, looked: now()}
	return c, c.load()
}

func (c *certificate) load() error {
	modified, err := c.modifiedAt()
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	c.current, c.modified = &pair, modified
	return nil
}

func (c *certificate) modifiedAt() (times [2]time.Time, err error) {
	for i, file := range []string{c.files.Cert, c.files.Key} {
		info, err := os.Stat(file)
		if err != nil {
			return times, err
		}
		times[i] = info.ModTime()
	}
	return times, nil
}

// again has the files looked at when somebody connects next.
func (c *certificate) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = time.Time{}
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= lookEvery {
		c.looked = now
		if modified, err := c.modifiedAt(); err != nil {
			c.warn(err)
		} else if modified != c.modified {
			if err := c.load(); err != nil {
				c.warn(err)
			}
		}
	}
	return c.current, nil
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get, NextProtos: []string{"h2", "http/1.1"}, ClientAuth: c.asks}
}
