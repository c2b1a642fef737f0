-- How the whole panel stood, once a minute; and what the list of all servers is sorted by.

CREATE TABLE figures (
    at BIGINT PRIMARY KEY,
    servers BIGINT NOT NULL,
    awake BIGINT NOT NULL,
    nodes BIGINT NOT NULL,
    online BIGINT NOT NULL,
    cache_hits BIGINT NOT NULL DEFAULT 0,
    cache_misses BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX servers_made ON servers (created_at, id);
CREATE INDEX servers_since ON servers (phase_since, id);
CREATE INDEX servers_name ON servers (LOWER(name), id);
