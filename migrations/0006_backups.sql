-- Archives of servers' data, restores of them, and when they are made by themselves.

ALTER TABLE servers ADD COLUMN pending TEXT;

CREATE TABLE backups (
    id TEXT PRIMARY KEY,
    server TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    owner TEXT NOT NULL,
    node TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_by TEXT NOT NULL,
    state TEXT NOT NULL,
    command TEXT UNIQUE,
    upload TEXT,
    archived TEXT,
    message TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    done_at BIGINT,
    verified_at BIGINT
);
CREATE INDEX backups_server ON backups (server, created_at);
CREATE INDEX backups_due ON backups (state, due_at);

-- Objects whose rows are gone: removed from the store by and by.
CREATE TABLE object_trash (
    object_key TEXT PRIMARY KEY,
    upload TEXT,
    due_at BIGINT NOT NULL
);

CREATE TABLE restores (
    command TEXT PRIMARY KEY,
    server TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    backup TEXT,
    kind TEXT NOT NULL,
    made_by TEXT NOT NULL,
    state TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX restores_server ON restores (server, created_at);

CREATE TABLE schedules (
    server TEXT PRIMARY KEY REFERENCES servers (id) ON DELETE CASCADE,
    cron TEXT NOT NULL,
    zone TEXT NOT NULL,
    keep BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX schedules_next ON schedules (next_at);
