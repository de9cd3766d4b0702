-- Which of mod-login's hashes an import has seen: FOLIO draws a salt for each
-- new password, so an equal salt is an equal password. The hash is not kept.
CREATE TABLE imported_credentials (
    tenant  text   COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id text   COLLATE "C" NOT NULL,
    salt    text   COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, user_id)
);

-- mod-authtoken's refresh tokens that were not revoked there. Each becomes a
-- session once.
CREATE TABLE old_tokens (
    tenant     text   COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id         text   COLLATE "C" NOT NULL, -- its jti
    user_id    text   COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL,
    used_at    bigint NOT NULL, -- 0: not yet
    session    text   COLLATE "C" NOT NULL, -- what it became; empty: nothing, it was logged out
    PRIMARY KEY (tenant, id)
);
