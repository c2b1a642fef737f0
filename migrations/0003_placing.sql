-- Where servers may stand, and why each stands where it does.

ALTER TABLE servers ADD COLUMN region TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE nodes ADD COLUMN placed BIGINT NOT NULL DEFAULT 0;

CREATE TABLE placements (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    owner TEXT NOT NULL,
    server TEXT,
    server_name TEXT NOT NULL,
    wish TEXT NOT NULL,
    node TEXT,
    why TEXT NOT NULL
);
CREATE INDEX placements_at ON placements (at);
