-- Which of mod-login's hashes an import has seen: FOLIO draws a salt for each
-- new password, so an equal salt is an equal password. The hash is not kept.
CREATE TABLE imported_credentials (
    tenant  TEXT    NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT    NOT NULL,
    salt    TEXT    NOT NULL,
    PRIMARY KEY (tenant, user_id)
) STRICT, WITHOUT ROWID;

-- mod-authtoken's refresh tokens that were not revoked there. Each becomes a
-- session once.
CREATE TABLE old_tokens (
    tenant     TEXT    NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id         TEXT    NOT NULL, -- its jti
    user_id    TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL, -- 0: not yet
    session    TEXT    NOT NULL, -- what it became; empty: nothing, it was logged out
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
