-- How long each server's game took to answer, or ran without ever answering: free for a while each day, then charged as running is.

CREATE TABLE starts (
    server TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    from_ms BIGINT NOT NULL,
    to_ms BIGINT,
    PRIMARY KEY (server, from_ms)
);
CREATE INDEX starts_from ON starts (from_ms);

ALTER TABLE usage ADD COLUMN why TEXT NOT NULL DEFAULT '';
