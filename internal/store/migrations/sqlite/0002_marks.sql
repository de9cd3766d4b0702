-- How far the database has come, for whoever remembers it elsewhere: one row
-- that is this database's own, and one for each whose place it took.
CREATE TABLE marks (
    incarnation TEXT    NOT NULL PRIMARY KEY,
    own         INTEGER NOT NULL,
    n           INTEGER NOT NULL, -- only grows
    at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO marks (incarnation, own, n, at) VALUES (lower(hex(randomblob(16))), 1, 1, 0);

-- Until when sessions of a restored database may catch up, and the epoch that
-- new ones and those that did have. All 0: nobody may.
CREATE TABLE adoption (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;

INSERT INTO adoption (one, epoch, since, until) VALUES (1, 0, 0, 0);
