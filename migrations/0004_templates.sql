-- Templates, their versions that never change, and which server stands on which.

CREATE TABLE templates (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    game TEXT,
    description TEXT NOT NULL,
    tags TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL
);
CREATE INDEX templates_name ON templates (name, id);

CREATE TABLE template_versions (
    template TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    version TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    unpacked BIGINT NOT NULL,
    files BIGINT NOT NULL,
    object_key TEXT NOT NULL UNIQUE,
    note TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (template, version)
);
CREATE INDEX template_versions_age ON template_versions (template, created_at);

CREATE TABLE template_manifests (
    template TEXT NOT NULL,
    version TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (template, version),
    FOREIGN KEY (template, version) REFERENCES template_versions (template, version) ON DELETE CASCADE
);

CREATE TABLE server_layers (
    server TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    template TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (server, position),
    FOREIGN KEY (template, version) REFERENCES template_versions (template, version)
);
CREATE INDEX server_layers_version ON server_layers (template, version);

ALTER TABLE servers ADD COLUMN layers TEXT NOT NULL DEFAULT '[]';
ALTER TABLE servers ADD COLUMN layers_before TEXT NOT NULL DEFAULT '[]';
ALTER TABLE servers ADD COLUMN variables TEXT NOT NULL DEFAULT '{}';
