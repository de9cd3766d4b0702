package gateway

import "fmt"

// Product is the modules of FOLIO in whose place an Okapi can put us.
type Product string

// The products. ProductAuth and ProductLogin may be two deployments on one
// database; login alone works beside no other filter than ours, because no
// other can read our tokens.
const (
	ProductAuth    Product = "auth"     // mod-authtoken
	ProductLogin   Product = "login"    // mod-login
	ProductBoth    Product = "both"     // both
	ProductUsersBL Product = "users-bl" // both, and the login of mod-users-bl
)

// name is the product of the module id. It sorts before mod-users-bl: of two
// modules with one path, Okapi takes the first by id.
func (p Product) name() string {
	if p == ProductBoth {
		return "mod-counterfoil"
	}
	return "mod-counterfoil-" + string(p)
}

func (p Product) auth() bool  { return p != ProductLogin }
func (p Product) login() bool { return p != ProductAuth }

// Descriptor is the module descriptor to post to an Okapi at
// /_/proxy/modules. version is ours. Interfaces have the ids and versions of
// the originals, so that modules which require those can be installed. What the
// originals do not have is in interfaces of our own.
//
// No route lends permissions: a lent token would take the place of the caller's,
// by which our endpoints decide.
func (p Product) Descriptor(version string) (*ModuleDescriptor, error) {
	d := &ModuleDescriptor{ID: p.name() + "-" + version}
	switch p {
	case ProductAuth:
		d.Name = "Counterfoil: tokens and the auth filter"
		d.Requires = []InterfaceDescriptor{{ID: "permissions", Version: "5.3"}, {ID: "users", Version: "15.0 16.0"}}
	case ProductLogin:
		d.Name = "Counterfoil: login"
		d.Requires = []InterfaceDescriptor{{ID: "counterfoil-auth", Version: "1.0"}, {ID: "users", Version: "15.4 16.0"}}
	case ProductBoth, ProductUsersBL:
		d.Name = "Counterfoil: login, tokens and the auth filter"
		d.Requires = []InterfaceDescriptor{{ID: "permissions", Version: "5.3"}, {ID: "users", Version: "15.4 16.0"}}
	default:
		return nil, fmt.Errorf("no product is called %q", p)
	}
	if p.auth() {
		d.Provides = append(d.Provides, authInterfaces()...)
		d.Filters = []RoutingEntry{{Methods: []string{"*"}, PathPattern: "/*", Phase: "auth", Type: "headers"}}
		d.PermissionSets = append(d.PermissionSets, authPermissions()...)
		d.Replaces = append(d.Replaces, "mod-authtoken")
	}
	if p.login() {
		d.Provides = append(d.Provides, loginInterfaces()...)
		d.PermissionSets = append(d.PermissionSets, loginPermissions()...)
		d.Replaces = append(d.Replaces, "mod-login")
	}
	if p == ProductUsersBL {
		d.Provides = append(d.Provides, usersBLInterface())
	}
	d.Provides = append(d.Provides, InterfaceDescriptor{
		ID: "_tenant", Version: "2.0", InterfaceType: InterfaceSystem,
		Handlers: []RoutingEntry{entry("POST", tenantPath), entry("GET", tenantPath+"/{id}"), entry("DELETE", tenantPath+"/{id}")},
	})
	d.LaunchDescriptor = launch()
	return d, d.check()
}

// Deployment is the deployment descriptor to post to an Okapi at
// /_/discovery/modules: for an instance that runs at url already or, if that
// is empty, for one that Okapi starts on its own node.
func (p Product) Deployment(version, url string) (*DeploymentDescriptor, error) {
	d, err := p.Descriptor(version)
	if err != nil {
		return nil, err
	}
	if url == "" {
		return &DeploymentDescriptor{SrvcID: d.ID, NodeID: "localhost", Descriptor: launch()}, nil
	}
	base, err := instanceURL(url)
	if err != nil {
		return nil, err
	}
	return &DeploymentDescriptor{InstID: d.ID + "-" + base.Hostname(), SrvcID: d.ID, URL: base.String()}, nil
}

// launch is how Okapi starts us; it writes the port for %p.
func launch() *LaunchDescriptor {
	return &LaunchDescriptor{Exec: "counterfoil serve --mode okapi-module --listen 127.0.0.1:%p --config counterfoil.yaml"}
}

func entry(method, path string, required ...string) RoutingEntry {
	return RoutingEntry{Methods: []string{method}, PathPattern: path, PermissionsRequired: append([]string{}, required...)}
}

func authInterfaces() []InterfaceDescriptor {
	sessions := "/authn/sessions"
	return []InterfaceDescriptor{
		{ID: "authtoken", Version: "2.1", Handlers: []RoutingEntry{
			entry("POST", "/token", "auth.token.post"),
			entry("POST", "/refreshtoken", "auth.refreshtoken.post"),
		}},
		{ID: "authtoken2", Version: "1.1", Handlers: []RoutingEntry{
			entry("POST", "/token/sign", "auth.token.sign.post"),
			entry("POST", "/token/refresh", "auth.token.refresh.post"),
			entry("POST", "/token/invalidate"),
			entry("POST", "/token/invalidate-all"),
		}},
		{ID: "counterfoil-auth", Version: "1.0", Handlers: []RoutingEntry{}},
		{ID: "counterfoil-sessions", Version: "1.0", Handlers: []RoutingEntry{
			entry("GET", sessions, "counterfoil.sessions.collection.get"),
			entry("DELETE", sessions, "counterfoil.sessions.collection.delete"),
			entry("GET", sessions+"/_self"),
			entry("DELETE", sessions+"/_self"),
			entry("GET", sessions+"/{id}", "counterfoil.sessions.item.get"),
			entry("DELETE", sessions+"/{id}", "counterfoil.sessions.item.delete"),
			entry("GET", sessions+"/{id}/events", "counterfoil.sessions.events.get"),
			entry("DELETE", sessions+"/_self/{id}"),
			entry("GET", sessions+"/_self/{id}/events"),
		}},
	}
}

