-- Months that were paid for, for the report of what the panel takes in.

CREATE TABLE paid_invoices (
    invoice TEXT PRIMARY KEY,
    subscription TEXT NOT NULL,
    game TEXT NOT NULL,
    cents BIGINT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX paid_invoices_at ON paid_invoices (at);
