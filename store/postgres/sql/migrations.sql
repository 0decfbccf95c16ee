-- Bookkeeping of the schema's migrations, by name.

-- create_schema_migrations
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)

-- applied_migrations
SELECT version, name, sha256 FROM schema_migrations ORDER BY version

-- record_migration
INSERT INTO schema_migrations (version, name, sha256) VALUES (%(version)s, %(name)s, %(sha256)s)

-- lock_migrations
SELECT pg_advisory_lock(hashtext('cartstream.migrations'))

-- enter_schema
-- Through a pooler this is another server process than the connection was told of.
SELECT pg_backend_pid() <> %(pid)s, set_config('search_path', %(schema)s, pg_backend_pid() <> %(pid)s)

-- is_there
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s)

-- create_schema
CREATE SCHEMA {schema}
