-- Many machines: who they are, how they prove it, and the tokens by which they come.

ALTER TABLE nodes ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN region TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE nodes ADD COLUMN slots BIGINT;
ALTER TABLE nodes ADD COLUMN net TEXT NOT NULL DEFAULT '{}';
ALTER TABLE nodes ADD COLUMN state TEXT NOT NULL DEFAULT 'joined';
ALTER TABLE nodes ADD COLUMN agent TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN wire BIGINT;
ALTER TABLE nodes ADD COLUMN cert TEXT;
ALTER TABLE nodes ADD COLUMN cert_until BIGINT;
ALTER TABLE nodes ADD COLUMN next_cert TEXT;
ALTER TABLE nodes ADD COLUMN next_cert_until BIGINT;
ALTER TABLE nodes ADD COLUMN skew BIGINT;
ALTER TABLE nodes ADD COLUMN refused TEXT;
ALTER TABLE nodes ADD COLUMN refused_at BIGINT;
ALTER TABLE nodes ADD COLUMN draining BIGINT NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN dev_mode BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX nodes_cert ON nodes (cert);
CREATE UNIQUE INDEX nodes_next_cert ON nodes (next_cert);

CREATE TABLE node_tokens (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    hash TEXT NOT NULL UNIQUE,
    made_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    used_key TEXT
);
CREATE INDEX node_tokens_node ON node_tokens (node);
CREATE INDEX node_tokens_expire ON node_tokens (expires_at);
