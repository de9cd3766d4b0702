package gateway

import (
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxDescriptor bounds a descriptor in bytes. The largest of FOLIO's is a
// tenth of it.
const maxDescriptor = 1 << 20

// ModuleDescriptor says what a module provides and needs, in Okapi's format.
// Members that the gateway does not act upon are kept, so that every real
// descriptor decodes and none with a misspelt member does.
type ModuleDescriptor struct {
	// ID is product and version, such as mod-users-19.4.0.
	ID       string                `json:"id,omitzero"`
	Name     string                `json:"name,omitzero"`
	Tags     []string              `json:"tags,omitzero"`
	Requires []InterfaceDescriptor `json:"requires,omitzero"`
	Provides []InterfaceDescriptor `json:"provides,omitzero"`
	Optional []InterfaceDescriptor `json:"optional,omitzero"`
	// Filters run around handlers, except for those of the phase auth: the
	// gateway itself is the auth filter.
	Filters        []RoutingEntry  `json:"filters,omitzero"`
	PermissionSets []PermissionSet `json:"permissionSets,omitzero"`
	Env            []EnvEntry      `json:"env,omitzero"`
	Metadata       jsontext.Value  `json:"metadata,omitzero"`
	UIDescriptor   jsontext.Value  `json:"uiDescriptor,omitzero"`
	// LaunchDescriptor is recorded; the gateway starts no processes.
	LaunchDescriptor *LaunchDescriptor `json:"launchDescriptor,omitzero"`
	// Replaces names products that this module supersedes.
	Replaces []string `json:"replaces,omitzero"`
}

// InterfaceDescriptor is an interface that a module provides or requires.
type InterfaceDescriptor struct {
	ID string `json:"id,omitzero"`
	// Version is x.y or x.y.z; where an interface is required, it may be a
	// list of alternatives separated by spaces.
	Version string `json:"version,omitzero"`
	// InterfaceType is one of the Interface constants, empty for proxy.
	InterfaceType  string         `json:"interfaceType,omitzero"`
	Handlers       []RoutingEntry `json:"handlers,omitzero"`
	Scope          []string       `json:"scope,omitzero"`
	PermissionSets jsontext.Value `json:"permissionSets,omitzero"`
}

// The interface types of modules. Okapi's fourth, "internal", is for Okapi's
// own descriptor and refused in any that comes from outside.
const (
	InterfaceProxy    = "proxy"
	InterfaceMultiple = "multiple"
	InterfaceSystem   = "system"
)

// RoutingEntry is one route of an interface, or a filter.
type RoutingEntry struct {
	// Methods are verbs in upper case, or "*". Without any, nothing matches.
	Methods     []string `json:"methods,omitzero"`
	PathPattern string   `json:"pathPattern,omitzero"`
	// Path is the older form, matched as a prefix and only without PathPattern.
	Path         string         `json:"path,omitzero"`
	RewritePath  string         `json:"rewritePath,omitzero"`
	Phase        string         `json:"phase,omitzero"`
	Level        string         `json:"level,omitzero"`
	Type         string         `json:"type,omitzero"`
	RedirectPath string         `json:"redirectPath,omitzero"`
	Unit         string         `json:"unit,omitzero"`
	Delay        jsontext.Value `json:"delay,omitzero"`
	Schedule     *Schedule      `json:"schedule,omitzero"`
	// PermissionsRequired must all be held by the caller.
	PermissionsRequired []string `json:"permissionsRequired,omitzero"`
	// PermissionsRequiredTenant, unless nil, stands in for
	// PermissionsRequired as Route.Required says.
	PermissionsRequiredTenant []string `json:"permissionsRequiredTenant,omitzero"`
	// PermissionsDesired are reported to the module where the caller holds them.
	PermissionsDesired []string `json:"permissionsDesired,omitzero"`
	// ModulePermissions are lent to the module while it serves this route. To
	// Okapi nil, empty and filled are three different things.
	ModulePermissions []string `json:"modulePermissions,omitzero"`
	DelegateCORS      bool     `json:"delegateCORS,omitzero"`
}

// Schedule is when a timer fires.
type Schedule struct {
	Cron string `json:"cron,omitzero"`
	Zone string `json:"zone,omitzero"`
}

// PermissionSet is a permission that a module brings, with those it stands for.
type PermissionSet struct {
	PermissionName string   `json:"permissionName,omitzero"`
	Replaces       []string `json:"replaces,omitzero"`
	DisplayName    string   `json:"displayName,omitzero"`
	Description    string   `json:"description,omitzero"`
	SubPermissions []string `json:"subPermissions,omitzero"`
	Visible        *bool    `json:"visible,omitzero"`
}

// EnvEntry is an environment variable that a module reads.
type EnvEntry struct {
	Name        string         `json:"name,omitzero"`
	Value       jsontext.Value `json:"value,omitzero"`
	Description string         `json:"description,omitzero"`
	Required    *bool          `json:"required,omitzero"`
}

// LaunchDescriptor is how a module would be started.
type LaunchDescriptor struct {
	CmdlineStart   string         `json:"cmdlineStart,omitzero"`
	CmdlineStop    string         `json:"cmdlineStop,omitzero"`
	Exec           string         `json:"exec,omitzero"`
	DockerImage    string         `json:"dockerImage,omitzero"`
	DockerPull     *bool          `json:"dockerPull,omitzero"`
	DockerCMD      []string       `json:"dockerCMD,omitzero"`
	Env            []EnvEntry     `json:"env,omitzero"`
	DockerArgs     jsontext.Value `json:"dockerArgs,omitzero"`
	WaitIterations *int           `json:"waitIterations,omitzero"`
}

// DeploymentDescriptor is where an instance of a module answers.
type DeploymentDescriptor struct {
	InstID     string            `json:"instId,omitzero"`
	SrvcID     string            `json:"srvcId,omitzero"`
	NodeID     string            `json:"nodeId,omitzero"`
	URL        string            `json:"url,omitzero"`
	Descriptor *LaunchDescriptor `json:"descriptor,omitzero"`
}

// HealthDescriptor is how an instance of a module is.
type HealthDescriptor struct {
	InstID        string `json:"instId"`
	SrvcID        string `json:"srvcId"`
	HealthMessage string `json:"healthMessage"`
	HealthStatus  bool   `json:"healthStatus"`
}

// TenantDescriptor is a tenant as the management API shows it.
type TenantDescriptor struct {
	ID          string `json:"id,omitzero"`
	Name        string `json:"name,omitzero"`
	Description string `json:"description,omitzero"`
}

// TenantModule is a module enabled for a tenant.
type TenantModule struct {
	ID string `json:"id"`
}

// InstallEntry is one step of an installation.
type InstallEntry struct {
	ID string `json:"id,omitzero"`
	// From is the module that the step replaces.
	From string `json:"from,omitzero"`
	// Action is enable, disable, uptodate, suggest or conflict.
	Action  string `json:"action,omitzero"`
	Message string `json:"message,omitzero"`
	// Stage is pending, deploy, invoke, undeploy or done.
	Stage string `json:"stage,omitzero"`
}

// ParseDescriptor decodes and checks a descriptor that comes from outside. The
// error is a *Refusal, in Okapi's words where Okapi refuses the same.
func ParseDescriptor(data []byte) (*ModuleDescriptor, error) {
	if len(data) > maxDescriptor {
		return nil, &Refusal{Status: http.StatusRequestEntityTooLarge, Text: "Module descriptor is larger than 1 MiB"}
	}
	var d ModuleDescriptor
	if err := decodeStrict(data, &d); err != nil {
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	return &d, nil
}

// Product is the id without the version.
func (d *ModuleDescriptor) Product() string {
	product, _ := splitModuleID(d.ID)
	return product
}

// Version is the version in the id, the zero value if there is none.
func (d *ModuleDescriptor) Version() Version {
	_, text := splitModuleID(d.ID)
	v, _ := ParseVersion(text)
	return v
}

// isSystem says that clients must never reach the interface. Okapi treats ids
// that begin with an underscore as system interfaces, and does not demand
// permissionsRequired of them, whether or not they say so.
func (i *InterfaceDescriptor) isSystem() bool {
	return i.InterfaceType == InterfaceSystem || (i.ID != "" && i.ID[0] == '_')
}

// path is the pattern, or the older form of it.
func (e *RoutingEntry) path() string {
	if e.PathPattern != "" {
		return e.PathPattern
	}
	return e.Path
}

// level is where in the pipeline an entry stands, compared as text.
func (e *RoutingEntry) level() string {
	if e.Level != "" {
		return e.Level
	}
	switch e.Phase {
	case "auth":
		return "10"
	case "pre":
		return "40"
	case "post":
		return "60"
	}
	return "50"
}

// exchangesBody is whether what the entry answers takes the place of the body.
func (e *RoutingEntry) exchangesBody() bool {
	return e.Type == "" || strings.HasPrefix(e.Type, "request-response")
}

// decodeStrict decodes one JSON value, all of data, without members that v
// does not have.
func decodeStrict(data []byte, v any) error {
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(true)); err != nil {
		return badRequest("Invalid JSON: " + err.Error())
	}
	return nil
}
