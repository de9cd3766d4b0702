package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// manifest is as much of Kubernetes' objects as is looked at.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Replicas     int
		MinAvailable int `yaml:"minAvailable"`
		Selector     yaml.Node
		PodSelector  labelled `yaml:"podSelector"`
		Template     pod
		Ports        []struct {
			TargetPort string `yaml:"targetPort"`
		}
		Ingress []struct {
			From  []yaml.Node
			Ports []struct{ Port int }
		}
		PolicyTypes []string `yaml:"policyTypes"`
	}
}

type labelled struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

type pod struct {
	Metadata struct{ Labels map[string]string }
	Spec     struct {
		Token           *bool `yaml:"automountServiceAccountToken"`
		Grace           int   `yaml:"terminationGracePeriodSeconds"`
		SecurityContext struct {
			NonRoot bool                  `yaml:"runAsNonRoot"`
			User    int                   `yaml:"runAsUser"`
			Seccomp struct{ Type string } `yaml:"seccompProfile"`
		} `yaml:"securityContext"`
		Containers []container
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

type container struct {
	Args  []string
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	Startup   probe `yaml:"startupProbe"`
	Liveness  probe `yaml:"livenessProbe"`
	Readiness probe `yaml:"readinessProbe"`
	Resources struct{ Limits map[string]string }
	Security  struct {
		Escalation   *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRoot bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities struct{ Drop []string }
	} `yaml:"securityContext"`
	VolumeMounts []mount `yaml:"volumeMounts"`
}

type mount struct {
	MountPath string `yaml:"mountPath"`
}

func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "deploy/kubernetes/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d manifests, %v", len(files), err)
	}
	found := make(map[string]manifest)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
			var m manifest
			err := decoder.Decode(&m)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			found[m.Kind+"/"+m.Metadata.Name] = m
		}
	}
	return found
}

const aKey = "7b1f0c9a5ce2d3847b1f0c9a5ce2d3847b1f0c9a5ce2d3847b1f0c9a5ce2d384"

func TestManifestsFitTheProgram(t *testing.T) {
	all := manifests(t)
	of := func(name string) manifest {
		m, ok := all[name]
		if !ok {
			t.Fatalf("there is no %s", name)
		}
		return m
	}
	config, faults := load(t, of("ConfigMap/counterfoil").Data["counterfoil.yaml"], map[string]string{"COUNTERFOIL_MASTER_KEY": aKey, "DB_PASSWORD": "secret"})
	if faults != nil {
		t.Fatalf("the configuration: %q", faults)
	}
	deployment := of("Deployment/counterfoil")
	nodes := deployment.Spec.Template.Spec
	if config.DrainDelay <= 0 || time.Duration(nodes.Grace)*time.Second <= config.Drain.Std()+config.DrainDelay.Std() {
		t.Errorf("killed after %d s, drains for %s and %s", nodes.Grace, config.DrainDelay.Std(), config.Drain.Std())
	}
	if n := of("PodDisruptionBudget/counterfoil").Spec.MinAvailable; n < 1 || n >= deployment.Spec.Replicas {
		t.Errorf("at least %d of %d nodes", n, deployment.Spec.Replicas)
	}
	labels := deployment.Spec.Template.Metadata.Labels
	if !config.postgres() || nodes.Token == nil || *nodes.Token || !nodes.SecurityContext.NonRoot || nodes.SecurityContext.User == 0 || nodes.SecurityContext.Seccomp.Type != "RuntimeDefault" {
		t.Errorf("nodes are %+v on %s", nodes, config.Store)
	}
	one := nodes.Containers[0]
	if one.Security.Escalation == nil || *one.Security.Escalation || !one.Security.ReadOnlyRoot || !slices.Equal(one.Security.Capabilities.Drop, []string{"ALL"}) || one.Resources.Limits["memory"] == "" {
		t.Errorf("the container is %+v", one)
	}
	if !slices.Contains(one.VolumeMounts, mount{config.Data}) {
		t.Errorf("nothing is mounted at %s, and the root is read-only", config.Data)
	}
	ports := make(map[string]string)
	for _, port := range one.Ports {
		ports[port.Name] = fmt.Sprintf(":%d", port.ContainerPort)
	}
	for name, address := range map[string]string{Public: config.Listen, Internal: config.InternalListen, Admin: config.AdminListen} {
		if !strings.HasSuffix(address, ports[name]) || ports[name] == "" {
			t.Errorf("%s listens at %s, its port is %q", name, address, ports[name])
		}
	}
	for _, service := range []string{"Service/counterfoil", "Service/counterfoil-internal"} {
		var selector map[string]string
		node := of(service).Spec.Selector
		if err := node.Decode(&selector); err != nil || selector["app.kubernetes.io/name"] != labels["app.kubernetes.io/name"] {
			t.Errorf("%s selects %v, %v", service, selector, err)
		}
		for _, port := range of(service).Spec.Ports {
			if port.TargetPort == Admin || ports[port.TargetPort] == "" {
				t.Errorf("%s leads to port %q", service, port.TargetPort)
			}
		}
	}

	// Probes ask what the program really answers.
	r := start(t, testConfig(t))
	for what, p := range map[string]probe{"/admin/live": one.Startup, "/admin/live ": one.Liveness, "/admin/ready": one.Readiness} {
		if p.HTTPGet.Path != strings.TrimSpace(what) || p.HTTPGet.Port != Admin {
			t.Errorf("a probe asks %+v, want %s", p, what)
		}
		if status, text := r.send("GET", r.URL(Admin)+p.HTTPGet.Path, ""); status != http.StatusOK {
			t.Errorf("%s answers %d %s", p.HTTPGet.Path, status, text)
		}
	}
}

