package token

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNewSessionIDsAreRandomUUIDs(t *testing.T) {
	version4 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[SessionID]bool{}
	for range 1000 {
		id := NewSessionID()
		if !version4.MatchString(id.String()) || seen[id] || id.IsZero() {
			t.Fatal(id)
		}
		seen[id] = true
	}
}

func TestSessionIDsComeBackFromTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := SessionID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		for _, text := range []string{id.String(), strings.ToUpper(id.String())} {
			if got, err := ParseSessionID(text); err != nil || got != id {
				t.Fatalf("%s: %v, %v", text, got, err)
			}
		}
		text, err := json.Marshal(map[SessionID]SessionID{id: id})
		if err != nil {
			t.Fatal(err)
		}
		var got map[SessionID]SessionID
		if err := json.Unmarshal(text, &got); err != nil || got[id] != id || len(got) != 1 {
			t.Fatalf("%s: %v, %v", text, got, err)
		}
	})
}

func TestOtherTextIsNoSessionID(t *testing.T) {
	const good = "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11"
	for _, text := range []string{
		"", good[1:], good + "0", " " + good[1:], "{" + good + "}", "urn:uuid:" + good, strings.ReplaceAll(good, "-", ""),
		strings.ReplaceAll(good, "-", "_"), "0d5f4b5e5-f0b-4f0c-8a50-1b7d3c3f9c11", strings.Replace(good, "0", "g", 1), strings.Replace(good, "0", "\x00", 1),
	} {
		if id, err := ParseSessionID(text); !errors.Is(err, ErrSessionID) || !id.IsZero() {
			t.Errorf("%q: %v, %v", text, id, err)
		}
		id := NewSessionID()
		before := id
		if err := id.UnmarshalText([]byte(text)); err == nil || id != before {
			t.Errorf("%q: %v, %v", text, id, err)
		}
	}
}
