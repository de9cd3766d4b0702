package token

import (
	"crypto/ed25519"
	"errors"
)

// ErrVouch is a checkpoint of the audit log that its key did not sign.
var ErrVouch = errors.New("the signature is not that of the key")

// AuditKey is the public half of a key that signs, or signed, checkpoints of the
// audit log.
type AuditKey struct {
	ID     string `json:"id"`
	Public []byte `json:"public"` // 32 bytes, Ed25519
	// Removed keys vouch for nothing any more: others may have them.
	Removed bool `json:"removed,omitempty"`
}

// Vouch signs a checkpoint of the audit log with the active audit key.
func (r *Ring) Vouch(message []byte) (id string, signature []byte) {
	k := r.state.Load().active[PurposeAudit]
	return k.ID, ed25519.Sign(k.signer.(ed25519.PrivateKey), message)
}

// AuditKeys are the public halves of all audit keys. Those of living keys were
// compared with the sealed secrets, so that nobody who only writes to the
// database can add one.
func (r *Ring) AuditKeys() []AuditKey {
	var keys []AuditKey
	for _, k := range r.state.Load().keys {
		if k.Purpose == PurposeAudit {
			keys = append(keys, AuditKey{k.ID, k.Public, !k.live()})
		}
	}
	return keys
}

// Verify checks a signature that Vouch made.
func (k AuditKey) Verify(message, signature []byte) error {
	if len(k.Public) != ed25519.PublicKeySize || len(signature) != ed25519.SignatureSize ||
		!ed25519.Verify(ed25519.PublicKey(k.Public), message, signature) {
		return ErrVouch
	}
	return nil
}
