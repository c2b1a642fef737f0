-- Other ways in than a password, second factors, and links that go out by mail.

-- An account elsewhere that opens one here. Known by issuer and subject, whatever its provider is called in the settings by now.
CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    provider TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    label TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (issuer, subject),
    UNIQUE (user_id, provider)
);

-- A browser on its way to a provider and back; state and browser are hashes, what comes back is compared with what is sealed here.
CREATE TABLE sign_in_flows (
    state TEXT PRIMARY KEY,
    browser TEXT NOT NULL,
    provider TEXT NOT NULL,
    purpose TEXT NOT NULL,
    user_id TEXT,
    next TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX sign_in_flows_age ON sign_in_flows (created_at);

-- Links to verify an address or to choose a new password. Their secrets are nowhere: each is a signature of the id.
CREATE TABLE account_links (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose TEXT NOT NULL,
    address TEXT NOT NULL,
    made_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX account_links_user ON account_links (user_id);
CREATE INDEX account_links_expire ON account_links (expires_at);

CREATE TABLE totp (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    confirmed_at BIGINT,
    last_step BIGINT NOT NULL
);

CREATE TABLE recovery_codes (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (user_id, hash)
);

CREATE TABLE passkeys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    uses BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX passkeys_user ON passkeys (user_id, created_at);

-- What a passkey was asked to sign, until it answers.
CREATE TABLE challenges (
    id TEXT PRIMARY KEY,
    browser TEXT NOT NULL,
    purpose TEXT NOT NULL,
    user_id TEXT,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX challenges_age ON challenges (created_at);
