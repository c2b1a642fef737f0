-- Money from outside: customers, payments, subscriptions, what they cover, and the webhooks that were heard.

CREATE TABLE customers (
    user_id TEXT PRIMARY KEY REFERENCES users (id),
    customer TEXT NOT NULL UNIQUE,
    method TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE payments (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    kind TEXT NOT NULL,
    cents BIGINT NOT NULL,
    currency TEXT NOT NULL,
    keep_card BIGINT NOT NULL,
    state TEXT NOT NULL,
    why TEXT NOT NULL,
    session TEXT UNIQUE,
    intent TEXT UNIQUE,
    receipt_url TEXT,
    refunded_cents BIGINT NOT NULL,
    disputed_cents BIGINT NOT NULL,
    turns BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    done_at BIGINT,
    generation BIGINT NOT NULL,
    due_at BIGINT,
    attempts BIGINT NOT NULL
);
CREATE INDEX payments_user ON payments (user_id, created_at, id);
CREATE INDEX payments_due ON payments (due_at);

CREATE TABLE stripe_events (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX stripe_events_at ON stripe_events (at);

CREATE TABLE stripe_products (
    game TEXT NOT NULL,
    plan TEXT NOT NULL,
    product TEXT NOT NULL,
    PRIMARY KEY (game, plan)
);

-- Where Stripe and this panel did not agree, for whoever runs it to read.
CREATE TABLE stripe_differences (
    what TEXT PRIMARY KEY,
    at BIGINT NOT NULL
);

-- A subscription outlives its server's row: it has to be ended at Stripe.
CREATE TABLE subscriptions (
    id TEXT PRIMARY KEY,
    server TEXT NOT NULL,
    server_name TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    game TEXT NOT NULL,
    plan TEXT NOT NULL,
    plan_wanted TEXT,
    cents BIGINT NOT NULL,
    currency TEXT NOT NULL,
    session TEXT UNIQUE,
    stripe TEXT UNIQUE,
    status TEXT NOT NULL,
    period_end BIGINT,
    cancel_at_end BIGINT NOT NULL,
    pay_url TEXT,
    end_wanted BIGINT NOT NULL,
    lapsed_at BIGINT,
    warned_at BIGINT,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    trouble TEXT NOT NULL,
    generation BIGINT NOT NULL,
    due_at BIGINT,
    attempts BIGINT NOT NULL
);
CREATE UNIQUE INDEX subscriptions_live ON subscriptions (server) WHERE ended_at IS NULL;
CREATE INDEX subscriptions_server ON subscriptions (server, created_at);
CREATE INDEX subscriptions_user ON subscriptions (user_id, created_at, id);
CREATE INDEX subscriptions_due ON subscriptions (due_at);

-- Time that a subscription covers; none of it is charged by the hour.
CREATE TABLE covers (
    server TEXT NOT NULL,
    from_ms BIGINT NOT NULL,
    to_ms BIGINT,
    PRIMARY KEY (server, from_ms)
);

-- Only within the transaction that charges: the end of the piece, and its price.
ALTER TABLE usage ADD COLUMN piece BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN due BIGINT NOT NULL DEFAULT 0;

ALTER TABLE servers ADD COLUMN covered BIGINT NOT NULL DEFAULT 0;
ALTER TABLE servers ADD COLUMN expired_from TEXT;

CREATE TABLE auto_top_ups (
    user_id TEXT PRIMARY KEY REFERENCES users (id),
    state TEXT NOT NULL,
    below BIGINT NOT NULL,
    cents BIGINT NOT NULL,
    month_cents BIGINT NOT NULL,
    why TEXT NOT NULL,
    payment TEXT,
    changed_at BIGINT NOT NULL
);

-- Who was told that little is left, until there is more again.
CREATE TABLE low_balances (
    user_id TEXT PRIMARY KEY REFERENCES users (id),
    since BIGINT NOT NULL
);

-- What each day moved, so that the balance at any entry is known without reading all that came after it.
CREATE TABLE ledger_days (
    user_id TEXT NOT NULL REFERENCES users (id),
    day BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    PRIMARY KEY (user_id, day)
);
INSERT INTO ledger_days (user_id, day, amount)
SELECT user_id, at / 86400000, CAST(SUM(amount) AS BIGINT) FROM transactions GROUP BY user_id, at / 86400000;
