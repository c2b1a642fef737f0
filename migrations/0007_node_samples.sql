-- How each machine did, a row a minute while it is online: for the charts on its page.

CREATE TABLE node_samples (
    node TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    at BIGINT NOT NULL,
    cpu_millis BIGINT NOT NULL,
    memory_mib BIGINT NOT NULL,
    disk_used_mib BIGINT NOT NULL,
    disk_free_mib BIGINT NOT NULL,
    awake BIGINT NOT NULL,
    PRIMARY KEY (node, at)
);

CREATE INDEX node_samples_at ON node_samples (at);
