-- Hashes that a user had before, for "not one of your last ten". Of one user
-- n counts up and only the newest rows stay.
CREATE TABLE password_history (
    tenant  TEXT    NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT    NOT NULL,
    n       INTEGER NOT NULL,
    encoded TEXT    NOT NULL,
    PRIMARY KEY (tenant, user_id, n)
) STRICT, WITHOUT ROWID;

-- Who may set a user's password once, without the old one: one row a user.
CREATE TABLE password_actions (
    tenant     TEXT    NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id         TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    secret     BLOB    NOT NULL, -- SHA-256 of the token of a link, 32 zeros: no link
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, user_id)
) STRICT, WITHOUT ROWID;

-- Wrong passwords in a row.
CREATE TABLE login_attempts (
    tenant  TEXT    NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT    NOT NULL,
    n       INTEGER NOT NULL,
    at      INTEGER NOT NULL, -- of the last one
    PRIMARY KEY (tenant, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX users_email ON users (tenant, lower(email)) WHERE email <> '';
