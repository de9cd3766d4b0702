package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
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
	if err := os.WriteFile(b.File, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("bootstrap code: %w", err)
	}
	return code, nil
}

// use is whether the code is the one that was printed. The right one is used
// up by asking.
func (b *Bootstrap) use(code string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, err := os.ReadFile(b.File)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return false, errors.New("the bootstrap file is damaged, remove it and restart")
	}
	until, err := time.Parse(time.RFC3339, fields[1])
	if err != nil {
		return false, errors.New("the bootstrap file is damaged, remove it and restart")
	}
	hash := sha256.Sum256([]byte(code))
	if !b.Now().Before(until) || subtle.ConstantTimeCompare([]byte(hex.EncodeToString(hash[:])), []byte(fields[0])) != 1 {
		return false, nil
	}
	return true, os.Remove(b.File)
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
	// Everything that can be wrong is looked at before the code is used up.
	if err := errors.Join(directory.ValidTenantID(in.Tenant), directory.ValidUser(u), h.Sessions.Rules.Check(in.Password, in.Username)); err != nil {
		return &problem{http.StatusUnprocessableEntity, "invalid", err.Error()}
	}
	if h.Bootstrap == nil {
		return &problem{http.StatusForbidden, "forbidden", "there is an administrator already"}
	}
	ok, err := h.Bootstrap.use(in.Code)
	if err != nil {
		return err
	}
	if !ok {
		return &problem{http.StatusForbidden, "forbidden", "the code is wrong, used or older than a day; restart to get a new one"}
	}
	actor := audit.ActorFrom(r.Context())
	actor.Kind, actor.Name = "operator", "bootstrap"
	err = h.Store.CreateTenant(r.Context(), directory.Tenant{ID: in.Tenant}, event(r, audit.TenantCreated, in.Tenant, ""))
	if err != nil && !errors.Is(err, directory.ErrExists) {
		return err
	}
	if err := h.Sessions.CreateUser(r.Context(), u, directory.Grants{Permissions: AdminPermissions}, in.Password); err != nil {
		return err
	}
	return answer(w, http.StatusCreated, map[string]string{"tenant": in.Tenant, "userId": u.ID, "username": u.Username})
}
