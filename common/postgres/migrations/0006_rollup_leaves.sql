-- As in 0005, and rollups stay within their table's pages: an hour of minutes is 2 to 2.5 KB, and out
-- of line a piece of 2 KB and a small rest would take more.
CREATE OR REPLACE FUNCTION history_make_leaf(parent text, leaf text, from_bound text, to_bound text)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass(leaf) IS NOT NULL THEN RETURN false; END IF;
  PERFORM pg_advisory_xact_lock(hashtext('gema history leaf'), hashtext(parent));
  IF to_regclass(leaf) IS NOT NULL THEN RETURN false; END IF;
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (%s)', leaf, parent,
    CASE WHEN parent IN ('ping_hot', 'ping_chunks')
         THEN 'autovacuum_enabled = false, toast.autovacuum_enabled = false'
         ELSE 'autovacuum_freeze_min_age = 0, toast.autovacuum_freeze_min_age = 0,'
              ' autovacuum_vacuum_scale_factor = 0.1, toast.autovacuum_vacuum_scale_factor = 0.1'
              || CASE WHEN parent LIKE 'ping_rollup%' THEN ', toast_tuple_target = 4080' ELSE '' END
    END);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                 parent, leaf, from_bound, to_bound);
  RETURN true;
END
$$;
