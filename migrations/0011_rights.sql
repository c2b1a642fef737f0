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
