-- Letters that wait to go out, and what is known of an account beside its password.

ALTER TABLE users ADD COLUMN email_verified_at BIGINT;
ALTER TABLE users ADD COLUMN suspended_at BIGINT;
ALTER TABLE users ADD COLUMN suspended_why TEXT NOT NULL DEFAULT '';

CREATE TABLE mails (
    key TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT,
    attempts BIGINT NOT NULL,
    sent_at BIGINT,
    trouble TEXT NOT NULL
);
CREATE INDEX mails_due ON mails (due_at);
CREATE INDEX mails_made ON mails (created_at, key);
