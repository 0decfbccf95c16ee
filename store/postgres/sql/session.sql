-- The settings of a session or a transaction, by name. Arrays run in parallel, one element a setting.

-- settle
-- Whoever is connected through a pooler is told of another process than the one that answers here. Then settings
-- would stay behind in the server for the pooler's other clients: they last for this transaction only.
SELECT pg_backend_pid() <> %(pid)s, count(set_config(name, value, pg_backend_pid() <> %(pid)s))
FROM unnest(%(names)s::text[], %(values)s::text[]) AS setting (name, value)

-- settle_transaction
SELECT count(set_config(name, value, true))
FROM unnest(%(names)s::text[], %(values)s::text[]) AS setting (name, value)
