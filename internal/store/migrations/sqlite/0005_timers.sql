-- Timers of modules that a tenant has otherwise than the descriptor says.
CREATE TABLE timers (
    tenant TEXT    NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id     TEXT    NOT NULL, -- product and number
    unit   TEXT    NOT NULL,
    delay  INTEGER NOT NULL, -- in units, 0 is off
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
