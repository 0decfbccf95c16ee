-- Roles of the server, by name.

-- found_roles
SELECT rolname FROM pg_roles WHERE rolname = ANY(%(names)s)
