package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// Bootstrap is the one-time code for the first administrator. Its hash rests
// in a file of the data directory, so that the code outlives a restart; the
// code itself is printed once.
type Bootstrap struct {
	// File holds the hash and the time until which it is good.
	File string
	Now  func() time.Time

	mu sync.Mutex
}

// bootstrapFor is how long the code is good.
const bootstrapFor = 24 * time.Hour

// New draws a code, replacing an older one.
func (b *Bootstrap) New() (code string, err error) {
	code = rand.Text()
	hash := sha256.Sum256([]byte(code))
	text := fmt.Sprintf("%s %s\n", hex.EncodeToString(hash[:]), b.Now().Add(bootstrapFor).UTC().Format(time.RFC3339))
	// Removed first, because writing over a file keeps who may read it.
	if err := errors.Join(b.Drop(), os.WriteFile(b.File, []byte(text), 0o600)); err != nil {
		return "", fmt.Errorf("bootstrap code: %w", err)
	}
	return code, nil
}

// Drop makes any code useless.
func (b *Bootstrap) Drop() error {
	if err := os.Remove(b.File); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

var errWrongCode = &problem{
	http.StatusForbidden, "forbidden",
	"the code is wrong, used or older than a day; restart to get a new one, unless there is an administrator already",
}

// use runs do if the code is the one that was printed. It is used up when do
// has succeeded, and by nobody else in between.
func (b *Bootstrap) use(code string, do func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, err := os.ReadFile(b.File)
	if errors.Is(err, os.ErrNotExist) {
		return errWrongCode
	}
	if err != nil {
		return err
	}
	var want, until string
	if n, _ := fmt.Sscanf(string(text), "%64s %s", &want, &until); n != 2 {
		return errors.New("the bootstrap file is damaged, restart to get a new one")
	}
	expires, err := time.Parse(time.RFC3339, until)
	if err != nil {
		return errors.New("the bootstrap file is damaged, restart to get a new one")
	}
	hash := sha256.Sum256([]byte(code))
	if !b.Now().Before(expires) || subtle.ConstantTimeCompare([]byte(hex.EncodeToString(hash[:])), []byte(want)) != 1 {
		return errWrongCode
	}
	if err := do(); err != nil {
		return err
	}
	return b.Drop()
}

// HasUsers is whether anybody could log in, so that there is nothing to
// bootstrap.
func HasUsers(ctx context.Context, store Store) (bool, error) {
	tenants, err := store.Tenants(ctx)
	if err != nil {
		return false, err
	}
	for _, t := range tenants {
		if users, err := store.ListUsers(ctx, t.ID, "", 1); err != nil || len(users) > 0 {
			return len(users) > 0, err
		}
	}
	return false, nil
}

// AdminPermissions are what the first administrator is given.
var AdminPermissions = []string{"counterfoil.all", "okapi.all"}

func (h *Handler) bootstrap(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Code     string `json:"code"`
		Tenant   string `json:"tenant"`
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	u := directory.User{ID: uuid.NewString(), Tenant: in.Tenant, Username: in.Username, Active: true}
	// What can be wrong is looked at first, so that guesses cost no hashing.
	if err := errors.Join(directory.ValidTenantID(in.Tenant), directory.ValidUser(u), h.Sessions.Rules.Check(in.Password, in.Username)); err != nil {
		return &problem{http.StatusUnprocessableEntity, "invalid", err.Error()}
	}
	if err := h.ours(in.Tenant); err != nil {
		return err
	}
	actor := audit.ActorFrom(r.Context())
	actor.Kind, actor.Name = "operator", "bootstrap"
	err := h.Bootstrap.use(in.Code, func() error { return h.createFirst(r, u, in.Password) })
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, map[string]string{"tenant": in.Tenant, "userId": u.ID, "username": u.Username})
}

func (h *Handler) createFirst(r *http.Request, u directory.User, password string) error {
	taken, err := HasUsers(r.Context(), h.Store)
	if err != nil {
		return err
	}
	if taken {
		return errWrongCode
	}
	err = h.Store.CreateTenant(r.Context(), directory.Tenant{ID: u.Tenant}, event(r, audit.TenantCreated, u.Tenant, ""))
	if err != nil && !errors.Is(err, directory.ErrExists) {
		return err
	}
	return h.Sessions.CreateUser(r.Context(), u, directory.Grants{Permissions: AdminPermissions}, password)
}
