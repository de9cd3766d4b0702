package token

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMasterFileIsMadeOnceForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	first, err := LoadOrCreateMaster(path)
	if err != nil || len(first) != 32 {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := LoadOrCreateMaster(path)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the second start read another key, %v", err)
	}
	other, err := LoadOrCreateMaster(path + "2")
	if err != nil || bytes.Equal(first, other) {
		t.Errorf("two files have one key, %v", err)
	}
}

func TestMasterFilesThatOthersCanReadAreRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o666, 0o620, 0o601} {
		path := filepath.Join(t.TempDir(), "master.key")
		if _, err := LoadOrCreateMaster(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateMaster(path); !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestMasterFilesThatHoldNoKeyAreRefused(t *testing.T) {
	const secret = "c2VjcmV0"
	for _, content := range []string{"", "\n", secret, strings.Repeat("ab", 31), strings.Repeat("ab", 33), strings.Repeat("zz", 32), strings.Repeat(secret, 1000)} {
		path := filepath.Join(t.TempDir(), "master.key")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrCreateMaster(path)
		if !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), secret) {
			t.Errorf("%d bytes: %v", len(content), err)
		}
		if after, _ := os.ReadFile(path); string(after) != content {
			t.Error("the file was written over")
		}
	}
	if _, err := LoadOrCreateMaster(t.TempDir()); !errors.Is(err, ErrMaster) {
		t.Errorf("directory: %v", err)
	}
	if _, err := LoadOrCreateMaster(filepath.Join(t.TempDir(), "missing", "master.key")); !errors.Is(err, ErrMaster) {
		t.Errorf("no directory: %v", err)
	}
}

func TestParseMasterReadsHexAndBase64(t *testing.T) {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(0xf8 + 7*i) // has - and _, + and / in base64
	}
	for _, text := range []string{
		hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)), " " + hex.EncodeToString(key) + "\r\n",
		base64.StdEncoding.EncodeToString(key), base64.RawStdEncoding.EncodeToString(key),
		base64.URLEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key),
	} {
		if got, err := ParseMaster(text); err != nil || !bytes.Equal(got, key) {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "changeme", strings.Repeat("0", 64), strings.Repeat("A", 43), strings.Repeat("ab", 32),
		hex.EncodeToString(key)[1:], base64.StdEncoding.EncodeToString(key[1:]), "0x" + hex.EncodeToString(key),
	} {
		if got, err := ParseMaster(text); !errors.Is(err, ErrMaster) || len(got) > 0 || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
}
