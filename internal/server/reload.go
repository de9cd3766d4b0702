package server

import (
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/counterfoil/counterfoil/internal/session"
)

// live is what may change while the program serves.
type live struct {
	// serving is false while the program starts and from the moment it stops.
	serving  atomic.Bool
	profiles atomic.Bool
	draining atomic.Int64 // nanoseconds
	level    *slog.LevelVar

	mu     sync.Mutex
	loaded *Config // what was set last
}

func (l *live) set(c *Config, level *slog.LevelVar) {
	l.level, l.loaded = level, c
	l.draining.Store(int64(c.Drain))
	l.profiles.Store(c.Profiles)
}

func (l *live) drain() time.Duration { return time.Duration(l.draining.Load()) }

// reloadable are the settings that Reload takes over; those that end in a dot
// stand for all below.
var reloadable = []string{"log.level", "drain", "profiles", "policy.", "tenants."}

// Change is a setting that differs from what runs. Values are as the log may
// show them.
type Change struct {
	Key, Before, After string
	// Live is whether it has taken effect; otherwise it needs a restart.
	Live bool
}

// Reload takes over a configuration that LoadConfig found no fault with, as far
// as that can be done while requests are served, and logs what differs. What
// needs a restart is named each time until there was one. Certificates are read
// again in any case.
func (s *Server) Reload(c *Config) ([]Change, error) {
	s.live.mu.Lock()
	defer s.live.mu.Unlock()
	level, err := logLevel(c.Log.Level)
	if err != nil {
		return nil, err
	}
	changes := difference(s.live.loaded, c)
	s.live.level.Set(level)
	s.live.draining.Store(int64(c.Drain))
	s.live.profiles.Store(c.Profiles)
	s.sessions.Policies.Configure(c.Policy.Apply(session.DefaultPolicy()), c.Tenants)
	if s.certificate != nil {
		s.certificate.again()
	}
	later := 0
	for _, one := range changes {
		how := "in effect"
		if !one.Live {
			how, later = "needs a restart", later+1
		}
		s.log.Info("configuration changed", "setting", one.Key, "before", one.Before, "after", one.After, "effect", how)
	}
	s.log.Info("configuration read again", "changed", len(changes), "need_restart", later)
	// What needs a restart still runs as it was, and is to be told next time.
	running := *s.live.loaded
	running.Log.Level, running.Drain, running.Profiles = c.Log.Level, c.Drain, c.Profiles
	running.Policy, running.Tenants = c.Policy, c.Tenants
	s.live.loaded = &running
	return changes, nil
}

// RefuseReload logs that a configuration has faults; what runs goes on.
func (s *Server) RefuseReload(err error) {
	s.log.Error("configuration has faults, nothing was changed", "error", err)
}

// difference lists what differs, by key.
func difference(before, after *Config) []Change {
	was, is := make(map[string]string), make(map[string]string)
	spell(reflect.ValueOf(*before), "", was)
	spell(reflect.ValueOf(*after), "", is)
	keys := maps.Clone(was)
	maps.Copy(keys, is)
	var changes []Change
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if was[key] == is[key] {
			continue
		}
		alive := slices.ContainsFunc(reloadable, func(r string) bool {
			return key == r || strings.HasSuffix(r, ".") && strings.HasPrefix(key, r)
		})
		changes = append(changes, Change{key, shownInLog(was[key]), shownInLog(is[key]), alive})
	}
	return changes
}

// spell writes each setting as text, by its key in the file.
func spell(v reflect.Value, key string, into map[string]string) {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
	case v.Kind() == reflect.Pointer:
		spell(v.Elem(), key, into)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("yaml")
			switch {
			case name == "-" || name == "" || !v.Type().Field(i).IsExported():
			case key == "":
				spell(v.Field(i), name, into)
			default:
				spell(v.Field(i), key+"."+name, into)
			}
		}
	case v.Kind() == reflect.Map:
		for _, member := range v.MapKeys() {
			spell(v.MapIndex(member), key+"."+member.String(), into)
		}
	case v.Type() == durationType:
		into[key] = v.Interface().(session.Duration).Std().String()
	case v.Kind() == reflect.Slice && v.Len() == 0:
	case v.Kind() == reflect.Slice:
		text, err := yaml.Marshal(v.Interface())
		if err != nil {
			text = []byte(err.Error())
		}
		into[key] = strings.TrimSpace(string(text))
	default:
		into[key] = fmt.Sprint(v.Interface())
	}
}

// shownInLog takes passwords out of URLs, whether as user info or as a
// parameter. Check refuses both, and a file that it refuses is not compared;
// this is for the day when somebody lets one pass.
func shownInLog(value string) string {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" {
		return value
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Set(name, "xxxxx")
			u.RawQuery = query.Encode()
		}
	}
	return u.Redacted()
}
