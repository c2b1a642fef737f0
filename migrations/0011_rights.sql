-- Who may do what beside their role: guests of servers, tokens with less than everything, and who did what.

ALTER TABLE api_tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT 'see,power,console,files,settings,create,billing,panel';

CREATE TABLE shares (
    server TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    grants TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (server, user_id)
);
CREATE INDEX shares_user ON shares (user_id);

CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    server TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    grants TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    made_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    UNIQUE (server, email)
);
CREATE INDEX invitations_expire ON invitations (expires_at);

CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    user_id TEXT,
    who TEXT NOT NULL,
    via TEXT NOT NULL,
    address TEXT NOT NULL,
    what TEXT NOT NULL,
    object TEXT NOT NULL,
    status BIGINT NOT NULL,
    details TEXT NOT NULL
);
CREATE INDEX audit_user ON audit (user_id, id);
CREATE INDEX audit_object ON audit (object, id);
CREATE INDEX audit_at ON audit (at);

-- What the panel earns, by day: the sums of days that are over never change. And of which game a server was, after it is gone.
CREATE TABLE server_games (
    server TEXT PRIMARY KEY,
    game TEXT NOT NULL
);
INSERT INTO server_games (server, game) SELECT id, game FROM servers;
CREATE INDEX transactions_at ON transactions (at);
CREATE TABLE day_sums (
    day BIGINT NOT NULL,
    kind TEXT NOT NULL,
    game TEXT NOT NULL,
    amount BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    PRIMARY KEY (day, kind, game)
);
