package server

import (
	"strings"
	"testing"
)

// What the commands are told is what the gateway does.
func TestExplainOverTheAdminAPI(t *testing.T) {
	r := start(t, testConfig(t))
	access, _ := r.reader()
	r.module(slowModule, "http://127.0.0.1:1")
	ask := func(query string) string {
		t.Helper()
		status, text := r.send("GET", r.URL(Admin)+"/counterfoil/explain?"+query, "", "Authorization", "Bearer "+r.admin.Token)
		if status != 200 {
			t.Fatalf("%s: %d %s", query, status, text)
		}
		return text
	}
	if told := ask("tenant=diku&path=/slow&user=reader"); !strings.Contains(told, `"status":200`) || strings.Contains(told, `"passes":false`) {
		t.Errorf("the reader: %s", told)
	}
	if status, _ := r.send("GET", r.URL(Public)+"/slow", "", "X-Okapi-Token", access); status != 503 {
		t.Errorf("the reader does not reach the module: %d", status)
	}
	if told := ask("tenant=diku&path=/slow"); !strings.Contains(told, `"status":401`) || !strings.Contains(told, "slow.get") {
		t.Errorf("nobody: %s", told)
	}
	for _, query := range []string{"", "tenant=diku", "path=/slow"} {
		r.administer(400, "GET", "/counterfoil/explain?"+query, "")
	}
	r.administer(404, "GET", "/counterfoil/explain?tenant=diku&path=/slow&user=nobody", "")
	if status, _ := r.send("GET", r.URL(Admin)+"/counterfoil/explain?tenant=diku&path=/slow", ""); status != 401 {
		t.Errorf("without the operator's token: %d", status)
	}
}
