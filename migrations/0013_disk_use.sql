-- What each server's files take on its node, as measured last, and what its owner has been told of it.

CREATE TABLE disk_use (
    server TEXT PRIMARY KEY REFERENCES servers (id) ON DELETE CASCADE,
    bytes BIGINT NOT NULL,
    files BIGINT NOT NULL,
    whole BIGINT NOT NULL,
    at BIGINT NOT NULL,
    told TEXT NOT NULL
);
