package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/token"
)

// keyPurpose is the keys of one purpose.
type keyPurpose struct {
	Purpose, What string
	Keys          []token.KeyInfo
}

// purposes are what keys are for, in words.
var purposes = map[string]string{
	"access": "signs access tokens", "module": "signs modules' tokens", "refresh": "tags refresh tokens", "audit": "signs the audit log's checkpoints", "derive": "makes the secrets of sessions and nonces",
}

func (h *Handler) keys(v *visit) error {
	var list []keyPurpose
	for _, k := range h.Tokens.Keys() {
		at := slices.IndexFunc(list, func(p keyPurpose) bool { return p.Purpose == k.Purpose })
		if at < 0 {
			at, list = len(list), append(list, keyPurpose{Purpose: k.Purpose, What: purposes[k.Purpose]})
		}
		list[at].Keys = append(list[at].Keys, k)
	}
	return h.render(v, "keys", list)
}

func (h *Handler) rotateKey(v *visit) error {
	k, err := h.Tokens.Rotate(v.r.Context(), v.r.PathValue("purpose"), v.r.PostFormValue("algorithm"), false)
	if err != nil {
		return err
	}
	return h.render(v, "done", done{Text: "Key " + k.ID + " was made. It is " + k.State + "; it signs once every verifier has had time to fetch it.", Back: Path + "keys", BackName: "the keys"})
}

// removeKey is for a key that somebody else has. All that it protects ends with
// it, so its id must be typed.
func (h *Handler) removeKey(v *visit) error {
	id := v.r.PathValue("id")
	if strings.TrimSpace(v.r.PostFormValue("confirm")) != id {
		return &fault{http.StatusUnprocessableEntity, "Nothing was removed: type the whole id of the key to confirm."}
	}
	if err := h.Tokens.Remove(v.r.Context(), v.r.PathValue("purpose"), id); err != nil {
		return err
	}
	return h.render(v, "done", done{Text: "Key " + id + " was removed. What it signed or tagged is refused from now on.", Back: Path + "keys", BackName: "the keys"})
}

// apiKeyRow is an API key in the list.
type apiKeyRow struct {
	*apikey.Key
	State apikey.State
}

func (h *Handler) apiKeys(v *visit) error {
	if h.Sessions.Keys == nil {
		return errNotFound
	}
	list, err := h.Sessions.Keys.List(v.r.Context())
	if err != nil {
		return err
	}
	rows := make([]apiKeyRow, len(list))
	for i := range list {
		rows[i] = apiKeyRow{&list[i], list[i].State(h.Now())}
	}
	return h.render(v, "api-keys", rows)
}

func (h *Handler) changeAPIKey(v *visit) error {
	if h.Sessions.Keys == nil {
		return errNotFound
	}
	var key apikey.Key
	var err error
	var what string
	switch v.r.PathValue("do") {
	case "revoke":
		what = "is over for good"
		key, err = h.Sessions.Keys.Revoke(v.r.Context(), v.r.PathValue("id"))
	case "resume":
		what = "holds again"
		key, err = h.Sessions.Keys.Resume(v.r.Context(), v.r.PathValue("id"))
	default:
		return errNotFound
	}
	if err != nil {
		return err
	}
	return h.render(v, "done", done{Text: "The key " + key.Name + " " + what + ".", Back: Path + "api-keys", BackName: "the API keys"})
}
