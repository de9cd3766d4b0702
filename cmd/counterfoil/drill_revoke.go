package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// revoke ends the user's sessions and goes to every node with what is left.
func (d *drill) revoke(ctx context.Context) (string, time.Duration, error) {
	mine, err := d.stage.logIn(ctx, d.tenant, d.password)
	if err != nil {
		return "", 0, err
	}
	for node := range d.stage.nodes {
		status, err := d.stage.use(ctx, node, d.tenant, mine.Access)
		if err != nil {
			return "", 0, err
		}
		if status != http.StatusOK {
			return "", 0, notHeld("%s answered %d to a new session", d.stage.nodes[node], status)
		}
	}
	var got struct {
		Ended int
		Nodes struct{ Reached, Live, Milliseconds int }
	}
	started := time.Now()
	if err := d.admin.call(ctx, http.MethodDelete, d.path("/users/"+drillUser+"/sessions?wait=10s"), nil, &got); err != nil {
		return "", 0, err
	}
	took := time.Since(started)
	if got.Ended == 0 || got.Nodes.Reached < got.Nodes.Live {
		return "", took, notHeld("%s ended, effective on %d/%d nodes after %s", count(got.Ended, "session"), got.Nodes.Reached, got.Nodes.Live, shortly(took))
	}
	for node, url := range d.stage.nodes {
		status, err := d.stage.use(ctx, node, d.tenant, mine.Access)
		if err != nil {
			return "", 0, err
		}
		if status != http.StatusUnauthorized {
			return "", took, notHeld("%s answered %d to an access token of a session that had ended", url, status)
		}
	}
	again, err := d.stage.refresh(ctx, mine.Refresh)
	if err != nil {
		return "", 0, err
	}
	if again.status != http.StatusUnprocessableEntity {
		return "", took, notHeld("refresh answered %d after the session had ended", again.status)
	}
	return fmt.Sprintf("effective on %d/%d nodes in %s; access token refused (%s asked), refresh token refused",
		got.Nodes.Reached, got.Nodes.Live, shortly(took), count(len(d.stage.nodes), "node")), took, nil
}

type drillKey struct{ ID, Purpose, State string }

// loseKey removes a key as if it had leaked.
func (d *drill) loseKey(ctx context.Context) (string, time.Duration, error) {
	var listed struct{ Keys []drillKey }
	if err := d.admin.call(ctx, http.MethodGet, "/counterfoil/keys", nil, &listed); err != nil {
		return "", 0, err
	}
	of := func(state string) int {
		return slices.IndexFunc(listed.Keys, func(k drillKey) bool { return k.Purpose == "access" && k.State == state })
	}
	if d.command.RemoveActiveKey {
		active := of("active")
		if active < 0 {
			return "", 0, notHeld("there is no active access key")
		}
		return d.loseActiveKey(ctx, listed.Keys[active].ID)
	}
	if pending := of("pending"); pending >= 0 {
		// Rotating would give that one, and somebody wants it.
		return "", 0, fmt.Errorf("access key %s is about to become active: wait for that, or play with --remove-active-key", listed.Keys[pending].ID)
	}
	var key drillKey
	if err := d.admin.call(ctx, http.MethodPost, "/counterfoil/keys/access/rotate", nil, &key); err != nil {
		return "", 0, err
	}
	published, err := d.stage.publishes(ctx, key.ID)
	started := time.Now()
	// Whatever was seen, the key must not become active.
	if removed := d.removeKey(ctx, key.ID); removed != nil {
		return "", 0, fmt.Errorf("key %s was left behind, remove it: %w", key.ID, removed)
	}
	if err != nil {
		return "", 0, err
	}
	if !published {
		return "", 0, notHeld("new key %s is not in the JWKS", key.ID)
	}
	if published, err = d.stage.publishes(ctx, key.ID); err != nil {
		return "", 0, err
	}
	took := time.Since(started)
	if published {
		return "", took, notHeld("key %s was removed and is still in the JWKS", key.ID)
	}
	return fmt.Sprintf("throw-away key %s out of the ring and the JWKS in %s; it had signed nothing", key.ID, shortly(took)), took, nil
}

func (d *drill) removeKey(ctx context.Context, id string) error {
	return d.admin.call(context.WithoutCancel(ctx), http.MethodDelete, "/counterfoil/keys/access/"+escape(id), nil, nil)
}

// loseActiveKey is the whole emergency, with the key that signs for everybody.
func (d *drill) loseActiveKey(ctx context.Context, leaked string) (string, time.Duration, error) {
	mine, err := d.stage.logIn(ctx, d.tenant, d.password)
	if err != nil {
		return "", 0, err
	}
	started := time.Now()
	if err := d.admin.call(ctx, http.MethodPost, "/counterfoil/keys/access/rotate?now=true", nil, nil); err != nil {
		return "", 0, err
	}
	if err := d.removeKey(ctx, leaked); err != nil {
		return "", 0, err
	}
	status, err := d.stage.use(ctx, 0, d.tenant, mine.Access)
	if err != nil {
		return "", 0, err
	}
	took := time.Since(started)
	if status != http.StatusUnauthorized {
		return "", took, notHeld("a token of the removed key %s was answered with %d", leaked, status)
	}
	next, err := d.stage.refresh(ctx, mine.Refresh)
	if err != nil {
		return "", 0, err
	}
	if next.status != http.StatusCreated {
		return "", took, notHeld("refresh answered %d after the key was removed", next.status)
	}
	if status, err = d.stage.use(ctx, 0, d.tenant, next.Access); err != nil || status != http.StatusOK {
		return "", took, notHeld("a token of the new key was answered with %d (%v)", status, err)
	}
	return fmt.Sprintf("active key %s removed: its tokens refused %s after the alarm, the session goes on with a new key", leaked, shortly(took)), took, nil
}