// T-62: who may reach the admin listener is named, and nobody may from
// everywhere.
func TestT62NetworkPolicyNamesWhoMayCall(t *testing.T) {
	policy, ok := manifests(t)["NetworkPolicy/counterfoil"]
	if !ok || !slices.Equal(policy.Spec.PolicyTypes, []string{"Ingress", "Egress"}) || policy.Spec.PodSelector.MatchLabels["app.kubernetes.io/name"] != "counterfoil" {
		t.Fatalf("the policy is %+v", policy)
	}
	var open []int
	for _, rule := range policy.Spec.Ingress {
		if len(rule.From) == 0 || len(rule.Ports) != 1 {
			t.Errorf("a rule for everybody or everything: %+v", rule)
			continue
		}
		open = append(open, rule.Ports[0].Port)
	}
	if slices.Sort(open); !slices.Equal(open, []int{9130, 9131, 9132}) {
		t.Errorf("rules for ports %v", open)
	}
}

func TestTheUnitIsConfinedAndHasTimeToDrain(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deploy/counterfoil.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"User=counterfoil", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "ProtectHome=yes", "PrivateDevices=yes",
		"MemoryDenyWriteExecute=yes", "SystemCallFilter=@system-service", "StateDirectoryMode=0700", "UMask=0077", "ExecReload=/bin/kill -HUP $MAINPID",
	} {
		if !slices.Contains(strings.Split(string(text), "\n"), line) {
			t.Errorf("no line %s", line)
		}
	}
	match := regexp.MustCompile(`(?m)^TimeoutStopSec=(\S+)$`).FindStringSubmatch(string(text))
	if match == nil {
		t.Fatal("no TimeoutStopSec")
	}
	standard, _ := load(t, "", nil)
	if wait, err := time.ParseDuration(match[1]); err != nil || wait <= time.Minute+standard.Drain.Std() {
		t.Errorf("killed after %s, may drain for a minute and %s", match[1], standard.Drain.Std())
	}
	packaged, err := os.ReadFile(filepath.Join(root, "deploy/counterfoil.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if c, faults := load(t, string(packaged), nil); faults != nil || c.Data != "/var/lib/counterfoil" {
		t.Errorf("the packaged configuration: %q", faults)
	}
	// With every comment that is a setting taken for one, as an operator would.
	whole := regexp.MustCompile(`(?m)^#(\w+:|  \w)`).ReplaceAllString(string(packaged), "$1")
	if _, faults := load(t, whole, map[string]string{"DB_PASSWORD": "secret"}); faults != nil {
		t.Errorf("its examples: %q", faults)
	}
}

func TestTheImageHoldsTheProgramAlone(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deploy/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	stages := strings.Split(string(text), "\nFROM ")
	last := stages[len(stages)-1]
	if !strings.HasPrefix(last, "scratch\n") || strings.Contains(last, "\nRUN ") || !regexp.MustCompile(`(?m)^USER [1-9]\d*:[1-9]\d*$`).MatchString(last) {
		t.Errorf("the last stage is\n%s", last)
	}
	if want := "go " + regexp.MustCompile(`golang:(\d+\.\d+)`).FindStringSubmatch(string(text))[1]; !strings.Contains(goMod(t), "\n"+want) {
		t.Errorf("the image is built with %s, go.mod says otherwise", want)
	}
}

func goMod(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
