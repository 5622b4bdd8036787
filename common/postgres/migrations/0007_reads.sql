-- What reads of many devices, and of outages, need (common/history). ADR 0080.

-- The hours that are compacted, of days that are not built yet: one rollup each (docs/rollups.md),
-- the merge of the hour's row in ping_rollup_minutes and written with it. Hour first: all devices of
-- an hour lie together. A leaf is a day; it is dropped once ping_rollup_hours has the day.
CREATE TABLE ping_rollup_recent (
  hour_ms bigint NOT NULL,
  device_id bigint NOT NULL,
  location_id integer NOT NULL,
  rollup bytea NOT NULL,
  PRIMARY KEY (hour_ms, device_id, location_id)
) PARTITION BY RANGE (hour_ms);
ALTER TABLE ping_rollup_recent ALTER COLUMN rollup SET STORAGE EXTERNAL;

-- Hours before this were compacted when there was no ping_rollup_recent; readers take their minutes.
ALTER TABLE history_state ADD COLUMN recent_from_ms bigint NOT NULL DEFAULT 0;
UPDATE history_state SET recent_from_ms =
  coalesce((SELECT max(to_ms) FROM history_leaves('ping_rollup_minutes')), 0);

-- Drops leaves of ping_rollup_recent whose day was built before built_before_ms: readers that began
-- earlier have ended. Returns how many.
CREATE FUNCTION ping_rollup_recent_drop_built(built_before_ms bigint) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
  name text;
  dropped integer := 0;
BEGIN
  FOR name IN
    SELECT l.leaf FROM history_leaves('ping_rollup_recent') l
    JOIN ping_days d ON d.day_ms = l.from_ms WHERE d.built_ms < built_before_ms LIMIT 50
  LOOP
    EXECUTE format('DROP TABLE %I', name);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
$$;

-- Outages begin with these; newest first, of all devices and of one. (Status 2 is down.)
CREATE INDEX transitions_downs ON transitions (slot_at DESC)
  WHERE to_status = 2 AND from_status <> 2;
CREATE INDEX transitions_device_downs ON transitions (device_id, counter DESC)
  WHERE to_status = 2 AND from_status <> 2;
