-- One set for SQLite and PostgreSQL: TEXT and BIGINT only. Times are milliseconds UTC, money is micro-credits, JSON is TEXT.

CREATE TABLE panel (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    balance BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    sessions_from BIGINT NOT NULL
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    data TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_expire ON sessions (expires_at);

CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX api_tokens_user ON api_tokens (user_id);

CREATE TABLE games (
    id TEXT PRIMARY KEY,
    position BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE plans (
    game TEXT NOT NULL REFERENCES games (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    position BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (game, id)
);

CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    public_host TEXT NOT NULL,
    specs TEXT NOT NULL,
    load TEXT NOT NULL,
    seen_at BIGINT,
    confirmed_at BIGINT,
    trouble_since BIGINT
);

CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    game TEXT NOT NULL,
    plan TEXT NOT NULL,
    node TEXT NOT NULL REFERENCES nodes (id),
    env TEXT NOT NULL,
    ports TEXT NOT NULL,
    subnet BIGINT NOT NULL,
    per_hour BIGINT NOT NULL,
    auto_sleep BIGINT NOT NULL,
    idle_minutes BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    wanted TEXT NOT NULL,
    wanted_since BIGINT NOT NULL,
    gently BIGINT NOT NULL,
    restart_before BIGINT,
    phase TEXT NOT NULL,
    phase_since BIGINT NOT NULL,
    message TEXT NOT NULL,
    doing TEXT,
    trouble TEXT,
    attempts BIGINT NOT NULL,
    crashes TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    spec_seen TEXT NOT NULL,
    seen TEXT NOT NULL,
    seen_at BIGINT,
    quiet_since BIGINT,
    measured_at BIGINT,
    players BIGINT,
    created_at BIGINT NOT NULL,
    delete_after BIGINT,
    UNIQUE (node, subnet)
);
CREATE INDEX servers_owner ON servers (owner, created_at);
CREATE INDEX servers_due ON servers (due_at);
CREATE INDEX servers_phase ON servers (phase);

CREATE TABLE ports (
    node TEXT NOT NULL,
    port BIGINT NOT NULL,
    protocol TEXT NOT NULL,
    server TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    PRIMARY KEY (node, port, protocol)
);
CREATE INDEX ports_server ON ports (server);

CREATE TABLE server_events (
    id TEXT PRIMARY KEY,
    server TEXT NOT NULL,
    owner TEXT NOT NULL,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    why TEXT NOT NULL
);
CREATE INDEX server_events_server ON server_events (server, id);

CREATE TABLE node_commands (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    server TEXT NOT NULL,
    generation BIGINT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    sent_at BIGINT,
    answered_at BIGINT
);
CREATE INDEX node_commands_open ON node_commands (node, answered_at, created_at);
CREATE INDEX node_commands_server ON node_commands (server);

CREATE TABLE samples (
    server TEXT NOT NULL,
    at BIGINT NOT NULL,
    cpu_millis BIGINT,
    memory_mib BIGINT,
    players BIGINT,
    PRIMARY KEY (server, at)
);
CREATE INDEX samples_at ON samples (at);

CREATE TABLE transactions (
    key TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    at BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    kind TEXT NOT NULL,
    server TEXT,
    server_name TEXT,
    from_ms BIGINT,
    to_ms BIGINT,
    note TEXT NOT NULL
);
CREATE INDEX transactions_user ON transactions (user_id, at, key);

CREATE TABLE usage (
    server TEXT NOT NULL,
    from_ms BIGINT NOT NULL,
    node TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    server_name TEXT NOT NULL,
    per_hour BIGINT NOT NULL,
    to_ms BIGINT,
    charged_to BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    PRIMARY KEY (server, from_ms)
);
CREATE INDEX usage_unsettled ON usage (settled, node, charged_to);
CREATE INDEX usage_user ON usage (user_id, settled);

CREATE TABLE idempotency (
    user_id TEXT NOT NULL,
    key TEXT NOT NULL,
    request TEXT NOT NULL,
    status BIGINT,
    answer TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE nonces (
    server TEXT NOT NULL,
    nonce TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (server, nonce)
);
CREATE INDEX nonces_at ON nonces (at);
