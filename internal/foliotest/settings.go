package foliotest

import "net/http"

// Entry is one setting of mod-configuration.
type Entry struct {
	ID         string `json:"id"`
	Module     string `json:"module"`
	ConfigName string `json:"configName"`
	Code       string `json:"code,omitempty"`
	Enabled    bool   `json:"enabled"`
	Value      string `json:"value"`
}

// ServicePoint is a desk.
type ServicePoint struct {
	ID                   string `json:"id"`
	Name                 string `json:"name"`
	Code                 string `json:"code"`
	DiscoveryDisplayName string `json:"discoveryDisplayName,omitempty"`
}

// ServicePointsUser is at which desks a user works.
type ServicePointsUser struct {
	ID                    string   `json:"id"`
	UserID                string   `json:"userId"`
	ServicePointsIDs      []string `json:"servicePointsIds"`
	DefaultServicePointID string   `json:"defaultServicePointId,omitempty"`
}

// Configure stores a setting.
func (p *Platform) Configure(tenantID string, e Entry) {
	e.ID = orNew(e.ID)
	p.in(tenantID, func(t *tenant) { t.entries = append(t.entries, e) })
}

// AddServicePoint stores a desk and returns its id.
func (p *Platform) AddServicePoint(tenantID string, s ServicePoint) string {
	s.ID = orNew(s.ID)
	p.in(tenantID, func(t *tenant) { t.servicePoints = append(t.servicePoints, s) })
	return s.ID
}

// Assign says at which desks a user works.
func (p *Platform) Assign(tenantID string, a ServicePointsUser) {
	a.ID = orNew(a.ID)
	p.in(tenantID, func(t *tenant) { t.assigned = append(t.assigned, a) })
}

func (p *Platform) configuration() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /configurations/entries", func(w http.ResponseWriter, r *http.Request) {
		t, release := p.of(r)
		defer release()
		collection(w, r, "configs", 10, t.entries, []string{"id", "module", "configName", "code"}, func(e Entry, index string) []string {
			return map[string][]string{"id": {e.ID}, "module": {e.Module}, "configName": {e.ConfigName}, "code": {e.Code}}[index]
		})
	})
	return mux
}

func (p *Platform) servicePoints() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /service-points", func(w http.ResponseWriter, r *http.Request) {
		t, release := p.of(r)
		defer release()
		collection(w, r, "servicepoints", 10, t.servicePoints, []string{"id", "code", "name"}, func(s ServicePoint, index string) []string {
			return map[string][]string{"id": {s.ID}, "code": {s.Code}, "name": {s.Name}}[index]
		})
	})
	mux.HandleFunc("GET /service-points-users", func(w http.ResponseWriter, r *http.Request) {
		t, release := p.of(r)
		defer release()
		collection(w, r, "servicePointsUsers", 10, t.assigned, []string{"id", "userId"}, func(a ServicePointsUser, index string) []string {
			return map[string][]string{"id": {a.ID}, "userId": {a.UserID}}[index]
		})
	})
	return mux
}
