-- The days of the history, made and dropped by functions of the tables' owner: the jobs need not own tables.

-- What runs with the owner's rights looks for names in the schema, and never in temporary tables of the caller.
SELECT set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- Attached, not created in its place: that would stop readers and writers of all days.
-- False where the rest has operations of that day already.
CREATE FUNCTION make_history_day(made date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    name text := 'cart_changes_' || to_char(made, 'YYYYMMDD');
BEGIN
    IF EXISTS (SELECT FROM cart_changes_rest WHERE day = made) THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'CREATE TABLE %I (LIKE cart_changes INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', name
    );
    EXECUTE format(
        'ALTER TABLE cart_changes ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, made, made + 1
    );
    RETURN true;
END
$$;

CREATE FUNCTION drop_history_day(dropped date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    EXECUTE format('DROP TABLE %I', 'cart_changes_' || to_char(dropped, 'YYYYMMDD'));
END
$$;

REVOKE ALL ON FUNCTION make_history_day(date), drop_history_day(date) FROM PUBLIC;
