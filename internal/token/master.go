package token

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// ErrMaster is a master key that cannot be used or does not fit the keys in
// the store.
var ErrMaster = errors.New("master key")

const labelWrap = "counterfoil key wrapping 1"

// KeyWrapper seals secrets for the store. bound comes back as it was, and what
// was wrapped with another one must not open. That of NewMasterWrapper is used
// where there is none else; a KMS can take its place.
type KeyWrapper interface {
	Wrap(secret, bound []byte) ([]byte, error)
	Unwrap(wrapped, bound []byte) ([]byte, error)
}

// vault is what keeps the secrets of a ring.
type vault struct {
	wrapper KeyWrapper
	signers Signers
}

// signersOf keeps all keys but those of access tokens here: a KMS is asked for
// what others verify, and not for each checkpoint of the log.
func (v vault) signersOf(purpose string) Signers {
	if purpose == PurposeAccess && v.signers != nil {
		return v.signers
	}
	return localSigners{}
}

// newSigner makes a private key and fills in its public half.
func (v vault) newSigner(k *StoredKey) (handle []byte, err error) {
	signers := v.signersOf(k.Purpose)
	if handle, err = signers.New(k.Algorithm); err != nil {
		return nil, err
	}
	signer, err := signers.Open(k.Algorithm, handle)
	if err != nil {
		return nil, err
	}
	public, jwk, err := publicKey(k.Algorithm, signer.Public())
	if err != nil {
		return nil, err
	}
	k.Public, k.ID = public, thumbprint(jwk)[:16]
	return handle, nil
}

// open unseals the secret of a row. It is bound to that row, and opens nowhere else.
func (v vault) open(k StoredKey) ([]byte, error) {
	secret, err := v.wrapper.Unwrap(k.Wrapped, sealedWith(k))
	if err != nil {
		return nil, fmt.Errorf("%w: does not open the stored %s key %s: start with the master key that this store was made with (or the stored key was altered)", ErrMaster, k.Purpose, k.ID)
	}
	if k.Purpose != PurposeAccess && len(secret) != secretSize {
		return nil, fmt.Errorf("stored %s key %s has a secret of %d bytes instead of %d", k.Purpose, k.ID, len(secret), secretSize)
	}
	return secret, nil
}

// wrapper is the KeyWrapper of the master key: AES-256-GCM under a key derived
// from it.
type wrapper struct{ aead cipher.AEAD }

// NewMasterWrapper wraps under a master key of 32 bytes.
func NewMasterWrapper(master []byte) (KeyWrapper, error) {
	if len(master) != secretSize {
		return nil, fmt.Errorf("%w: must have %d bytes, has %d: make one with `openssl rand -hex 32`, or name a file that does not exist yet and it is made", ErrMaster, secretSize, len(master))
	}
	block, err := aes.NewCipher(subkey(master, nil, labelWrap))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMaster, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMaster, err)
	}
	return &wrapper{aead}, nil
}

func (w *wrapper) Wrap(secret, bound []byte) ([]byte, error) {
	return w.aead.Seal(nil, nil, secret, bound), nil
}

func (w *wrapper) Unwrap(wrapped, bound []byte) ([]byte, error) {
	return w.aead.Open(nil, nil, wrapped, bound)
}

func sealedWith(k StoredKey) []byte {
	return appendField(appendField(appendField(nil, k.Purpose), k.ID), k.Algorithm)
}

// ParseMaster reads a master key of 32 bytes from its text, as it stands in
// an environment variable: 64 hexadecimal digits, or base64 in either alphabet
// with or without padding. White space around it is ignored. The text is in
// no error.
func ParseMaster(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	var master []byte
	var err error
	if len(text) == hex.EncodedLen(secretSize) {
		master, err = hex.DecodeString(text)
	} else {
		unpadded := strings.TrimRight(text, "=")
		unpadded = strings.NewReplacer("+", "-", "/", "_").Replace(unpadded)
		master, err = base64.RawURLEncoding.DecodeString(unpadded)
	}
	switch {
	case err != nil || len(master) != secretSize:
		return nil, fmt.Errorf("%w: must be 32 bytes as 64 hexadecimal digits or as base64: make one with `openssl rand -hex 32`", ErrMaster)
	case bytes.Count(master, master[:1]) == secretSize:
		return nil, fmt.Errorf("%w: is one byte repeated, a placeholder: make one with `openssl rand -hex 32`", ErrMaster)
	}
	return master, nil
}

// LoadOrCreateMaster reads the master key from the file at path, or makes the
// file, readable by its owner alone, if there is none. It refuses a file that
// others can read. Losing the file makes the keys in the store useless: every
// session ends.
func LoadOrCreateMaster(path string) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createMaster(path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMaster, err)
	}
	defer file.Close()
	// The open file is asked, not the path: it cannot be exchanged in between.
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMaster, err)
	}
	// Windows has no such permission bits; access lists guard the file there.
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%w: %s can be read by others (mode %04o): run `chmod 600 %s`, and make a new one if somebody may have read it", ErrMaster, path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(file, 1<<10))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMaster, err)
	}
	master, err := ParseMaster(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return master, nil
}

// createMaster makes the file and has it on the disk before it returns: keys
// will be stored that nothing else can open.
func createMaster(path string) (master []byte, err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMaster, err)
	}
	defer func() {
		if err != nil {
			os.Remove(path) // half a key would be refused at the next start
		}
	}()
	master = make([]byte, secretSize)
	rand.Read(master)
	_, err = file.WriteString(hex.EncodeToString(master) + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMaster, err)
	}
	if err = syncDirectory(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMaster, err)
	}
	return master, nil
}

// syncDirectory makes a new name last. Windows cannot and need not do it.
func syncDirectory(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