func loginInterfaces() []InterfaceDescriptor {
	return []InterfaceDescriptor{
		{ID: "login", Version: "7.3", Handlers: []RoutingEntry{
			entry("POST", "/authn/login"),
			entry("POST", "/authn/login-with-expiry"),
			entry("POST", "/authn/refresh"),
			entry("POST", "/authn/logout"),
			entry("POST", "/authn/logout-all"),
			entry("POST", "/authn/credentials", "login.item.post"),
			entry("DELETE", "/authn/credentials", "login.item.delete"),
			entry("GET", "/authn/credentials-existence", "login.credentials-existence.get"),
			entry("POST", "/authn/update"),
			entry("POST", "/authn/password/repeatable", "login.password.validate"),
			entry("POST", "/authn/password-reset-action", "login.password-reset-action.post"),
			entry("GET", "/authn/password-reset-action/{id}", "login.password-reset-action.get"),
			entry("POST", "/authn/reset-password", "login.password-reset.post"),
			entry("GET", "/authn/loginAttempts/{id}", "login.attempts.item.get"),
			entry("GET", "/authn/log/events", "login.event.collection.get"),
			entry("POST", "/authn/log/events", "login.event.collection.post"),
			entry("DELETE", "/authn/log/events/{id}", "login.event.delete"),
		}},
		{ID: "counterfoil-elevate", Version: "1.0", Handlers: []RoutingEntry{entry("POST", "/authn/elevate")}},
	}
}

// usersBLInterface has an id of its own, so that mod-users-bl can stay for all
// the rest of what it does, under its own interface users-bl. Its permissions
// are announced by that alone: two modules must not define one name.
func usersBLInterface() InterfaceDescriptor {
	return InterfaceDescriptor{ID: "counterfoil-users-bl", Version: "1.0", Handlers: []RoutingEntry{
		entry("POST", "/bl-users/login-with-expiry"),
		entry("GET", "/bl-users/_self"),
		entry("GET", "/users-keycloak/_self"),
		entry("GET", "/bl-users/by-username/{username}", "users-bl.item.get"),
		entry("GET", "/bl-users/by-id/{id}", "users-bl.item.get"),
		entry("POST", "/bl-users/settings/myprofile/password"),
		entry("POST", "/bl-users/forgotten/password"),
		entry("POST", "/bl-users/forgotten/username"),
		entry("POST", "/bl-users/password-reset/link", "users-bl.password-reset-link.generate"),
		entry("POST", "/bl-users/password-reset/validate"),
		entry("POST", "/bl-users/password-reset/reset"),
	}}
}

func set(name, display string, sub ...string) PermissionSet {
	return PermissionSet{PermissionName: name, DisplayName: display, Description: display, SubPermissions: sub}
}

// loginPermissions are mod-login's, under its names.
func loginPermissions() []PermissionSet {
	list := []PermissionSet{
		set("login.item.post", "Create credentials"),
		set("login.item.delete", "Delete credentials"),
		set("login.credentials-existence.get", "See whether a user has credentials"),
		set("login.password.validate", "Check whether a password was used before"),
		set("login.attempts.item.get", "See failed logins of a user"),
		set("login.password-reset-action.post", "Create a password reset action"),
		set("login.password-reset-action.get", "See a password reset action"),
		set("login.password-reset.post", "Set a password by a reset action"),
		set("login.event.collection.post", "Write into the log of logins"),
		set("login.event.collection.get", "Read the log of logins"),
		set("login.event.delete", "Clear the log of logins"),
	}
	var all []string
	for _, one := range list {
		all = append(all, one.PermissionName)
	}
	return append(list, set("login.all", "Login: all permissions", all...))
}

// authPermissions are mod-authtoken's, under its names, and our own.
func authPermissions() []PermissionSet {
	all := []PermissionSet{
		set("auth.token.post", "Sign a token"),
		set("auth.token.sign.post", "Sign an access and a refresh token"),
		set("auth.refreshtoken.post", "Sign a refresh token"),
		set("auth.token.refresh.post", "Refresh tokens"),
		set("auth.signtoken.all", "Sign tokens", "auth.token.post", "auth.token.sign.post"),
		set("auth.signrefreshtoken.all", "Refresh tokens", "auth.refreshtoken.post", "auth.token.refresh.post"),
		set("auth.sign-and-refresh-token.all", "Sign and refresh tokens",
			"auth.token.post", "auth.token.sign.post", "auth.refreshtoken.post", "auth.token.refresh.post"),
		set("counterfoil.sessions.collection.get", "List sessions"),
		set("counterfoil.sessions.collection.delete", "End all sessions of a user"),
		set("counterfoil.sessions.item.get", "See a session"),
		set("counterfoil.sessions.item.delete", "End a session"),
		set("counterfoil.sessions.events.get", "See why a session ended"),
		set("counterfoil.all", "See and end all sessions of the tenant",
			"counterfoil.sessions.collection.get", "counterfoil.sessions.collection.delete", "counterfoil.sessions.item.get",
			"counterfoil.sessions.item.delete", "counterfoil.sessions.events.get"),
		set(RefreshCache, "Have permissions looked up anew (Authtoken-Refresh-Cache)"),
	}
	all[4].Replaces, all[5].Replaces = []string{"auth.signtoken"}, []string{"auth.signrefreshtoken"}
	return all
}
