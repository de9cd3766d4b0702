package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"pgregory.net/rapid"
)

// The short way is the library's, to the byte: tokens that were made before it
// match after it.
func TestTagsAndKeysOfOneUseAreTheLibrarys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
		secret := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret")
		message := rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "message")
		before := bytes.Clone(message)
		h := hmac.New(sha256.New, key[:])
		h.Write(message)
		if got := tagOnce(&key, message); !bytes.Equal(got[:], h.Sum(nil)) {
			t.Error("the tag is another")
		}
		if got := subkeyOnce(secret, &key, message); !bytes.Equal(got[:], subkey(secret, key[:], string(message))) {
			t.Error("the key is another")
		}
		if !bytes.Equal(message, before) {
			t.Error("the message was changed")
		}
	})
}
